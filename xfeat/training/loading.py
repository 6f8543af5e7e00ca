"""Reads a branch of any method from its file, as something that embeds."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.cache.tokens import Tokens
from xfeat.errors import InputError
from xfeat.evaluation.similarity import Similarity
from xfeat.methods.baseline_settings import CLOSED_FORMS
from xfeat.training.ciim_store import load_causal
from xfeat.training.linear_store import load_linear
from xfeat.training.run import CIIM, SSPC
from xfeat.training.sspc_store import Weights, load_gated
from xfeat.training.store import load_branch as load_drcl
from xfeat.training.store import load_note


class Embedder(Protocol):
    """A trained branch, whatever trained it."""

    @property
    def note(self) -> dict[str, Any]:
        """What was written beside it."""

    @property
    def similarity(self) -> Similarity:
        """What its embeddings are compared by."""

    @property
    def wants_tokens(self) -> bool:
        """Whether it reads token sequences."""

    def embed(self, features: NDArray[Any], device: torch.device, tokens: Tokens | None = None) -> Tensor:
        """Embeddings (n, O) float32 of cached features (n, D), on the device."""


@runtime_checkable
class Staged(Protocol):
    """A branch that says what its embeddings are like on their way through it."""

    def stages(self, features: NDArray[Any], device: torch.device) -> dict[str, Tensor]:
        """Embeddings (n, O) float32 at named places, first to last; the last are what ``embed`` gives."""


def load_branch(path: Path, weights: Weights = "kept") -> Embedder:
    """Read a branch.

    Args:
        path: ``branches/<modality>.safetensors``.
        weights: which set, where there are several.

    Raises:
        InputError: missing, damaged, or without such weights.
    """
    method = load_note(path.with_suffix(".json")).get("method")
    if method == SSPC:
        return load_gated(path, weights)
    if weights != "kept":
        raise InputError(f"{path}: this method keeps one set of weights, not {weights}")
    if method in CLOSED_FORMS:
        return load_linear(path)
    return load_causal(path) if method == CIIM else load_drcl(path)
