"""Trains SSPC into a run directory: all modalities together, on paired rows, without labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xfeat.cache import Block, FeatureCache
from xfeat.cache.fingerprint import digest
from xfeat.errors import InputError
from xfeat.methods.sspc_settings import SspcSettings
from xfeat.methods.sspc_stage import EMA, PREFERS_EMA, RAW, SspcStage
from xfeat.progress import progress
from xfeat.training.checkpoint import Best
from xfeat.training.classes import union_of_classes
from xfeat.training.loop import CHECKPOINT_SECONDS, Place, fit
from xfeat.training.memory import memory_budget
from xfeat.training.paired import Column, ResidentPairs, make_column
from xfeat.training.pairing import Pairing, find_classes, pair_rows
from xfeat.training.resident import PIECE, InputScale, fit_scale
from xfeat.training.run import Run, RunConfig, check_free, source_of, versions
from xfeat.training.sspc_store import save_gated
from xfeat.training.store import is_done, load_note

METHOD, STAGE, ALL = "sspc", "sspc", "all"


@dataclass(frozen=True)
class SspcOutcome:
    """What a training left behind.

    Attributes:
        branches: note of each branch by modality.
        fresh: whether they were trained now; otherwise they were there already.
    """

    branches: dict[str, dict[str, Any]]
    fresh: bool


@dataclass(frozen=True)
class _Data:
    """What a training reads of its caches."""

    columns: dict[str, dict[str, Column]]
    pairings: dict[str, Pairing]
    scales: dict[str, InputScale]
    tokens: dict[str, bool]


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
    with run.locked():
        check_free(run, config, resume)  # again: another process may have begun a run meanwhile
        files = {name: run.branch_file(name) for name in config.modalities}
        fresh = not all(is_done(file) for file in files.values())
        if fresh:
            data = _read(caches, settings, device)
            # Everything that can be refused has been: nothing is left behind by a training that cannot start.
            resolved = settings.resolved(len(data.pairings["train"]))
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
        settings = settings.model_copy(update={"classes": find_classes(caches, settings.classes)})
    labelled = [cache for cache in caches if cache.manifest.classes]
    classes = union_of_classes(labelled) if labelled else []
    sources = {cache.manifest.modality: source_of(cache, out) for cache in caches}
    config = RunConfig(METHOD, seed, settings.model_dump(), classes, sources, versions())
    run = Run(out)
    check_free(run, config, resume)
    _check_memory(caches, settings, device)
    return run, config, settings


def _check_memory(caches: Sequence[FeatureCache], settings: SspcSettings, device: torch.device) -> None:
    limit, total = memory_budget(settings.memory, device), 0
    for cache in caches:
        m = cache.manifest
        values = m.tokens * m.token_dim if _takes_tokens(cache, settings) else m.rows * m.dim
        total += values * np.dtype(m.dtype).itemsize
    if total > limit:
        raise InputError(
            f"the features take {total >> 20:,} MB and may take {limit >> 20:,}: SSPC draws paired rows at random and "
            "holds them in memory; raise it (--set memory=...), or cache fewer dimensions"
        )


def _takes_tokens(cache: FeatureCache, settings: SspcSettings) -> bool:
    return settings.tokens == "auto" and cache.manifest.token_dim > 0


def _read(caches: Sequence[FeatureCache], settings: SspcSettings, device: torch.device) -> _Data:
    columns: dict[str, dict[str, Column]] = {}
    pairings: dict[str, Pairing] = {}
    scales: dict[str, InputScale] = {}
    tokens = {cache.manifest.modality: _takes_tokens(cache, settings) for cache in caches}
    for split in ("train", "val"):
        if split == "val" and not all("val" in cache.manifest.counts["split"] for cache in caches):
            continue
        blocks = {
            name: cache.load((split,), with_tokens=tokens[name])
            for cache in caches
            for name in (cache.manifest.modality,)
        }
        if split == "train":
            _check_rows(caches, blocks)
        try:
            pairings[split] = pair_rows(caches, blocks, settings.classes)
        except InputError:
            if split == "train":
                raise
            continue  # val rows that are no pairs choose nothing
        if split == "train":
            scales = {name: _scale(name, blocks[name], pairings[split], tokens[name], settings) for name in blocks}
        columns[split] = {
            name: make_column(block, scales[name], device, tokens=tokens[name]) for name, block in blocks.items()
        }
    return _Data(columns, pairings, scales, tokens)


def _check_rows(caches: Sequence[FeatureCache], blocks: Mapping[str, Block]) -> None:
    for cache in caches:
        if not len(blocks[cache.manifest.modality]):
            there = ", ".join(cache.manifest.counts.get("split", {})) or "none"
            raise InputError(f"{cache.path}: no rows in split 'train' (splits there: {there})")


def _scale(name: str, block: Block, pairing: Pairing, tokens: bool, settings: SspcSettings) -> InputScale:
    """Statistics of the rows that are trained on.

    Raises:
        InputError: a modality in no pair, or whose features are all the same.
    """
    rows = np.unique(pairing.members[name].rows)
    if not len(rows):
        raise InputError(f"no training row of {name} shares its pair key with another modality: leave {name} out")
    values: NDArray[Any] = block.features[rows]
    if tokens and block.tokens is not None:
        values = block.tokens.rows(rows).values
    if (values == values[:1]).all():
        raise InputError(
            f"the features of {name} are the same in all {len(rows):,} training rows: nothing can be told apart by them"
        )
    pieces = range(0, len(values), PIECE)
    return fit_scale(lambda: (values[start : start + PIECE] for start in pieces), values.shape[1], settings.standardize)


def _fit(
    run: Run, config: RunConfig, data: _Data, settings: SspcSettings, device: torch.device, checkpoint_seconds: float
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


def _save(run: Run, config: RunConfig, data: _Data, settings: SspcSettings, best: Best) -> None:
    weights = _kept_weights(settings, best)
    for number, (name, source) in enumerate(config.modalities.items()):
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
    if settings.weights == "ema" and not averaged:
        raise InputError("weights=ema, but ema=0 keeps no averaged weights: set one of them")
    if not averaged or settings.weights == RAW:
        return RAW
    chosen = settings.weights == "auto" and settings.select == "best"
    return EMA if not chosen or best.tensors[PREFERS_EMA] else RAW
