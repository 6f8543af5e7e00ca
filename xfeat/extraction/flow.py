"""Decoding, encoding and writing at the same time, each ahead of the next, all in the order of the rows."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from xfeat.backbones.base import Backbone
from xfeat.cache import OK, CacheWriter
from xfeat.errors import InputError
from xfeat.extraction.assembly import Assembly
from xfeat.extraction.decode import Decoded
from xfeat.extraction.encode import Encoded, Encoder
from xfeat.extraction.feed import Batch, Feed
from xfeat.extraction.jobs import Jobs
from xfeat.progress import Advance
from xfeat.samples.manifest import Samples


@dataclass(frozen=True)
class _Flying:
    """A batch on its way through the encoder, or, with ``places`` None, the end of a shard."""

    assembly: Assembly
    places: list[int] | None
    rows: int = 0
    result: "Future[Encoded] | None" = None


class Flow:
    """One extraction on its way.

    Args:
        writer: of the cache.
        samples: what is read.
        backbone: encodes.
        jobs: what has to be done.
        rows: (N,) for each row of the cache its row among the samples.
        batch_size: samples encoded at a time.
        fail: stop at the first sample that fails.
        tokens: store token sequences too.

    Attributes:
        failed: samples that failed.
        cut: samples that the backbone had to shorten.
        duplicates: samples that were not encoded, since others have the same content.
        batch_size: the largest batch that memory held.
    """

    def __init__(
        self,
        writer: CacheWriter,
        samples: Samples,
        backbone: Backbone,
        jobs: Jobs,
        rows: NDArray[np.int64],
        *,
        batch_size: int,
        fail: bool,
        tokens: bool,
    ) -> None:
        self._writer, self._samples, self._backbone, self._jobs = writer, samples, backbone, jobs
        self._rows, self._fail, self._tokens = rows, fail, tokens
        self._flying: deque[_Flying] = deque()
        self._writes: deque[Future[None]] = deque()
        self.batch_size = batch_size
        self.failed = self.cut = self.duplicates = 0

    def run(self, feed: Feed, advance: Advance) -> None:
        """Do all jobs. What was encoded before an interruption, or a sample that stops it, is written too.

        Raises:
            InputError: features that are not finite, a full disk, or a failed sample where that is asked for.
        """
        encoder = Encoder(self._backbone, tokens=self._tokens)
        disk = ThreadPoolExecutor(1, "write")
        disk.submit(int).result()  # now: Ctrl-C while a thread starts would leave one that writes and that nobody knows
        try:
            self._through(feed, encoder, disk, advance)
        except (KeyboardInterrupt, InputError) as stop:
            self._rescue(disk, hurry=isinstance(stop, KeyboardInterrupt))
            raise
        finally:
            _end(disk)
            encoder.close()
            self.batch_size = encoder.limit or self.batch_size

    def _through(self, feed: Feed, encoder: Encoder, disk: ThreadPoolExecutor, advance: Advance) -> None:
        batches = feed.batches(list(self._batches()))
        manifest = self._writer.manifest
        for job in self._jobs.shards:
            assembly = Assembly(job, manifest.dim, manifest.token_dim, manifest.dtype)
            for start in range(0, len(job.places), self.batch_size):
                self._send(assembly, job.places[start : start + self.batch_size], next(batches), encoder)
                self._settle(encoder.threads, disk, advance)
            self._flying.append(_Flying(assembly, None))
        self._settle(0, disk, advance)
        while self._writes:
            self._writes.popleft().result()

    def _batches(self) -> Iterator[list[int]]:
        for job in self._jobs.shards:
            for start in range(0, len(job.places), self.batch_size):
                places = np.array(job.places[start : start + self.batch_size])
                yield self._rows[job.start + places].tolist()

    def _send(self, assembly: Assembly, places: list[int], batch: Batch, encoder: Encoder) -> None:
        """Sort a decoded batch into failed samples, copies of others, and what goes through the encoder."""
        for sample in batch.samples:
            self._count(sample)
        assembly.put(places, batch.samples)
        fresh = []
        for number, good in enumerate(batch.good):
            row = assembly.job.start + places[good]
            source = self._source(row, batch.samples[good].content)
            if source is None:
                fresh.append(number)
            else:
                assembly.copy(places[good], source)
        items = batch.items if len(fresh) == len(batch.good) else _pick(batch.items, fresh)
        result = encoder.submit(items, len(fresh)) if fresh else None
        self._flying.append(_Flying(assembly, [places[batch.good[i]] for i in fresh], len(places), result))

    def _source(self, row: int, content: bytes) -> int | None:
        """The row whose features are this row's too; None where the content is new."""
        if self._jobs.own.get(row) == content:
            return row
        source = self._jobs.seen.setdefault(content, row)
        if source == row:
            return None
        self.duplicates += 1
        return source

    def _count(self, sample: Decoded) -> None:
        self.cut += sample.cut
        if sample.status == OK:
            return
        self.failed += 1
        if self._fail:
            name = self._samples.columns.ids[sample.row]
            raise InputError(
                f"sample {name!r} (row {sample.row}): {sample.status}; what was finished is kept: mend or remove "
                "it, or keep failed samples as rows with --on-error row"
            )

    def _settle(self, most: int, disk: ThreadPoolExecutor, advance: Advance) -> None:
        """Take results, oldest first, until at most so many batches are on their way."""
        while self._flying and (len(self._flying) > most or self._flying[0].places is None):
            oldest = self._flying[0]
            if oldest.places is None:
                while self._writes:  # one at a time: a shard in waiting takes memory
                    self._writes.popleft().result()
                self._writes.append(disk.submit(oldest.assembly.write, self._writer))
            else:
                if oldest.result is not None:
                    oldest.assembly.encoded(oldest.places, oldest.result.result())
                advance(oldest.rows, f"{self.failed} failed" if self.failed else "")
            self._flying.popleft()

    def _rescue(self, disk: ThreadPoolExecutor, *, hurry: bool) -> None:
        """Write what is known of the shards in work, in order, after those that are being written.

        In a hurry, a batch that no thread has taken up yet is left out, and what comes after it.
        """
        whole = True
        while whole and self._flying:
            assembly, whole = self._flying[0].assembly, False
            with suppress(Exception, KeyboardInterrupt):  # whatever stopped the work may well stop this
                whole = self._take_shard(hurry)
            with suppress(Exception):
                disk.submit(assembly.write, self._writer).result()

    def _take_shard(self, hurry: bool) -> bool:
        """Take the results of the oldest shard; whether that was all of it. An end is on its way behind all but one."""
        while self._flying:
            oldest = self._flying[0]
            if oldest.result is not None and oldest.places is not None:
                if hurry and oldest.result.cancel():
                    return False
                oldest.assembly.encoded(oldest.places, oldest.result.result())
            self._flying.popleft()
            if oldest.places is None:
                return True
        return False


def _end(disk: ThreadPoolExecutor) -> None:
    """Wait for what is being written, whatever comes: the cache is locked no longer than its writer waits.

    By a plain lock that a task behind all others lets go of: to wait for the end of a thread is not safe from Ctrl-C,
    after which Python 3.11 takes it for ended.
    """
    written = Lock()
    written.acquire()
    while True:
        with suppress(KeyboardInterrupt):
            disk.submit(written.release)
            written.acquire()
            break
    disk.shutdown(wait=False)


def _pick(items: object, numbers: list[int]) -> object:
    """Some items of a batch, be it a list or a stacked tensor."""
    if isinstance(items, list):
        return [items[number] for number in numbers]
    return items[numbers]  # type: ignore[index]
