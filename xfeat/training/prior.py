"""Chooses the prior every branch of a run is trained against."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.methods.drcl import orthogonal_columns
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.training.branches import BranchTrainer
from xfeat.training.data import class_columns
from xfeat.training.seeds import random_stream
from xfeat.training.store import Prior, is_done, load_note, load_prior, save_note, save_prior

CANDIDATE = "candidate:"


def make_prior(trainer: BranchTrainer, caches: Sequence[FeatureCache]) -> tuple[Prior, dict[str, Any]]:
    """The run's prior and its note: read where it is there, otherwise made as the settings ask and written.

    Args:
        trainer: of the run.
        caches: whose candidates compete, where candidates are learned.

    Raises:
        InputError: a prior that is no word, no modality and no file, or one that does not fit the classes or ``out``.
    """
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
        candidates = {cache.manifest.modality: summary(trainer.candidate(cache)) for cache in caches}
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


def summary(note: dict[str, Any]) -> dict[str, Any]:
    """What prior.json keeps of a candidate's note."""
    return {name: note[name] for name in ("score", "score_on", "epoch", "sha256")}
