"""An SSPC branch on disk: its weights as they are and averaged, its anchors, the scale of its inputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.cache.tokens import Tokens
from xfeat.errors import InputError
from xfeat.evaluation.similarity import Similarity
from xfeat.heads import GatedOutput
from xfeat.methods.settings import validated
from xfeat.methods.sspc import ModalityHead
from xfeat.methods.sspc_settings import SspcSettings
from xfeat.training.checkpoint import write_tensors
from xfeat.training.paired import Column
from xfeat.training.resident import InputScale
from xfeat.training.store import SCALE, read_noted, save_note, sha256

Weights: TypeAlias = Literal["kept", "raw", "ema"]
PIECE = 2048  # rows at a time


@dataclass(frozen=True)
class StoredGated:
    """A trained SSPC branch as it lies on disk.

    Attributes:
        head: the branch and its anchors.
        scale: of its inputs.
        note: sizes, settings, chosen epoch, which weights count, sha256.
    """

    head: ModalityHead
    scale: InputScale
    note: dict[str, Any]

    @property
    def similarity(self) -> Similarity:
        """What its embeddings are compared by."""
        return "cosine"

    @property
    def wants_tokens(self) -> bool:
        """Whether it reads token sequences."""
        return bool(self.note["tokens"])

    def embed(self, features: NDArray[Any], device: torch.device, tokens: Tokens | None = None) -> Tensor:
        """Joint embeddings (n, O) float32 of cached features (n, D) or of token sequences, on the device."""
        return self.both(features, device, tokens).joint

    @torch.no_grad()
    def both(self, features: NDArray[Any], device: torch.device, tokens: Tokens | None = None) -> GatedOutput:
        """Input (n, I) and joint (n, O) embeddings, float32, on the device."""
        head = self.head.to(device)
        column = self._column(features, device, tokens)
        pieces = torch.arange(len(features), device=device).split(PIECE)
        out = [head.branch(*column.take(rows)) for rows in pieces]
        return GatedOutput(torch.cat([one.input for one in out]), torch.cat([one.joint for one in out]))

    def _column(self, features: NDArray[Any], device: torch.device, tokens: Tokens | None) -> Column:
        scale = self.scale.to(device)
        if not self.wants_tokens:
            return Column(torch.from_numpy(features).to(device), None, scale)
        if tokens is None:
            raise InputError(f"branch {self.note['modality']} reads token sequences, which the cache does not hold")
        values, offsets = torch.from_numpy(tokens.values), torch.from_numpy(tokens.offsets)
        return Column(values.to(device), offsets.to(device), scale)


def save_gated(path: Path, tensors: Mapping[str, Tensor], scale: InputScale, note: dict[str, Any]) -> dict[str, Any]:
    """Write a branch and its note; the note with the file's sha256.

    Args:
        path: ``branches/<modality>.safetensors``.
        tensors: ``raw/...`` and perhaps ``ema/...``, the state of a ``ModalityHead`` each.
        scale: of its inputs.
        note: what to keep beside it.
    """
    write_tensors(path, {**tensors, f"{SCALE}mean": scale.mean, f"{SCALE}std": scale.std}, {})
    note = {**note, "sha256": sha256(path)}
    save_note(path.with_suffix(".json"), note)
    return note


def load_gated(path: Path, weights: Weights = "kept") -> StoredGated:
    """Read an SSPC branch.

    Args:
        path: its file.
        weights: ``raw``, ``ema``, or those that the training kept as the ones that count.

    Raises:
        InputError: missing, damaged, not the file its note was written for, or without averaged weights.
    """
    tensors, note = read_noted(path)
    try:
        kind = note["weights"] if weights == "kept" else weights
        state = {name[4:]: value for name, value in tensors.items() if name.startswith(f"{kind}/")}
        if not state:
            raise InputError(f"{path} holds no {kind} weights: it was trained with ema=0")
        head = ModalityHead(note["in_dim"], validated(SspcSettings, note["settings"]))
        head.load_state_dict(state)
        scale = InputScale(tensors[f"{SCALE}mean"], tensors[f"{SCALE}std"])
        return StoredGated(head, scale, {**note, "shown": kind})
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} does not fit its note ({str(error).splitlines()[0]})") from None
