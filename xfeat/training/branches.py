"""Trains one modality of a DRCL run: its candidate prior, its branch. No other modality is in sight here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from xfeat.cache import FeatureCache
from xfeat.cache.fingerprint import digest
from xfeat.heads import Recast
from xfeat.methods.base import BranchData, Stage
from xfeat.methods.drcl import orthogonal_columns
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.drcl_stages import RscStage, SplStage
from xfeat.methods.ridge import ridge_prior
from xfeat.progress import progress
from xfeat.training.batched import fit_many, members_that_fit
from xfeat.training.checkpoint import Best
from xfeat.training.data import ModalityRows
from xfeat.training.loop import Place, fit
from xfeat.training.memory import memory_budget
from xfeat.training.resident import InputScale
from xfeat.training.run import DRCL, Run, RunConfig
from xfeat.training.seeds import seeded
from xfeat.training.store import Prior, is_done, load_note, save_branch, save_note, save_prior

METHOD = DRCL
RIDGE = "ridge"


@dataclass(frozen=True)
class Job:
    """A stage that is still to be trained for one modality of one run.

    Attributes:
        make: builds the stage.
        place: device, seed and files.
        epochs: how long it will take.
        finish: writes what its best epoch left.
    """

    make: Callable[[], Stage]
    place: Place
    epochs: int
    finish: Callable[[Best], None]


def run_jobs(jobs: Sequence[Job], memory: str = "auto") -> None:
    """Train the same stage of one run, or of several at once; as many at once as fit.

    Args:
        jobs: of one modality, in runs that differ in their seed.
        memory: what the parameters in training may take, as ``memory_budget`` reads it.
    """
    if not jobs:
        return
    title = " ".join(jobs[0].place.names)
    if len(jobs) == 1:
        with progress(title, jobs[0].epochs) as advance:
            jobs[0].finish(fit(jobs[0].make, replace(jobs[0].place, advance=advance)))
        return
    at_once = members_that_fit(jobs[0].make(), memory_budget(memory, jobs[0].place.device))
    for start in range(0, len(jobs), at_once):
        part = jobs[start : start + at_once]
        with progress(f"{title}, {len(part)} seeds", part[0].epochs) as advance:
            places = [replace(job.place, advance=advance) for job in part]
            for job, best in zip(part, fit_many([job.make for job in part], places), strict=True):
                job.finish(best)


@dataclass(frozen=True)
class BranchTrainer:
    """Trains single modalities of one run; what is already done is read instead.

    Attributes:
        run: where everything goes.
        config: of the run.
        settings: of the method, not yet resolved for a modality.
        device: where to train.
        checkpoint_seconds: least time between two checkpoints of an unfinished stage.
        rows: of the modality that was used last; trainers of one group share them.
    """

    run: Run
    config: RunConfig
    settings: DrclSettings
    device: torch.device
    checkpoint_seconds: float
    rows: dict[str, ModalityRows] = field(default_factory=dict)

    def candidate(self, cache: FeatureCache) -> dict[str, Any]:
        """Note of the modality's candidate prior; W lies in its file."""
        if job := self.candidate_job(cache):
            run_jobs([job])
        modality = cache.manifest.modality
        self._forget(modality, "spl")
        return load_note(self.run.candidate_file(modality).with_suffix(".json"))

    def branch(self, cache: FeatureCache, prior: Prior) -> tuple[dict[str, Any], bool]:
        """Note of the modality's branch, and whether it was trained now."""
        job = self.branch_job(cache, prior)
        if job:
            run_jobs([job])
        modality = cache.manifest.modality
        self._forget(modality, "rsc")
        return load_note(self.run.branch_file(modality).with_suffix(".json")), job is not None

    def candidate_job(self, cache: FeatureCache) -> Job | None:
        """What is to be trained for the modality's candidate; None where it is there. A closed form is made at once."""
        path = self.run.candidate_file(cache.manifest.modality)
        if self._is_done(path, cache):
            return None
        data, _ = self._data(cache)
        settings = self._resolved(data)
        if settings.prior == RIDGE:
            frame, _ = seeded(
                lambda: orthogonal_columns(settings.out or 1, data.classes),
                torch.device("cpu"),
                self.config.seed,
                "prior",
                RIDGE,
            )
            weight, score = ridge_prior(data, frame, settings.score_on, settings.logit_scale or 1.0)
            self._save_candidate(cache, settings, Best(0, score, {"W": weight}))
            return None
        place = self._place(cache, "spl")
        return Job(
            lambda: SplStage(data, settings),
            place,
            settings.spl_epochs or 1,
            lambda best: self._save_candidate(cache, settings, best),
        )

    def branch_job(self, cache: FeatureCache, prior: Prior) -> Job | None:
        """What is to be trained for the modality's branch; None where it is there."""
        if self._is_done(self.run.branch_file(cache.manifest.modality), cache):
            return None
        data, scale = self._data(cache)
        settings = self._resolved(data, prior)
        return Job(
            lambda: RscStage(data, prior.weight, settings),
            self._place(cache, "rsc", prior.sha256),
            settings.epochs or 1,
            lambda best: self._save_branch(cache, prior, settings, data, scale, best),
        )

    def _save_candidate(self, cache: FeatureCache, settings: DrclSettings, best: Best) -> None:
        path = self.run.candidate_file(cache.manifest.modality)
        # Where the last epoch is kept, its number is part of what the epochs were ranked by.
        quality = best.score - (best.epoch - 1 if settings.spl_keep == "last" and settings.prior != RIDGE else 0)
        sha = save_prior(path, best.tensors["W"], self.config.classes)
        note = {
            "modality": cache.manifest.modality,
            "kind": RIDGE if settings.prior == RIDGE else "spl",
            "score": quality,
            "score_on": settings.score_on,
            "epoch": best.epoch,
            "content": cache.manifest.content,
            "settings": settings.model_dump(),
            "sha256": sha,
        }
        save_note(path.with_suffix(".json"), note)

    def _save_branch(
        self,
        cache: FeatureCache,
        prior: Prior,
        settings: DrclSettings,
        data: BranchData,
        scale: InputScale,
        best: Best,
    ) -> None:
        note = {
            "method": METHOD,
            "modality": data.modality,
            "content": cache.manifest.content,
            "in_dim": data.dim,
            "hidden": settings.hidden,
            "out_dim": settings.out,
            "untrained_classes": _without_rows(data, self.config.classes),
            "train_rows": len(data.train),
            "val_rows": len(data.val),
            "unlabelled_rows": data.unlabelled,
            "seed": self.config.seed,
            "epoch": best.epoch,
            "epochs": settings.epochs,
            "score": best.score,
            "prior_sha256": prior.sha256,
            "settings": settings.model_dump(),
        }
        readout = Recast(prior.weight, settings.logit_scale or 1.0) if settings.embedding == "recast" else None
        save_branch(self.run.branch_file(data.modality), best.tensors, scale, note, readout)

    def _is_done(self, path: Path, cache: FeatureCache) -> bool:
        # An `add` that was killed may be followed by one of the same modality from another cache.
        return is_done(path) and load_note(path.with_suffix(".json")).get("content") == cache.manifest.content

    def _resolved(self, data: BranchData, prior: Prior | None = None) -> DrclSettings:
        out = prior.weight.shape[0] if prior else None
        return self.settings.resolved(len(data.train), data.classes, out, data.dim)

    def _data(self, cache: FeatureCache) -> tuple[BranchData, InputScale]:
        modality = cache.manifest.modality
        if modality not in self.rows:
            # One modality in memory at a time.
            self.rows.clear()
            memory = memory_budget(self.settings.memory, self.device)
            self.rows[modality] = ModalityRows(cache, self.config.classes, self.device, memory)
        s = self.settings
        return self.rows[modality].branch_data(
            standardize=s.standardize, val_fraction=s.val_fraction if s.holds_out else 0.0, seed=self.config.seed
        )

    def _place(self, cache: FeatureCache, stage: str, prior: str = "") -> Place:
        modality = cache.manifest.modality
        identity = digest(
            {
                "settings": self.settings.model_dump(),
                "seed": self.config.seed,
                "classes": self.config.classes,
                "content": cache.manifest.content,
                "prior": prior,
            }
        )
        return Place(
            self.device,
            self.config.seed,
            (modality, stage),
            self.settings.compile,
            self.run.checkpoint_file(modality, stage),
            identity,
            log=lambda row: self.run.append_log({"modality": modality, "stage": stage, **row}),
            restart=lambda epoch: self.run.trim_log(modality, stage, epoch),
            checkpoint_seconds=self.checkpoint_seconds,
        )

    def _forget(self, modality: str, stage: str) -> None:
        self.run.checkpoint_file(modality, stage).unlink(missing_ok=True)


def _without_rows(data: BranchData, classes: list[str]) -> list[str]:
    there = (data.counts > 0).tolist()
    return [name for name, has in zip(classes, there, strict=True) if not has]
