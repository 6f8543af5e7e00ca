"""Why rows of a cache failed, by reading no other column but theirs."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from xfeat.cache.columns import OK
from xfeat.cache.manifest import Manifest
from xfeat.cache.stored import opened, raw


def failures(path: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Id and status of each failed row, in order. Nothing is compared with its checksum: that is for ``verify``.

    Args:
        path: of a cache.
        manifest: its own.

    Raises:
        InputError: a shard is missing, truncated or damaged.
    """
    for shard in range(manifest.shards):
        with opened(path / f"{shard:05d}.h5", ("status", "ids")) as file:
            status = raw(file["status"])
            failed = np.flatnonzero(status != OK.encode())
            ids = raw(file["ids"])[failed] if failed.size else failed
        for name, word in zip(ids.tolist(), status[failed].tolist(), strict=True):
            yield name.decode("utf-8", "replace"), word.decode("utf-8", "replace")


def has_contents(path: Path, manifest: Manifest) -> bool:
    """Whether the rows have content keys: those of the first shard do or do not.

    Raises:
        InputError: that shard is missing, truncated or damaged.
    """
    with opened(path / "00000.h5") as file:
        return "content" in file and len(file["content"]) == manifest.span(0)[1]
