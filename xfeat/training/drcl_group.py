"""Trains DRCL for many seeds at once, each into a run of its own beside the others."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from xfeat.cache import FeatureCache
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.training.branches import run_jobs
from xfeat.training.data import ModalityRows, is_larger
from xfeat.training.drcl import Outcome, begin, train
from xfeat.training.group import check_new_group, claim_group, member_path
from xfeat.training.loop import CHECKPOINT_SECONDS
from xfeat.training.memory import memory_budget
from xfeat.training.prior import learns_candidates, make_prior
from xfeat.training.side_by_side import train_members


def train_group(
    caches: Sequence[FeatureCache],
    out: Path,
    settings: DrclSettings,
    seeds: Sequence[int],
    *,
    device: torch.device | None = None,
    resume: bool = False,
    stacked: bool | None = None,
    processes: int | None = None,
) -> dict[int, Outcome]:
    """Train one run for every seed: ``out/seed0``, ``out/seed1``...

    Small networks are stacked and train as one batched computation; large ones, and features that are streamed, train
    side by side, on a CPU one run on every core (benchmarks/drcl.py).

    Args:
        caches: one per modality.
        out: the group's folder.
        settings: of the method.
        seeds: different.
        device: where to train; the CPU by default.
        resume: continue a group; finished runs are kept.
        stacked: train them as one batched computation; None decides by size and memory.
        processes: how many runs train side by side where they are not stacked; None takes one for every core.

    Returns:
        The outcome of every seed.

    Raises:
        InputError: as ``train``, or a folder that holds something else.
    """
    device = device or torch.device("cpu")
    check_new_group(out, resume)
    # Whatever is wrong with the caches is said before anything is written.
    begin(caches, member_path(out, seeds[0]), settings, seeds[0], device, True)
    claim_group(out, seeds, settings.method, resume)
    if stacked if stacked is not None else _stacks(caches, settings, device):
        _train_stacked(caches, out, settings, seeds, device)
    else:
        return train_members(train, caches, out, settings, seeds, device, processes)
    return {
        seed: train(caches, member_path(out, seed), settings, seed=seed, device=device, resume=True) for seed in seeds
    }


def _stacks(caches: Sequence[FeatureCache], settings: DrclSettings, device: torch.device) -> bool:
    # A core is busy with one network of the paper's size; a GPU is not.
    small = settings.size == "small" or device.type == "cuda"
    memory = memory_budget(settings.memory, device)
    return small and not any(is_larger(cache, cache.manifest.rows, memory) for cache in caches)


def _train_stacked(
    caches: Sequence[FeatureCache], out: Path, settings: DrclSettings, seeds: Sequence[int], device: torch.device
) -> None:
    rows: dict[str, ModalityRows] = {}
    with ExitStack() as locks:
        trainers = []
        for seed in seeds:
            trainer = begin(caches, member_path(out, seed), settings, seed, device, True, CHECKPOINT_SECONDS, rows)
            locks.enter_context(trainer.run.locked())
            if not trainer.run.begun:
                trainer.run.save_config(trainer.config)
            trainers.append(trainer)
        if learns_candidates(settings):
            for cache in caches:
                run_jobs([job for t in trainers if (job := t.candidate_job(cache))], settings.memory)
        priors = [make_prior(trainer, caches)[0] for trainer in trainers]
        for cache in caches:
            jobs = [t.branch_job(cache, prior) for t, prior in zip(trainers, priors, strict=True)]
            run_jobs([job for job in jobs if job], settings.memory)
