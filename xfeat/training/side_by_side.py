"""Runs the training of several seeds in processes of their own, as many at a time as there are cores."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel

from xfeat.cache import FeatureCache
from xfeat.progress import progress
from xfeat.training.group import is_finished, member_path

Outcome = TypeVar("Outcome")


def run_seeds(
    train_one: Callable[[int], None], seeds: Sequence[int], device: torch.device, processes: int | None = None
) -> None:
    """Call ``train_one`` with every seed, side by side.

    Args:
        train_one: can be pickled; keeps what is finished, so that it may be called again.
        seeds: different.
        device: where it trains: a GPU takes one at a time.
        processes: how many at a time; None takes one for every core.

    Raises:
        InputError: whatever the first one that fails raises.
    """
    count = _at_a_time(seeds, device, processes)
    threads = _threads(count)
    # Spawned, not forked: torch's threads do not survive a fork.
    pool = ProcessPoolExecutor(count, get_context("spawn"), _start_worker, (threads,))
    with progress(f"{len(seeds)} seeds, {count} at a time", len(seeds)) as advance:
        try:
            for done in as_completed([pool.submit(train_one, seed) for seed in seeds]):
                done.result()
                advance()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def train_members(
    train: Callable[..., Outcome],
    caches: Sequence[FeatureCache],
    out: Path,
    settings: BaseModel,
    seeds: Sequence[int],
    device: torch.device,
    processes: int | None = None,
) -> dict[int, Outcome]:
    """Train one run of a group for every seed, side by side, and return what each left behind.

    Args:
        train: of a method, a function of a module; it takes caches, a run, settings, ``seed``, ``device``, ``resume``.
        caches: one per modality.
        out: the group's folder.
        settings: of the method.
        seeds: different.
        device: see ``run_seeds``.
        processes: see ``run_seeds``.

    Raises:
        InputError: as ``train``.
    """
    paths = [cache.path for cache in caches]
    left = [seed for seed in seeds if not is_finished(member_path(out, seed))]
    if len(left) > 1:
        run_seeds(partial(_train_one, train, paths, out, settings, str(device)), seeds, device, processes)
    # A single one that is left is not worth a process, which imports everything again.
    with _torch_threads(_threads(_at_a_time(seeds, device, processes))):
        return {
            seed: train(caches, member_path(out, seed), settings, seed=seed, device=device, resume=True)
            for seed in seeds
        }


def _at_a_time(seeds: Sequence[int], device: torch.device, processes: int | None) -> int:
    return min(len(seeds), processes or (1 if device.type == "cuda" else _cores()))


def _threads(count: int) -> int:
    """Of each of so many trainings: the bytes of a result depend on their number."""
    return max(1, _cores() // count)


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train_one(
    train: Callable[..., object], caches: Sequence[Path], out: Path, settings: BaseModel, device: str, seed: int
) -> None:
    opened, run = [FeatureCache(path) for path in caches], member_path(out, seed)
    train(opened, run, settings, seed=seed, device=torch.device(device), resume=True)


def _start_worker(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(threads)
    # The parent shows how many seeds are done; bars of several processes would overwrite each other.
    sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
