"""An affine branch on disk: the scale of its inputs, a matrix, a bias, and what follows them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.cache.tokens import Tokens
from xfeat.errors import InputError
from xfeat.evaluation.similarity import Similarity
from xfeat.methods.linear import Activation, LinearMap
from xfeat.training.checkpoint import write_tensors
from xfeat.training.resident import PIECE, InputScale
from xfeat.training.store import SCALE, read_noted, save_note, sha256

WEIGHT, BIAS = "weight", "bias"


@dataclass(frozen=True)
class StoredLinear:
    """An affine branch as it lies on disk.

    Attributes:
        scale: of its inputs.
        weight: (D, O) float64; None where the scaled features are the embedding.
        bias: (O,) float64; None without a weight.
        activation: of every row.
        similarity: what its embeddings are compared by.
        note: sizes, settings, sha256.
    """

    scale: InputScale
    weight: Tensor | None
    bias: Tensor | None
    activation: Activation
    similarity: Similarity
    note: dict[str, Any]

    @property
    def wants_tokens(self) -> bool:
        """Whether it reads token sequences: pooled features are what it knows."""
        return False

    def embed(self, features: NDArray[Any], device: torch.device, tokens: Tokens | None = None) -> Tensor:  # noqa: ARG002
        """Embeddings (n, O) float32 of cached features (n, D), on the device; worked out in float64."""
        starts = range(0, len(features), PIECE) or (0,)
        return torch.cat([self._embed(self.scale(features[start : start + PIECE]).to(device)) for start in starts])

    def _embed(self, rows: Tensor) -> Tensor:
        if self.weight is None or self.bias is None:
            return rows
        z = rows.double() @ self.weight.to(rows.device) + self.bias.to(rows.device)
        if self.activation == "softmax":
            z = z.softmax(dim=1)
        elif self.activation == "sigmoid":
            z = z.sigmoid()
        return z.float()


def save_linear(path: Path, scale: InputScale, made: LinearMap | None, note: dict[str, Any]) -> dict[str, Any]:
    """Write an affine branch with its note.

    Args:
        path: ``branches/<modality>.safetensors``.
        scale: of its inputs.
        made: the map; None where the scaled features are the embedding.
        note: what to keep beside it, with the ``similarity``.

    Returns:
        The note with the activation and the file's sha256.
    """
    tensors = {f"{SCALE}mean": scale.mean, f"{SCALE}std": scale.std}
    if made is not None:
        tensors |= {WEIGHT: torch.from_numpy(made.weight), BIAS: torch.from_numpy(made.bias)}
    write_tensors(path, tensors, {})
    note = {**note, "activation": made.activation if made else "none", "sha256": sha256(path)}
    save_note(path.with_suffix(".json"), note)
    return note


def load_linear(path: Path) -> StoredLinear:
    """Read an affine branch.

    Raises:
        InputError: missing, damaged, or not the file its note was written for.
    """
    tensors, note = read_noted(path)
    try:
        scale, weight, bias = InputScale(tensors[f"{SCALE}mean"], tensors[f"{SCALE}std"]), None, None
        if WEIGHT in tensors:
            weight, bias = tensors[WEIGHT], tensors[BIAS]
        shape = (note["in_dim"], note["out_dim"])
        fits = (shape[0] == shape[1]) if weight is None else tuple(weight.shape) == shape and bias is not None
        if not fits or scale.mean.shape != shape[:1] or (bias is not None and bias.shape != shape[1:]):
            raise ValueError(f"a map {shape[0]} -> {shape[1]} is expected")
        if note["activation"] not in ("none", "softmax", "sigmoid"):
            raise ValueError(f"activation {note['activation']!r}")
        if note["similarity"] not in ("cosine", "inner product"):
            raise ValueError(f"similarity {note['similarity']!r}")
        return StoredLinear(scale, weight, bias, note["activation"], note["similarity"], note)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not fit its note ({str(error).splitlines()[0]})") from None
