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
from xfeat.training.seeds import seeded
from xfeat.training.store import Prior, is_done, load_note, load_prior, save_note, save_prior

WORDS = ("spl", "orthogonal", "ridge")
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
    made = wanted in WORDS or wanted.startswith(CANDIDATE)
    if made and out < len(classes):
        raise InputError(f"out is {out}, but {len(classes)} classes need at least as many dimensions: set out higher")
    if learns_candidates(settings):
        names = [cache.manifest.modality for cache in caches]
        named = wanted.startswith(CANDIDATE)
        if named and wanted.removeprefix(CANDIDATE) not in names:
            raise InputError(f"prior {wanted!r}: no such modality here (there are {', '.join(names)})")
        candidates = {cache.manifest.modality: summary(trainer.candidate(cache)) for cache in caches}
        best = max(sorted(candidates), key=lambda name: float(candidates[name]["score"]))
        chosen = wanted.removeprefix(CANDIDATE) if named else best
        weight = load_prior(run.candidate_file(chosen)).weight
    elif wanted == "orthogonal":
        chosen = "orthogonal"
        weight, _ = seeded(
            lambda: orthogonal_columns(out, len(classes)), torch.device("cpu"), trainer.config.seed, "prior", chosen
        )
    else:
        chosen = "file"
        weight = _prior_from_file(Path(wanted), settings)
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


def learns_candidates(settings: DrclSettings) -> bool:
    """Whether every modality offers a candidate, learned or in closed form."""
    return settings.prior in ("spl", "ridge") or settings.prior.startswith(CANDIDATE)


def prior_file(settings: DrclSettings) -> Path | None:
    """The file that the settings name as prior, if they name one.

    Raises:
        InputError: a prior that is no known word and no file.
    """
    if settings.prior in WORDS or settings.prior.startswith(CANDIDATE):
        return None
    path = Path(settings.prior)
    if not path.is_file():
        raise InputError(f"prior {settings.prior!r}: not {', '.join(WORDS)}, candidate:MODALITY, and no such file")
    return path


def _prior_from_file(path: Path, settings: DrclSettings) -> torch.Tensor:
    weight = load_prior(path).weight
    if settings.out not in (None, weight.shape[0]):
        raise InputError(f"out is {settings.out}, but the prior {path} has {weight.shape[0]} dimensions")
    return weight


def summary(note: dict[str, Any]) -> dict[str, Any]:
    """What prior.json keeps of a candidate's note."""
    return {name: note[name] for name in ("score", "score_on", "epoch", "sha256")}
