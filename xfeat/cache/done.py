"""What is known of shards that are as planned, and what it comes to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from xfeat.cache.manifest import Manifest, content_digest


class Done(NamedTuple):
    """Of one shard: all its checksums, failed samples and tokens."""

    checksums: bytes
    failed: int
    tokens: int


def finished(manifest: Manifest, done: Mapping[str, Done], split: Sequence[str]) -> Manifest:
    """The manifest of the complete cache.

    Args:
        manifest: as it stands.
        done: all shards, by file name.
        split: of all rows.
    """
    failed = sum(each.failed for each in done.values())
    return replace(
        manifest,
        complete=True,
        counts={"ok": manifest.rows - failed, "failed": failed, "split": dict(Counter(split))},
        content=content_digest(manifest, {name: each.checksums for name, each in done.items()}),
        tokens=sum(each.tokens for each in done.values()),
        orders=[],
    )
