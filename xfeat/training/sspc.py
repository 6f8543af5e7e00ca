"""Trains SSPC into a run directory: all modalities together, on paired rows, without labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xfeat.cache import FeatureCache
from xfeat.cache.fingerprint import digest
from xfeat.errors import InputError
from xfeat.methods.sspc_settings import SspcSettings
from xfeat.methods.sspc_stage import EMA, PREFERS_EMA, RAW, SspcStage
from xfeat.progress import progress
from xfeat.training.checkpoint import Best
from xfeat.training.classes import union_of_classes
from xfeat.training.loop import CHECKPOINT_SECONDS, Place, fit
from xfeat.training.paired import ResidentPairs
from xfeat.training.pairing import find_classes
from xfeat.training.run import SSPC, Run, RunConfig, check_free, source_of, versions
from xfeat.training.sspc_data import Data, check_memory, read
from xfeat.training.sspc_store import save_gated
from xfeat.training.store import is_done, load_note

METHOD, STAGE, ALL = SSPC, "sspc", "all"


@dataclass(frozen=True)
class SspcOutcome:
    """What a training left behind.

    Attributes:
        branches: note of each branch by modality.
        fresh: whether they were trained now; otherwise they were there already.
    """

    branches: dict[str, dict[str, Any]]
    fresh: bool


def train(
    caches: Sequence[FeatureCache],
    out: Path,
    settings: SspcSettings,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    resume: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> SspcOutcome:
    """Train SSPC on paired caches, one per modality; a row may miss some of them.

    Args:
        caches: two or more, with pair keys.
        out: the run directory.
        settings: of the method.
        seed: of all randomness.
        device: where to train; the CPU by default.
        resume: continue a run that was interrupted.
        checkpoint_seconds: least time between two checkpoints.

    Raises:
        InputError: caches that do not fit together, a run that is already there, settings that do not fit the data.
    """
    device = device or torch.device("cpu")
    run, config, settings = begin(caches, out, settings, seed, device, resume)
    files = {name: run.branch_file(name) for name in config.modalities}
    fresh = not all(is_done(file) for file in files.values())
    # Before anything is written: a training that cannot start leaves nothing behind.
    data, resolved = read(caches, settings, device) if fresh else (None, settings)
    with run.locked():
        check_free(run, config, resume)  # again: another process may have begun a run meanwhile
        if data is not None:
            if not run.begun:
                run.save_config(config)
            _fit(run, config, data, resolved, device, checkpoint_seconds)
        run.checkpoint_file(ALL, STAGE).unlink(missing_ok=True)
        return SspcOutcome({name: load_note(file.with_suffix(".json")) for name, file in files.items()}, fresh)


def begin(
    caches: Sequence[FeatureCache],
    out: Path,
    settings: SspcSettings,
    seed: int,
    device: torch.device,
    resume: bool,
) -> tuple[Run, RunConfig, SspcSettings]:
    """Check what can be checked before features are read, and return what a training needs.

    The settings come back with the names of the classes that were meant by patterns.
    """
    names = [cache.manifest.modality for cache in caches]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two caches hold modality {twice[0]!r}: a run takes one cache per modality")
    if len(names) < 2:
        raise InputError(f"SSPC needs two modalities or more, got {', '.join(names) or 'none'}: give another cache")
    settings.check_modalities(names)
    if settings.classes:
        settings = settings.model_copy(update={"classes": sorted(find_classes(caches, settings.classes))})
    labelled = [cache for cache in caches if cache.manifest.classes]
    classes = union_of_classes(labelled) if labelled else []
    sources = {cache.manifest.modality: source_of(cache, out) for cache in caches}
    config = RunConfig(METHOD, seed, settings.model_dump(), classes, sources, versions())
    run = Run(out)
    check_free(run, config, resume)
    check_memory(caches, settings, device)
    return run, config, settings


def _fit(
    run: Run, config: RunConfig, data: Data, settings: SspcSettings, device: torch.device, checkpoint_seconds: float
) -> None:
    train_rows = ResidentPairs(data.columns["train"], data.pairings["train"], settings.views)
    val_rows = ResidentPairs(data.columns["val"], data.pairings["val"]) if "val" in data.pairings else None
    identity = digest(
        {
            "settings": settings.model_dump(),
            "seed": config.seed,
            "contents": {name: source.content for name, source in config.modalities.items()},
        }
    )
    with progress("sspc", settings.epochs or 1) as advance:
        place = Place(
            device,
            config.seed,
            (STAGE,),
            checkpoint=run.checkpoint_file(ALL, STAGE),
            identity=identity,
            log=lambda row: run.append_log({"modality": ALL, "stage": STAGE, **row}),
            advance=advance,
            restart=lambda epoch: run.trim_log(ALL, STAGE, epoch),
            checkpoint_seconds=checkpoint_seconds,
        )
        best = fit(lambda: SspcStage(train_rows, val_rows, settings), place)
    _save(run, config, data, settings, best)


def _save(run: Run, config: RunConfig, data: Data, settings: SspcSettings, best: Best) -> None:
    weights = _kept_weights(settings, best)
    for number, (name, source) in enumerate(sorted(config.modalities.items())):
        mine = {
            f"{kind}/{rest}": value
            for full, value in best.tensors.items()
            for kind, _, inner in (full.partition("/"),)
            for place, _, rest in (inner.partition("."),)
            if place == str(number)
        }
        trained, pairing = data.pairings["train"], data.pairings.get("val")
        note = {
            "method": METHOD,
            "modality": name,
            "content": source.content,
            "tokens": data.tokens[name],
            "in_dim": data.columns["train"][name].values.shape[1],
            "out_dim": settings.joint_dim,
            "instances": len(trained),
            "train_rows": len(trained.members[name].rows),
            "with_modality": int((trained.members[name].counts > 0).sum()),
            "alone_rows": trained.alone[name],
            "outside_rows": trained.outside[name],
            "val_instances": len(pairing) if pairing else 0,
            "seed": config.seed,
            "epoch": best.epoch,
            "epochs": settings.epochs,
            "score": best.score,
            "weights": weights,
            "settings": settings.model_dump(),
        }
        save_gated(run.branch_file(name), mine, data.scales[name], note)


def _kept_weights(settings: SspcSettings, best: Best) -> str:
    averaged = any(name.startswith(f"{EMA}/") for name in best.tensors)
    if not averaged or settings.weights == RAW:
        return RAW
    return EMA if settings.weights == EMA or best.tensors[PREFERS_EMA] else RAW
