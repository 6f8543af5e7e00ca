"""Trains CIIM into a run directory: all modalities together, by class, without pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfeat.cache import FeatureCache
from xfeat.cache.fingerprint import digest
from xfeat.errors import InputError
from xfeat.methods.ciim_settings import CiimSettings
from xfeat.methods.ciim_stage import CiimStage
from xfeat.progress import progress
from xfeat.training.checkpoint import Best
from xfeat.training.ciim_data import Data, check_caches, read, resolved, training_rows, validation_rows
from xfeat.training.ciim_store import save_causal, save_shared
from xfeat.training.classes import union_of_classes
from xfeat.training.loop import CHECKPOINT_SECONDS, Place, fit
from xfeat.training.pairing import find_classes
from xfeat.training.run import CIIM, Run, RunConfig, check_free, source_of, versions
from xfeat.training.store import is_done, load_note

METHOD, STAGE, JOIN, ALL = CIIM, "ciim", "join", "all"


@dataclass(frozen=True)
class CiimOutcome:
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
    settings: CiimSettings,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    resume: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> CiimOutcome:
    """Train CIIM on labelled caches, one per modality; a modality may lack classes, and no pairs are needed.

    Args:
        caches: two or more, with one class a row.
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
    # Modalities that joined later are not what is trained here.
    files = {name: run.branch_file(name) for name in config.modalities}
    fresh = not all(is_done(file) for file in (run.shared_file, *files.values()))
    # Before anything is written: a training that cannot start leaves nothing behind.
    data = read(caches, config.classes, settings, seed, device) if fresh else {}
    chosen = settings.classes or config.classes
    filled = resolved(settings, data) if fresh else settings
    with run.locked():
        check_free(run, config, resume)  # again: another process may have begun a run meanwhile
        if fresh:
            if not run.begun:
                run.save_config(config)
            work = Work(run, config, filled, chosen, device, checkpoint_seconds)
            best = work.fit(data, (STAGE,), ALL)
            note = {"modalities": sorted(config.modalities), "classes": chosen, "settings": filled.model_dump()}
            shared = save_shared(run.shared_file, best.tensors, note)
            work.save(data, best, shared["sha256"], STAGE)
        run.checkpoint_file(ALL, STAGE).unlink(missing_ok=True)
        return CiimOutcome({name: load_note(file.with_suffix(".json")) for name, file in files.items()}, fresh)


def begin(
    caches: Sequence[FeatureCache],
    out: Path,
    settings: CiimSettings,
    seed: int,
    device: torch.device,
    resume: bool,
) -> tuple[Run, RunConfig, CiimSettings]:
    """Check what can be checked before features are read, and return what a training needs.

    The settings come back with the names of the classes that were meant by patterns.
    """
    names = [cache.manifest.modality for cache in caches]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two caches hold modality {twice[0]!r}: a run takes one cache per modality")
    if len(names) < 2:
        raise InputError(f"CIIM needs two modalities or more, got {', '.join(names) or 'none'}: give another cache")
    classes = union_of_classes(caches)
    if settings.classes:
        wanted = set(find_classes(caches, settings.classes))
        settings = settings.model_copy(update={"classes": [name for name in classes if name in wanted]})
    sources = {cache.manifest.modality: source_of(cache, out) for cache in caches}
    config = RunConfig(METHOD, seed, settings.model_dump(), classes, sources, versions())
    run = Run(out)
    check_free(run, config, resume)
    check_caches(caches, classes, settings.memory, device)
    return run, config, settings


@dataclass(frozen=True)
class Work:
    """One training in a run.

    Attributes:
        run: where it leaves its files.
        config: of the run.
        settings: resolved.
        classes: names of those trained on.
        device: where to train.
        checkpoint_seconds: least time between two checkpoints.
    """

    run: Run
    config: RunConfig
    settings: CiimSettings
    classes: Sequence[str]
    device: torch.device
    checkpoint_seconds: float

    def fit(self, data: Data, stream: tuple[str, ...], who: str, shared: Mapping[str, Tensor] | None = None) -> Best:
        """Train on the data; ``stream`` names its randomness, ``who`` its rows in the log."""
        stage = stream[-1]
        train_rows = training_rows(data, len(self.classes), self.settings)
        contents = {name: self.config.modalities[name].content for name in data}
        identity = digest(
            {"settings": self.settings.model_dump(), "seed": self.config.seed, "stage": stage, "contents": contents}
        )
        with progress(f"{who} {stage}" if who != ALL else stage, self.settings.epochs or 1) as advance:
            place = Place(
                self.device,
                self.config.seed,
                stream,
                checkpoint=self.run.checkpoint_file(who, stage),
                identity=identity,
                log=lambda row: self.run.append_log({"modality": who, "stage": stage, **row}),
                advance=advance,
                restart=lambda epoch: self.run.trim_log(who, stage, epoch),
                checkpoint_seconds=self.checkpoint_seconds,
            )
            return fit(lambda: CiimStage(train_rows, validation_rows(data), self.settings, shared), place)

    def save(self, data: Data, best: Best, shared: str, stage: str) -> dict[str, dict[str, Any]]:
        """Write every trained branch; their notes by modality."""
        notes = {}
        for place, (name, one) in enumerate(data.items()):
            note = {
                "method": METHOD,
                "stage": stage,
                "modality": name,
                "content": self.config.modalities[name].content,
                "shared": shared,
                "in_dim": one.train.features.shape[1],
                "out_dim": self.settings.out,
                "train_rows": len(one.train.labels),
                "val_rows": 0 if one.val is None else len(one.val.labels),
                "unlabelled_rows": one.unlabelled,
                "outside_rows": one.outside,
                "untrained_classes": one.lacking,
                "seed": self.config.seed,
                "epoch": best.epoch,
                "epochs": self.settings.epochs,
                "score": best.score,
                "settings": self.settings.model_dump(),
            }
            notes[name] = save_causal(self.run.branch_file(name), best.tensors, place, one.scale, note)
        return notes
