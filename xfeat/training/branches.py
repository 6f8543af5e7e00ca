"""Trains one modality of a DRCL run: its candidate prior, its branch. No other modality is in sight here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xfeat.cache import FeatureCache
from xfeat.cache.fingerprint import digest
from xfeat.methods.base import BranchData, Stage
from xfeat.methods.drcl import RscStage, SplStage
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.progress import progress
from xfeat.training.checkpoint import Best
from xfeat.training.data import InputScale, load_branch_data
from xfeat.training.loop import Place, fit
from xfeat.training.run import Run, RunConfig
from xfeat.training.store import Prior, is_done, load_note, save_branch, save_note, save_prior

METHOD = "drcl"


@dataclass(frozen=True)
class BranchTrainer:
    """Trains single modalities of one run; what is already done is read instead.

    Attributes:
        run: where everything goes.
        config: of the run.
        settings: of the method, not yet resolved for a modality.
        device: where to train.
        checkpoint_seconds: least time between two checkpoints of an unfinished stage.
    """

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
            "untrained_classes": _without_rows(data, self.config.classes),
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


def _without_rows(data: BranchData, classes: list[str]) -> list[str]:
    there = (data.train.targets > 0).any(dim=0).tolist()
    return [name for name, has in zip(classes, there, strict=True) if not has]
