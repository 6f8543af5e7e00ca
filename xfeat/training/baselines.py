"""Trains a baseline in closed form into a run directory, for one seed or, once for all of them, for many.

No closed form draws anything: runs that differ in their seed hold the same branches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path
from typing import Any

import torch

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.methods.baseline_settings import BaselineSettings
from xfeat.training.baseline_fits import FITS, Fits
from xfeat.training.classes import union_of_classes
from xfeat.training.group import check_new_group, claim_group, is_group, member_path
from xfeat.training.linear_store import save_linear
from xfeat.training.memory import memory_budget
from xfeat.training.pairing import find_classes
from xfeat.training.run import Run, RunConfig, check_free, source_of, versions
from xfeat.training.store import is_done, load_note


@dataclass(frozen=True)
class BaselineOutcome:
    """What a training left behind.

    Attributes:
        branches: note of each branch by modality.
        fresh: whether they were fitted now; otherwise they were there already.
    """

    branches: dict[str, dict[str, Any]]
    fresh: bool


def train(
    caches: Sequence[FeatureCache],
    out: Path,
    settings: BaselineSettings,
    *,
    seed: int = 0,
    device: torch.device | None = None,  # noqa: ARG001
    resume: bool = False,
) -> BaselineOutcome:
    """Fit the baseline that the settings are of, on one cache per modality.

    Args:
        caches: what they need is the baseline's: labels, pair keys, equal widths.
        out: the run directory.
        settings: of the baseline.
        seed: noted; nothing depends on it.
        device: not looked at: closed forms are worked out on the CPU, in float64.
        resume: finish a run that was interrupted.

    Raises:
        InputError: caches that do not fit together, a run that is already there, settings that do not fit the data.
    """
    return _train(caches, out, settings, seed, resume, _fitting(caches, settings))


def train_group(
    caches: Sequence[FeatureCache],
    out: Path,
    settings: BaselineSettings,
    seeds: Sequence[int],
    *,
    device: torch.device | None = None,  # noqa: ARG001
    resume: bool = False,
) -> dict[int, BaselineOutcome]:
    """Fit once, and leave a run for every seed, ``out/seed0``, ``out/seed1``...

    Args:
        caches: one per modality.
        out: the group's folder.
        settings: of the baseline.
        seeds: different.
        device: see ``train``.
        resume: continue a group; finished runs are kept.

    Raises:
        InputError: as ``train``, or a folder that holds something else.
    """
    check_new_group(out, resume)
    fitting = _fitting(caches, settings)
    # Whatever is wrong with the caches is said before anything is written.
    _begin(caches, member_path(out, seeds[0]), settings, seeds[0], True)
    if not is_group(out):
        fitting()
    claim_group(out, seeds, settings.method, resume)
    return {seed: _train(caches, member_path(out, seed), settings, seed, True, fitting) for seed in seeds}


def _train(
    caches: Sequence[FeatureCache],
    out: Path,
    settings: BaselineSettings,
    seed: int,
    resume: bool,
    fitting: Callable[[], Fits],
) -> BaselineOutcome:
    run, config = _begin(caches, out, settings, seed, resume)
    files = {name: run.branch_file(name) for name in config.modalities}
    fresh = not all(is_done(file) for file in files.values())
    # Before anything is written: a training that cannot start leaves nothing behind.
    fits = fitting() if fresh else {}
    with run.locked():
        check_free(run, config, resume)  # again: another process may have begun a run meanwhile
        if fresh:
            if not run.begun:
                run.save_config(config)
            _save(run, config, fits)
        return BaselineOutcome({name: load_note(file.with_suffix(".json")) for name, file in files.items()}, fresh)


def _begin(
    caches: Sequence[FeatureCache], out: Path, settings: BaselineSettings, seed: int, resume: bool
) -> tuple[Run, RunConfig]:
    """Check what can be checked before features are read."""
    names = [cache.manifest.modality for cache in caches]
    if not names:
        raise InputError("no caches given: name at least one")
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two caches hold modality {twice[0]!r}: a run takes one cache per modality")
    chosen, classes = _chosen(caches, settings)
    sources = {cache.manifest.modality: source_of(cache, out) for cache in caches}
    config = RunConfig(settings.method, seed, chosen.model_dump(), classes, sources, versions())
    memory_budget(getattr(settings, "memory", "auto"), torch.device("cpu"))  # a bad one is refused
    run = Run(out)
    check_free(run, config, resume)
    return run, config


def _chosen(caches: Sequence[FeatureCache], settings: BaselineSettings) -> tuple[BaselineSettings, list[str]]:
    """The settings with the names of the classes that were meant by patterns, and the classes of the run."""
    labelled = [cache for cache in caches if cache.manifest.classes]
    classes = union_of_classes(labelled) if labelled else []
    if settings.classes:
        wanted = set(find_classes(caches, settings.classes))
        settings = settings.model_copy(update={"classes": [name for name in classes if name in wanted]})
    return settings, classes


def _fitting(caches: Sequence[FeatureCache], settings: BaselineSettings) -> Callable[[], Fits]:
    @once
    def fits() -> Fits:
        chosen, classes = _chosen(caches, settings)
        # In order of names: what is fitted does not depend on the order of the caches.
        return FITS[settings.method](sorted(caches, key=lambda cache: cache.manifest.modality), classes, chosen)

    return fits


def _save(run: Run, config: RunConfig, fits: Fits) -> None:
    for name, fitted in fits.items():
        source = config.modalities[name]
        note = {
            "method": config.method,
            "modality": name,
            "content": source.content,
            "in_dim": source.dim,
            "out_dim": source.dim if fitted.made is None else fitted.made.weight.shape[1],
            "train_rows": fitted.rows,
            "val_rows": 0,
            "unlabelled_rows": 0,
            "seed": config.seed,
            "similarity": fitted.similarity,
            "settings": config.settings,
            **fitted.note,
        }
        save_linear(run.branch_file(name), fitted.scale, fitted.made, note)
