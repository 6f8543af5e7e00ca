"""Which rows of a cache have to be encoded, and whose features are there already under the same content."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xfeat.cache import OK, CacheWriter
from xfeat.errors import InputError
from xfeat.extraction.decode import NOTHING

Key = Callable[[int], bytes]


@dataclass(frozen=True)
class Job:
    """One shard that is to be written.

    Attributes:
        shard: its number.
        start: the cache's row that is its first.
        size: its rows.
        places: rows to decode, counted from ``start``, ascending; the others are on disk.
        whole: the shard on disk has all its rows, and those to decode may stay as they are.
    """

    shard: int
    start: int
    size: int
    places: list[int]
    whole: bool


@dataclass(frozen=True)
class Jobs:
    """All work of one extraction.

    Attributes:
        shards: in ascending order.
        seen: where features of a content are on disk: content key to row of the cache.
        own: content keys of rows that are to be decoded though features of them are on disk.
    """

    shards: list[Job]
    seen: dict[bytes, int] = field(default_factory=dict)
    own: dict[int, bytes] = field(default_factory=dict)

    @property
    def tried(self) -> int:
        """Rows to decode."""
        return sum(len(job.places) for job in self.shards)


def find_jobs(writer: CacheWriter, rows: NDArray[np.int64], *, retry_failed: bool, recheck: Key | None) -> Jobs:
    """Look at what is on disk.

    Args:
        writer: of the cache.
        rows: (N,) for each row of the cache its row among the samples, -1 where they no longer name it.
        retry_failed: decode failed samples again.
        recheck: the content key of a sample as it is now; samples whose key has changed are decoded again. None trusts
            that files are what they were.

    Raises:
        InputError: samples that are no longer named have to be read again, or ``recheck`` finds none of the files.
    """
    jobs = []
    there_before, gone = 0, 0
    unwritten = set(writer.missing)
    for shard in range(writer.manifest.shards):
        start, stop = writer.manifest.span(shard)
        missing = shard in unwritten
        if not missing and not recheck and not (retry_failed and shard in writer.failed_shards):
            continue
        there, status, content = _known(writer, shard, missing)
        again = np.zeros(stop - start, dtype=bool)
        if retry_failed:
            again[there] = [word != OK for word in status]
        if recheck and content is not None:
            before = (content != 0).any(axis=1) & (rows[start + there] >= 0)
            now = _contents_now(recheck, rows[start + there])
            again[there] |= (now != content).any(axis=1)
            there_before, gone = there_before + int(before.sum()), gone + int((before & ~now.any(axis=1)).sum())
        todo = again.copy()
        todo[np.setdiff1d(np.arange(stop - start), there)] = True
        todo[again & (rows[start:stop] < 0)] = False  # what is no longer named stays as it is
        if (rows[start:stop][todo] < 0).any():
            raise InputError(
                f"{writer.shard_path(shard)} is damaged and holds samples that the manifest no longer names: put them "
                "back into the manifest, or choose a new --out"
            )
        if missing or todo.any():
            jobs.append(Job(shard, start, stop - start, np.flatnonzero(todo).tolist(), not missing))
    if gone and gone == there_before:  # a disk that is not mounted, say: what is stored is worth more than that
        raise InputError(
            f"--recheck: none of the {gone:,} samples in the cache can be read any more: check --root and --column; "
            "the cache is left as it was"
        )
    return _with_contents(writer, jobs) if any(job.places for job in jobs) else Jobs(jobs)


def _known(
    writer: CacheWriter, shard: int, missing: bool
) -> tuple[NDArray[np.int64], list[str], NDArray[np.uint8] | None]:
    """Places whose rows are on disk, and their statuses and contents."""
    if missing:
        kept = writer.kept(shard)
        return (np.empty(0, np.int64), [], None) if kept is None else (kept.places, kept.status, kept.content)
    block = writer.read(shard)
    return np.arange(len(block)), block.status, block.content


def _contents_now(key: Key, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(n, 16) content keys of the samples as they are; zeros where one cannot be read or is no longer named."""
    with ThreadPoolExecutor() as pool:  # reading and hashing run outside Python's lock
        now = b"".join(pool.map(lambda row: NOTHING if row < 0 else key(row), rows.tolist()))
    return np.frombuffer(now, dtype=np.uint8).reshape(-1, len(NOTHING))


def _with_contents(writer: CacheWriter, jobs: list[Job]) -> Jobs:
    found = Jobs(jobs)
    todo = {job.shard: set(job.places) for job in jobs}
    for shard, content, ok in writer.contents():
        start, _ = writer.manifest.span(shard)
        again = todo.get(shard, set())
        for place in np.flatnonzero(ok).tolist():
            key = content[place].tobytes()
            if place in again:
                found.own[start + place] = key
            else:
                found.seen.setdefault(key, start + place)
    return found
