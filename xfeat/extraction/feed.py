"""Batches of decoded samples, in order, from processes that decode ahead of the encoder."""

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any

from xfeat.cache import OK
from xfeat.errors import InputError
from xfeat.extraction.decode import Decoded, Decoder
from xfeat.extraction.processes import STOPS, allow_open_files, kill, result_of, signals_wait

CRASHED = "the decoder crashed on it"
UNEXPLAINED = 3  # times that processes may die without a sample to blame
Collate = Callable[[list[Any]], Any]


@dataclass(frozen=True)
class Batch:
    """Decoded samples.

    Attributes:
        samples: all n of them, without their items.
        good: places of the m that did not fail.
        items: these m, as the backbone's ``collate`` left them; None where all failed.
    """

    samples: list[Decoded]
    good: list[int]
    items: Any


class Feed:
    """A context manager around the decoding processes.

    A process that dies (a decoder of foreign bytes can crash) loses nothing: the batches it may have worked on are
    decoded once more, one sample at a time, and the sample that kills its process again has failed.

    Args:
        decode: decodes one row.
        collate: the backbone's, or None.
        workers: processes; 0: threads of this process.
    """

    def __init__(self, decode: Decoder, collate: Collate | None, workers: int) -> None:
        self._decode, self._collate, self._workers = decode, collate or list, workers
        self._pool: Executor | None = None
        self._unexplained = 0

    def __enter__(self) -> "Feed":
        self._pool = self._open(self._workers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            if kind is not None:
                kill(self._pool)  # nobody waits for what they are decoding
            self._pool.shutdown(wait=True, cancel_futures=True)

    def batches(self, wanted: Sequence[Sequence[int]]) -> Iterator[Batch]:
        """The batches of rows, decoded, in order; as many as there are workers are decoded ahead, and one more."""
        waiting: deque[tuple[Sequence[int], Future[Batch]]] = deque()
        todo = deque(wanted)
        careful = 0  # batches left that may have killed a process
        while todo or waiting:
            while todo and not careful and len(waiting) <= max(1, self._workers):
                rows = todo.popleft()
                waiting.append((rows, self._submit(rows)))
            if careful:
                careful -= 1
                yield self._one_by_one(todo.popleft(), last=not careful)
                continue
            rows, future = waiting[0]
            try:
                batch = result_of(future, self._pool)
            except BrokenProcessPool:
                careful = len(waiting)
                todo.extendleft(rows for rows, _ in reversed(waiting))
                waiting.clear()
                self._reopen()
                continue
            waiting.popleft()
            yield batch

    def _submit(self, rows: Sequence[int]) -> "Future[Batch]":
        if self._pool is None:
            raise ValueError("the feed is not open")
        try:
            if self._workers:
                with signals_wait():
                    return self._pool.submit(_work, list(rows))
            return self._pool.submit(_batch, self._decode, self._collate, list(rows))
        except BrokenProcessPool as error:
            broken: Future[Batch] = Future()
            broken.set_exception(error)
            return broken

    def _one_by_one(self, rows: Sequence[int], *, last: bool) -> Batch:
        samples = []
        pool: Executor | None = None
        try:
            for row in rows:
                pool = pool or self._open(1)
                try:
                    with signals_wait():
                        future = pool.submit(_single, row)
                    samples.append(result_of(future, pool))
                except BrokenProcessPool:
                    pool = None
                    self._unexplained = -1
                    samples.append(Decoded(row, None, CRASHED))
        except BaseException:
            if pool is not None:
                kill(pool)
            raise
        finally:
            if pool is not None:
                pool.shutdown()
        self._unexplained += last
        if self._unexplained >= UNEXPLAINED:
            raise InputError(
                "decoding processes keep dying, and not because of one sample: out of memory, or of shared memory "
                "(/dev/shm)? Try fewer --workers, a smaller --batch-size, or --workers 0, which decodes in threads"
            )
        return _collated(samples, self._collate)

    def _reopen(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = self._open(self._workers)

    def _open(self, workers: int) -> Executor:
        if not workers:
            return ThreadPoolExecutor(available_cores(), thread_name_prefix="decode")
        if "torch" in sys.modules:
            import torch.multiprocessing  # noqa: F401  (tensors then travel in shared memory)
        allow_open_files()
        # Forked where that is the custom: nothing is imported or sent again.
        how = "fork" if sys.platform == "linux" else "spawn"
        pool = ProcessPoolExecutor(
            workers, multiprocessing.get_context(how), initializer=_begin, initargs=(self._decode, self._collate)
        )
        try:
            with signals_wait():
                ready = pool.submit(available_cores)  # all are forked here, before the network's threads run
            ready.result()
        except BrokenProcessPool:
            raise InputError(
                "decoding processes die as soon as they start: out of memory? --workers 0 decodes in threads"
            ) from None
        except BaseException:
            kill(pool)
            raise
        return pool


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_job: tuple[Decoder, Collate]  # of a decoding process


def _begin(decode: Decoder, collate: Collate) -> None:
    global _job
    _job = decode, collate
    for number in STOPS:  # Ctrl-C and its like are for the main process, which ends this one, by SIGTERM if it must
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # Pillow warns of large images and odd metadata without naming the file; what matters is in the status.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(parent: int) -> None:
    """End with the main process, even if that was killed."""
    wait([parent])
    os._exit(1)


def _work(rows: list[int]) -> Batch:
    return _batch(*_job, rows)


def _single(row: int) -> Decoded:
    return _job[0](row)


def _batch(decode: Decoder, collate: Collate, rows: list[int]) -> Batch:
    return _collated([decode(row) for row in rows], collate)


def _collated(samples: list[Decoded], collate: Collate) -> Batch:
    good = [place for place, sample in enumerate(samples) if sample.status == OK]
    items = collate([samples[place].item for place in good]) if good else None
    bare = [Decoded(sample.row, None, sample.status, sample.content, sample.cut) for sample in samples]
    return Batch(bare, good, items)
