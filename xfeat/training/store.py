"""Priors and branches on disk: safetensors with a JSON note beside each."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.cache.files import write_text
from xfeat.cache.tokens import Tokens
from xfeat.errors import InputError
from xfeat.evaluation.similarity import Similarity
from xfeat.heads import Branch, Recast
from xfeat.methods.drcl import EMBED_ROWS, embed
from xfeat.training.checkpoint import read_tensors, write_tensors
from xfeat.training.resident import InputScale

SCALE = "input_scale/"
HEAD = "head/"
READOUT = "readout/"


@dataclass(frozen=True)
class Prior:
    """A prior and the classes its columns stand for.

    Attributes:
        weight: (O, C) float32 W.
        classes: (C,) names.
        sha256: of its file.
    """

    weight: Tensor
    classes: list[str]
    sha256: str


@dataclass(frozen=True)
class StoredBranch:
    """A trained branch as it lies on disk.

    Attributes:
        head: the network.
        scale: of its inputs.
        note: sizes, chosen epoch, score, settings, sha256.
        readout: what makes the head's output an embedding; None where it is one.
    """

    head: Branch
    scale: InputScale
    note: dict[str, Any]
    readout: Recast | None = None

    @property
    def similarity(self) -> Similarity:
        """What its embeddings are compared by."""
        return "inner product" if self.readout else "cosine"

    @property
    def wants_tokens(self) -> bool:
        """Whether it reads token sequences: pooled features are what it knows."""
        return False

    def embed(self, features: NDArray[Any], device: torch.device, tokens: Tokens | None = None) -> Tensor:  # noqa: ARG002
        """Embeddings (n, O) float32 of cached features (n, D), on the device."""
        head, scale = self.head.to(device), self.scale
        pieces = []
        for start in range(0, len(features), EMBED_ROWS):
            z = embed(head, scale(features[start : start + EMBED_ROWS]).to(device))
            pieces.append(self.readout.to(device)(z) if self.readout else z)
        return torch.cat(pieces)


def sha256(path: Path) -> str:
    """Sha256 of a file, in hexadecimal."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            total.update(piece)
    return total.hexdigest()


def save_prior(path: Path, weight: Tensor, classes: Sequence[str]) -> str:
    """Write W with its class names in the file itself, so that it can travel alone; the file's sha256."""
    write_tensors(path, {"W": weight}, {"xfeat": json.dumps({"classes": list(classes)}, ensure_ascii=False)})
    return sha256(path)


def load_prior(path: Path) -> Prior:
    """Read a prior.

    Raises:
        InputError: missing, damaged, or no prior.
    """
    tensors, meta = read_tensors(path)
    try:
        classes = [str(name) for name in json.loads(meta["xfeat"])["classes"]]
        weight = tensors["W"]
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{path} is not a prior: it needs a tensor W and class names") from None
    if weight.ndim != 2 or weight.shape[1] != len(classes):
        raise InputError(f"{path}: W is {tuple(weight.shape)} for {len(classes)} classes")
    if not torch.isfinite(weight).all():
        raise InputError(f"{path}: W holds values that are not finite")
    return Prior(weight, classes, sha256(path))


def save_branch(
    path: Path, head: Mapping[str, Tensor], scale: InputScale, note: dict[str, Any], readout: Recast | None = None
) -> dict[str, Any]:
    """Write a branch and its note; neither holds a time or a path, so equal trainings give equal bytes.

    Args:
        path: ``branches/<modality>.safetensors``.
        head: the network's parameters.
        scale: of its inputs.
        note: what to keep beside it.
        readout: what makes the network's output an embedding, if anything does.

    Returns:
        The note with the file's sha256.
    """
    tensors = {f"{HEAD}{name}": tensor for name, tensor in head.items()}
    tensors.update({f"{SCALE}mean": scale.mean, f"{SCALE}std": scale.std})
    if readout:
        tensors.update({f"{READOUT}{name}": tensor for name, tensor in readout.state_dict().items()})
    write_tensors(path, tensors, {})
    note = {**note, "sha256": sha256(path)}
    save_note(path.with_suffix(".json"), note)
    return note


def load_branch(path: Path) -> StoredBranch:
    """Read a branch.

    Raises:
        InputError: missing, damaged, or not the file its note was written for.
    """
    tensors, note = read_noted(path, "train the branch again")
    try:
        weights = {k.removeprefix(HEAD): v for k, v in tensors.items() if k.startswith(HEAD)}
        layers, bias = 2 if "hidden.weight" in weights else 1, float("output.bias" in weights)
        sizes = note["in_dim"], note["hidden"], note["out_dim"]
        head = Branch(*sizes, layers=layers, bias_length=bias, skip="skip.weight" in weights)
        head.load_state_dict(weights)
        scale = InputScale(tensors[f"{SCALE}mean"], tensors[f"{SCALE}std"])
        readout = _readout({k.removeprefix(READOUT): v for k, v in tensors.items() if k.startswith(READOUT)})
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{path} does not fit its note ({str(error).splitlines()[0]})") from None
    return StoredBranch(head, scale, note, readout)


def _readout(tensors: dict[str, Tensor]) -> Recast | None:
    if not tensors:
        return None
    made = Recast(torch.eye(*tensors["prior"].shape), 1.0)
    made.load_state_dict(tensors)
    return made


def save_note(path: Path, note: dict[str, Any]) -> None:
    """Write a JSON note whole, keys sorted."""
    write_text(path, json.dumps(note, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def load_note(path: Path) -> dict[str, Any]:
    """Read a JSON note.

    Raises:
        InputError: missing or damaged.
    """
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: the run is not finished (`xfeat train ... --resume`)") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error})") from None
    if not isinstance(note, dict):
        raise InputError(f"{path} is damaged (not an object)")
    return note


def read_noted(path: Path, remedy: str = "train the run again") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A tensor file and its note, which belong together.

    Raises:
        InputError: missing, damaged, or not the file its note was written for; ``remedy`` says what to do.
    """
    note = load_note(path.with_suffix(".json"))
    tensors, _ = read_tensors(path)
    if note.get("sha256") != sha256(path):
        raise InputError(f"{path} is not the file that {path.stem}.json was written for: {remedy}")
    return tensors, note


def is_done(path: Path) -> bool:
    """Whether a tensor file and the note that was written after it are both there and belong together."""
    note = path.with_suffix(".json")
    return path.is_file() and note.is_file() and load_note(note).get("sha256") == sha256(path)
