"""What made the features of a cache, as canonical JSON and its sha256."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

Json = Any


def canonical_json(value: Json) -> str:
    """One spelling per value: sorted keys, no spaces, no NaN.

    Raises:
        ValueError: the value holds NaN or infinity.
        TypeError: the value holds something JSON has no form for.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Json) -> str:
    """Sha256 of the canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def difference(old: Mapping[str, Json], new: Mapping[str, Json], limit: int = 4) -> str:
    """The leaves in which two fingerprints differ, in words for an error line.

    Args:
        old: the stored fingerprint.
        new: the one asked for.
        limit: leaves to name; the rest is counted.

    Returns:
        For example ``precision: 'fp32' -> 'bf16'``; empty when they are equal.
    """
    left, right = dict(_leaves("", old)), dict(_leaves("", new))
    missing = "(absent)"
    changes = [
        f"{key}: {_short(left.get(key, missing))} -> {_short(right.get(key, missing))}"
        for key in sorted(left.keys() | right.keys())
        if left.get(key, missing) != right.get(key, missing)
    ]
    rest = f" (+{len(changes) - limit} more)" if len(changes) > limit else ""
    return "; ".join(changes[:limit]) + rest


def _leaves(prefix: str, value: Json) -> Iterator[tuple[str, Json]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else str(key), inner)
    else:
        # Through JSON, so that a tuple and the list it becomes on disk are the same leaf.
        yield prefix, json.loads(canonical_json(value))


def _short(value: Json, width: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= width else text[: width - 3] + "..."
