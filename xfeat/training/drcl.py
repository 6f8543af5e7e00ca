"""Trains DRCL into a run directory, one modality at a time, and adds modalities to it later."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xfeat.cache import FeatureCache
from xfeat.cache.fingerprint import digest
from xfeat.errors import InputError
from xfeat.methods.base import BranchData, Stage
from xfeat.methods.drcl import RscStage, SplStage, orthogonal_columns
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.settings import validated
from xfeat.progress import progress
from xfeat.samples.labels import class_order
from xfeat.training.checkpoint import Best
from xfeat.training.data import InputScale, check_rows, class_columns, load_branch_data
from xfeat.training.loop import CHECKPOINT_SECONDS, Place, fit
from xfeat.training.run import Run, RunConfig, check_resumable, source_of, versions
from xfeat.training.seeds import random_stream
from xfeat.training.store import Prior, is_done, load_note, load_prior, save_branch, save_note, save_prior

METHOD = "drcl"
CANDIDATE = "candidate:"


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


@dataclass(frozen=True)
class _Trainer:
    """Trains single modalities of one run; what is already done is read instead."""

    run: Run
    config: RunConfig
    settings: DrclSettings
    device: torch.device
    checkpoint_seconds: float

    def candidate(self, cache: FeatureCache) -> dict[str, Any]:
        """Note of the modality's SPL candidate; W lies in its file."""
        modality = cache.manifest.modality
        path = self.run.candidate_file(modality)
        if not self._is_done(path, cache):
            data, _ = self._data(cache)
            settings = self.settings.resolved(len(data.train), data.classes)
            best = self._fit(lambda: SplStage(data, settings), cache, "spl", settings.spl_epochs)
            sha = save_prior(path, best.tensors["W"], self.config.classes)
            note = {"modality": modality, "score": best.score, "score_on": settings.score_on, "epoch": best.epoch}
            note |= {"content": cache.manifest.content, "settings": settings.model_dump(), "sha256": sha}
            save_note(path.with_suffix(".json"), note)
        self._forget(modality, "spl")
        return load_note(path.with_suffix(".json"))

    def branch(self, cache: FeatureCache, prior: Prior) -> tuple[dict[str, Any], bool]:
        """Note of the modality's branch, and whether it was trained now."""
        modality = cache.manifest.modality
        path = self.run.branch_file(modality)
        if self._is_done(path, cache):
            self._forget(modality, "rsc")
            return load_note(path.with_suffix(".json")), False
        data, scale = self._data(cache)
        settings = self.settings.resolved(len(data.train), data.classes, out=prior.weight.shape[0])
        best = self._fit(lambda: RscStage(data, prior.weight, settings), cache, "rsc", settings.epochs, prior.sha256)
        note = {
            "method": METHOD,
            "modality": modality,
            "content": cache.manifest.content,
            "in_dim": data.dim,
            "hidden": settings.hidden,
            "out_dim": settings.out,
            "train_rows": len(data.train),
            "val_rows": len(data.val),
            "epoch": best.epoch,
            "epochs": settings.epochs,
            "score": best.score,
            "prior_sha256": prior.sha256,
            "settings": settings.model_dump(),
        }
        note = save_branch(path, best.tensors, scale, note)
        self._forget(modality, "rsc")
        return note, True

    def _is_done(self, path: Path, cache: FeatureCache) -> bool:
        # An `add` that was killed may be followed by one of the same modality from another cache.
        return is_done(path) and load_note(path.with_suffix(".json")).get("content") == cache.manifest.content

    def _data(self, cache: FeatureCache) -> tuple[BranchData, InputScale]:
        return load_branch_data(
            cache,
            self.config.classes,
            standardize=self.settings.standardize,
            val_fraction=self.settings.val_fraction,
            seed=self.config.seed,
            device=self.device,
        )

    def _fit(
        self, make: Callable[[], Stage], cache: FeatureCache, stage: str, epochs: int | None, prior: str = ""
    ) -> Best:
        modality = cache.manifest.modality
        checkpoint = self.run.checkpoint_file(modality, stage)
        identity = digest(
            {
                "settings": self.settings.model_dump(),
                "seed": self.config.seed,
                "classes": self.config.classes,
                "content": cache.manifest.content,
                "prior": prior,
            }
        )
        with progress(f"{modality} {stage}", epochs or 0) as advance:
            place = Place(
                self.device,
                self.config.seed,
                (modality, stage),
                checkpoint,
                identity,
                lambda row: self.run.append_log({"modality": modality, "stage": stage, **row}),
                advance,
                lambda epoch: self.run.trim_log(modality, stage, epoch),
                self.checkpoint_seconds,
            )
            return fit(make, place)

    def _forget(self, modality: str, stage: str) -> None:
        self.run.checkpoint_file(modality, stage).unlink(missing_ok=True)


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
    config = _config(caches, settings, seed)
    run = Run(out)
    if run.config_file.exists() and run.begun:
        if not resume:
            raise InputError(f"{out} holds a run already: continue it with --resume, or choose another --out")
        check_resumable(out, run.load_config(), config)
    elif run.begun:
        raise InputError(f"{out} holds other files: choose a new or empty folder")
    with run.locked():
        if not run.begun:
            run.save_config(config)
        trainer = _Trainer(run, config, settings, device, checkpoint_seconds)
        prior, note = _make_prior(trainer, caches)
        branches, fresh = {}, []
        for cache in caches:
            modality = cache.manifest.modality
            branches[modality], now = trainer.branch(cache, prior)
            fresh += [modality] if now else []
    return Outcome(note, branches, fresh)


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
    config = run.load_config()
    modality = cache.manifest.modality
    if config.method != METHOD:
        raise InputError(f"{run_path} was trained with {config.method}, which cannot be added to")
    if modality in config.modalities:
        raise InputError(f"{run_path} has a modality {modality!r} already: import or extract with another --modality")
    class_columns(cache.manifest.classes, config.classes, str(cache.path))
    settings = validated(DrclSettings, config.settings)
    prior, note = load_prior(run.prior_file), load_note(run.prior_note)
    if note.get("sha256") != prior.sha256:
        raise InputError(f"{run.prior_file} is not the prior that the other branches were trained against: put it back")
    with run.locked():
        trainer = _Trainer(run, config, settings, device or torch.device("cpu"), checkpoint_seconds)
        if note["candidates"]:
            note["candidates"][modality] = _summary(trainer.candidate(cache))
        branch, _ = trainer.branch(cache, prior)
        # The modality belongs to the run from here on; a kill before this line resumes with the same command.
        config.modalities[modality] = source_of(cache)
        save_note(run.prior_note, note)
        run.save_config(config)
    return Outcome(note, {modality: branch}, [modality])


def _config(caches: Sequence[FeatureCache], settings: DrclSettings, seed: int) -> RunConfig:
    if not caches:
        raise InputError("no caches given: name at least one")
    sources = {}
    for cache in caches:
        modality = cache.manifest.modality
        if modality in sources:
            raise InputError(f"two caches hold modality {modality!r}: a run takes one cache per modality")
        sources[modality] = source_of(cache)
    # One order whatever the order of caches: a branch's bytes must not depend on its company.
    classes = class_order(caches[0].manifest.classes)
    for cache in caches:
        if not cache.manifest.classes:
            raise InputError(f"{cache.path} has no labels: DRCL needs them")
        class_columns(cache.manifest.classes, classes, str(cache.path))
        # Every cache is looked at before the first is trained.
        check_rows(cache, classes)
    return RunConfig(METHOD, seed, settings.model_dump(), classes, sources, versions())


def _make_prior(trainer: _Trainer, caches: Sequence[FeatureCache]) -> tuple[Prior, dict[str, Any]]:
    run, settings, classes = trainer.run, trainer.settings, trainer.config.classes
    if is_done(run.prior_file):
        return load_prior(run.prior_file), load_note(run.prior_note)
    wanted = settings.prior
    candidates: dict[str, Any] = {}
    out = settings.resolved(1, len(classes)).out or 1
    made = wanted in ("spl", "orthogonal") or wanted.startswith(CANDIDATE)
    if made and out < len(classes):
        raise InputError(f"out is {out}, but {len(classes)} classes need at least as many dimensions: set out higher")
    if wanted == "spl" or wanted.startswith(CANDIDATE):
        names = [cache.manifest.modality for cache in caches]
        if wanted != "spl" and wanted.removeprefix(CANDIDATE) not in names:
            raise InputError(f"prior {wanted!r}: no such modality here (there are {', '.join(names)})")
        candidates = {cache.manifest.modality: _summary(trainer.candidate(cache)) for cache in caches}
        best = max(sorted(candidates), key=lambda name: float(candidates[name]["score"]))
        chosen = best if wanted == "spl" else wanted.removeprefix(CANDIDATE)
        weight = load_prior(run.candidate_file(chosen)).weight
    elif wanted == "orthogonal":
        chosen = "orthogonal"
        with random_stream(torch.device("cpu"), trainer.config.seed, "prior", "orthogonal"):
            weight = orthogonal_columns(out, len(classes))
    else:
        chosen = "file"
        weight = _prior_from_file(Path(wanted), settings, classes)
    sha = save_prior(run.prior_file, weight, classes)
    note = {
        "prior": wanted if chosen != "file" else "file",
        "chosen": chosen,
        "score": candidates[chosen]["score"] if chosen in candidates else None,
        "candidates": candidates,
        "classes": classes,
        "shape": list(weight.shape),
        "sha256": sha,
    }
    save_note(run.prior_note, note)
    return load_prior(run.prior_file), note


def _prior_from_file(path: Path, settings: DrclSettings, classes: list[str]) -> torch.Tensor:
    if not path.is_file():
        raise InputError(f"prior {str(path)!r}: not spl, orthogonal, candidate:MODALITY, and no such file")
    prior = load_prior(path)
    if settings.out not in (None, prior.weight.shape[0]):
        raise InputError(f"out is {settings.out}, but the prior {path} has {prior.weight.shape[0]} dimensions")
    return prior.weight[:, class_columns(prior.classes, classes, str(path))]


def _summary(note: dict[str, Any]) -> dict[str, Any]:
    return {name: note[name] for name in ("score", "score_on", "epoch", "sha256")}
