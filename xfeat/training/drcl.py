"""Trains DRCL into a run directory, one modality at a time, and adds modalities to it later."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.settings import validated
from xfeat.training.branches import BranchTrainer
from xfeat.training.classes import union_of_classes
from xfeat.training.data import ModalityRows, check_rows
from xfeat.training.loop import CHECKPOINT_SECONDS
from xfeat.training.memory import memory_budget
from xfeat.training.prior import make_prior, prior_file, summary
from xfeat.training.run import DRCL, ORTHOGONAL, Run, RunConfig, check_free, source_of, versions
from xfeat.training.store import is_done, load_note, load_prior, save_note


@dataclass(frozen=True)
class Outcome:
    """What a training left behind.

    Attributes:
        prior: note of the prior: ``chosen``, ``score``, ``candidates`` by modality.
        branches: note of each branch by modality: ``epoch``, ``epochs``, ``train_rows``, ``val_rows``, ``sha256``...
        fresh: modalities whose branch was trained now; the others were there already.
    """

    prior: dict[str, Any]
    branches: dict[str, dict[str, Any]]
    fresh: list[str]


def train(
    caches: Sequence[FeatureCache],
    out: Path,
    settings: DrclSettings,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    resume: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Outcome:
    """Train DRCL on one cache per modality.

    Args:
        caches: one per modality; their samples need not be paired.
        out: the run directory.
        settings: of the method.
        seed: of all randomness.
        device: where to train; the CPU by default.
        resume: continue a run that was interrupted; what is finished is kept.
        checkpoint_seconds: least time between two checkpoints of an unfinished stage.

    Returns:
        Notes of the prior and of every branch.

    Raises:
        InputError: caches that do not fit together, a run that is already there, settings that do not fit the data.
    """
    device = device or torch.device("cpu")
    trainer = begin(caches, out, settings, seed, device, resume, checkpoint_seconds)
    with trainer.run.locked():
        check_free(trainer.run, trainer.config, resume)  # again: another process may have begun a run meanwhile
        if not trainer.run.begun:
            trainer.run.save_config(trainer.config)
        prior, note = make_prior(trainer, caches)
        branches, fresh = {}, []
        for cache in caches:
            modality = cache.manifest.modality
            branches[modality], now = trainer.branch(cache, prior)
            fresh += [modality] if now else []
    return Outcome(note, branches, fresh)


def begin(
    caches: Sequence[FeatureCache],
    out: Path,
    settings: DrclSettings,
    seed: int,
    device: torch.device,
    resume: bool,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    rows: dict[str, ModalityRows] | None = None,
) -> BranchTrainer:
    """Check everything that can be checked before training, and return what trains.

    The arguments are those of ``train``; ``rows`` is shared by the trainers of a group, so that a modality is read once
    for all of them.
    """
    config = _config(caches, out, settings, seed)
    run = Run(out)
    check_free(run, config, resume)
    memory_budget(settings.memory, device)  # a bad one is refused before anything is written
    return BranchTrainer(run, config, settings, device, checkpoint_seconds, {} if rows is None else rows)


def add(
    cache: FeatureCache,
    run_path: Path,
    *,
    device: torch.device | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Outcome:
    """Train the branch of a new modality against a run's prior. No other branch's file is touched.

    Where the run's prior was learned, the newcomer's own candidate is learned and scored too, and noted; it replaces
    nothing.

    Args:
        cache: of the new modality.
        run_path: a finished DRCL run.
        device: where to train; the CPU by default.
        checkpoint_seconds: least time between two checkpoints of an unfinished stage.

    Raises:
        InputError: no such run, the modality is in it already, or the classes differ.
    """
    run = Run(run_path)
    _check_joins(run, run.load_config(), cache)
    with run.locked():
        config = run.load_config()
        _check_joins(run, config, cache)  # again: another process may have added one meanwhile
        settings = validated(DrclSettings, config.settings)
        prior, note = load_prior(run.prior_file), load_note(run.prior_note)
        if note.get("sha256") != prior.sha256:
            raise InputError(f"{run.prior_file} is not the prior that other branches were trained against: put it back")
        check_rows(cache, config.classes)
        trainer = BranchTrainer(run, config, settings, device or torch.device("cpu"), checkpoint_seconds)
        modality = cache.manifest.modality
        if note["candidates"]:
            note["candidates"][modality] = summary(trainer.candidate(cache))
        branch, _ = trainer.branch(cache, prior)
        # The modality belongs to the run from here on; a kill before this line resumes with the same command.
        config.modalities[modality] = source_of(cache, run_path, added=True)
        save_note(run.prior_note, note)
        run.save_config(config)
    return Outcome(note, {modality: branch}, [modality])


def _check_joins(run: Run, config: RunConfig, cache: FeatureCache) -> None:
    modality = cache.manifest.modality
    if config.method not in (DRCL, ORTHOGONAL):
        raise InputError(f"{run.path} was trained with {config.method}, which cannot be added to")
    if modality in config.modalities:
        raise InputError(f"{run.path} has a modality {modality!r} already: import or extract with another --modality")
    unfinished = [name for name in config.modalities if not is_done(run.branch_file(name))]
    if unfinished:
        names = ", ".join(unfinished)
        raise InputError(f"{run.path} is not finished (no branch of {names}): first `xfeat train ... --resume`")


def _config(caches: Sequence[FeatureCache], out: Path, settings: DrclSettings, seed: int) -> RunConfig:
    if not caches:
        raise InputError("no caches given: name at least one")
    sources = {}
    for cache in caches:
        modality = cache.manifest.modality
        if modality in sources:
            raise InputError(f"two caches hold modality {modality!r}: a run takes one cache per modality")
        sources[modality] = source_of(cache, out)
    classes = _classes(caches, settings)
    for cache in caches:
        # Every cache is looked at before the first is trained.
        check_rows(cache, classes)
    if len(classes) < 2:
        raise InputError(f"{len(classes)} class to train on: telling classes apart takes two or more")
    return RunConfig(settings.method, seed, settings.model_dump(), classes, sources, versions())


def _classes(caches: Sequence[FeatureCache], settings: DrclSettings) -> list[str]:
    """The run's classes: of the prior where one is given, which may know more of them; else of all caches."""
    file = prior_file(settings)
    # One order whatever the order of caches: a branch's bytes must not depend on its company.
    return load_prior(file).classes if file else union_of_classes(caches)
