"""A stored cache and a manifest that changed since: which row goes where, so that nothing is encoded twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.columns import Columns
from xfeat.cache.manifest import FILE, Manifest, load_manifest
from xfeat.cache.merging import Merging
from xfeat.cache.plan import samples_digest
from xfeat.cache.resume import order_of
from xfeat.cache.stored import Stored, labels_fit, read_stored
from xfeat.errors import InputError


@dataclass(frozen=True)
class Growth:
    """What a stored cache becomes. Rows keep their places for ever, so that shard k starts with what shard k held.

    Attributes:
        columns: N samples: those stored in their places, then the new ones. Where the manifest names a sample, its
            columns are the manifest's; elsewhere the stored ones. Classes that only samples no longer named have come
            last.
        sources: (N,) their source keys; 0 for a sample no longer named of which none is stored.
        rows: (N,) int64, for each row of the cache its row in the manifest; -1 where it is no longer named.
        grown_from: the samples digest of the stored cache, for the plan.
        added: rows that are not stored yet.
        gone: rows no longer named; they stay.
        changed: stored rows with another split, label, pair or camera.
        moved: stored rows with another source, or of which none is stored.
    """

    columns: Columns
    sources: NDArray[np.uint64]
    rows: NDArray[np.int64]
    grown_from: str
    added: int
    gone: int
    changed: int
    moved: int


def grow(path: Path, columns: Columns, sources: NDArray[np.uint64]) -> Growth | None:
    """What the cache at ``path`` becomes with these samples. Nothing is written.

    Rows are known by their ids. Places that a missing or damaged shard leaves open are given to samples that are stored
    nowhere else, in the order of the manifest; the rest of them come last. So a cache whose growth was interrupted, at
    whatever shard, becomes the same.

    Args:
        path: the cache; finished or not.
        columns: the samples as the manifest names them.
        sources: (n,) their source keys.

    Returns:
        None where there is no cache, or it is one of these samples in this order.

    Raises:
        InputError: none of the stored samples is named; too few samples for the places of damaged shards; or columns of
            another kind, while stored samples are no longer named.
    """
    if not (path / FILE).exists():
        return None
    manifest = load_manifest(path)
    if manifest.samples == samples_digest(columns, sources):
        return None
    shards = _shards(path, manifest)
    rows, places = _placed(path, columns.ids, shards)
    merging = Merging(path, columns, sources, rows)
    for start, stored, order in shards:
        merging.add(start, stored, order)
    return Growth(
        merging.columns(),
        merging.sources,
        rows,
        manifest.samples,
        added=len(rows) - places,
        gone=int((rows < 0).sum()),
        changed=merging.changed,
        moved=merging.moved,
    )


def _shards(path: Path, manifest: Manifest) -> list[tuple[int, Stored, list[str]]]:
    """First row, columns and classes of each shard that can be read."""
    found = []
    for shard in range(manifest.shards):
        file = path / f"{shard:05d}.h5"
        if not file.exists():
            continue
        try:
            stored = read_stored(file, manifest, shard, with_features=False, with_tokens=False)
        except InputError:
            continue  # what it held is found by the samples that are stored nowhere else
        order = order_of(stored, manifest)
        if order is not None and labels_fit(stored.columns.get("labels"), order):
            found.append((manifest.span(shard)[0], stored, order))
    return found


def _placed(
    path: Path, ids: Sequence[str], shards: Sequence[tuple[int, Stored, list[str]]]
) -> tuple[NDArray[np.int64], int]:
    """For each row of the cache its row in the manifest, -1 for none; and the number of rows that are stored."""
    end = max((start + len(stored) for start, stored, _ in shards), default=0)
    row_of = dict(zip(ids, range(len(ids)), strict=True))
    rows = np.full(end, -1, np.int64)
    known = np.zeros(end, dtype=bool)
    for start, stored, _ in shards:
        span = slice(start, start + len(stored))
        rows[span] = [row_of.get(name, -1) for name in stored.strings("ids")]
        known[span] = True
    if known.any() and not (rows >= 0).any():
        raise InputError(
            f"{path} holds another data set: none of its {int(known.sum())} ids is among the {len(ids)} of the "
            "manifest; choose a new --out, or delete the folder first"
        )
    new = np.ones(len(ids), dtype=bool)
    new[rows[rows >= 0]] = False
    fresh, holes = np.flatnonzero(new), np.flatnonzero(~known)
    if len(fresh) < len(holes):
        raise InputError(
            f"{path}: damaged or missing shards held {len(holes)} rows, and the manifest names only {len(fresh)} "
            "samples that are not stored elsewhere; name those samples again, or choose a new --out"
        )
    rows[holes] = fresh[: len(holes)]
    return np.concatenate([rows, fresh[len(holes) :]]), int(known.sum())
