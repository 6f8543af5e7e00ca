"""What an extraction did, in numbers."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from xfeat.cache import OK


@dataclass(frozen=True)
class Reason:
    """Failed samples that failed alike: their reasons differ in numbers at most.

    Attributes:
        text: the reason of the first of them.
        count: how many.
        first: id of the first.
    """

    text: str
    count: int
    first: str


@dataclass(frozen=True)
class ExtractReport:
    """A finished extraction.

    Attributes:
        path: the cache.
        rows: samples in the cache, failed ones included.
        ok: samples with features.
        failed: samples without.
        by_reason: why they failed, most frequent first.
        resumed_rows: rows that an earlier run had written and this one did not try.
        tried_rows: rows that this run decoded.
        repaired_shards: shards of an earlier run that were found damaged and written again.
        truncated: samples that this run had to cut to the backbone's length.
        left_out: rows of the manifest that do not have this modality.
        duplicates: samples that this run did not encode, since others have the same content.
        added: rows that were appended to an existing cache.
        gone: rows that the manifest no longer names; they stay.
        changed: rows that got another split, label, pair or camera.
        moved: rows whose sample has another source now.
        batch_size: samples encoded at a time, fewer than asked for if memory ran out; 0: nothing was encoded.
        dim: D.
        dtype: ``float16`` or ``float32``.
        tokens: tokens of all samples together.
        token_dim: their width; 0 where there are none.
        splits: rows per split.
        seconds: duration of this run, without loading the backbone.
    """

    path: Path
    rows: int
    ok: int
    failed: int
    by_reason: tuple[Reason, ...]
    resumed_rows: int
    tried_rows: int
    repaired_shards: int
    truncated: int
    left_out: int
    duplicates: int
    added: int
    gone: int
    changed: int
    moved: int
    batch_size: int
    dim: int
    dtype: str
    tokens: int
    token_dim: int
    splits: Mapping[str, int]
    seconds: float


def count_reasons(rows: Iterable[tuple[str, str]]) -> tuple[Reason, ...]:
    """Group failures.

    Args:
        rows: (id, status) of samples; those that are ok are passed over.

    Returns:
        Most frequent first; equally frequent ones in order of appearance.

    Example:
        >>> count_reasons([("a", "ok"), ("b", "7 bytes left"), ("c", "9 bytes left")])
        (Reason(text='7 bytes left', count=2, first='b'),)
    """
    found: dict[str, Reason] = {}
    for name, status in rows:
        if status != OK:
            alike = re.sub(r"\d+", "#", status)
            seen = found.get(alike, Reason(status, 0, name))
            found[alike] = Reason(seen.text, seen.count + 1, seen.first)
    return tuple(sorted(found.values(), key=lambda reason: -reason.count))
