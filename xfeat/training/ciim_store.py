"""A CIIM run on disk: one file of what all modalities share, and one of each modality's branch and proxies."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.cache.tokens import Tokens
from xfeat.errors import InputError
from xfeat.evaluation.similarity import Similarity
from xfeat.heads.causal import CausalHead
from xfeat.heads.perceptron import Perceptron
from xfeat.methods.ciim import EMBED_ROWS, make_branch
from xfeat.methods.ciim_settings import CiimSettings
from xfeat.methods.ciim_stage import shared_state
from xfeat.methods.settings import validated
from xfeat.training.checkpoint import write_tensors
from xfeat.training.resident import InputScale
from xfeat.training.store import SCALE, read_noted, save_note, sha256

BRANCH, PROXIES, CENTRE, HEAD = "branch/", "proxies", "centre", "head."
BEFORE, AFTER, ONLY = "before the intervention", "after the intervention", "embedding"


@dataclass(frozen=True)
class StoredCausal:
    """A trained CIIM branch as it lies on disk, with the head that it shares.

    Attributes:
        branch: of its modality.
        centre: (O,) mean of its refined training rows.
        head: of the run.
        scale: of the inputs.
        note: sizes, settings, chosen epoch, sha256.
    """

    branch: Perceptron
    centre: Tensor
    head: CausalHead
    scale: InputScale
    note: dict[str, Any]

    @property
    def similarity(self) -> Similarity:
        """What its embeddings are compared by."""
        return "cosine"

    @property
    def wants_tokens(self) -> bool:
        """Whether it reads token sequences: pooled features are what it knows."""
        return False

    @torch.no_grad()
    def embed(self, features: NDArray[Any], device: torch.device, tokens: Tokens | None = None) -> Tensor:  # noqa: ARG002
        """Adjusted embeddings (n, O) float32 of cached features (n, D), on the device."""
        head, centre = self.head.to(device), self.centre.to(device)
        return torch.cat([head(z, centre) for z in self._branch(features, device)])

    @torch.no_grad()
    def stages(self, features: NDArray[Any], device: torch.device) -> dict[str, Tensor]:
        """Unit rows (n, O), refined and adjusted; of a run that does not intervene, the embedding alone."""
        head, centre, z = self.head.to(device), self.centre.to(device), self._branch(features, device)
        last = torch.cat([head(one, centre) for one in z])
        if not head.intervention:
            return {ONLY: last}
        return {BEFORE: torch.cat([torch.nn.functional.normalize(head.refine(one), dim=1) for one in z]), AFTER: last}

    @torch.no_grad()
    def _branch(self, features: NDArray[Any], device: torch.device) -> list[Tensor]:
        branch, starts = self.branch.to(device), range(0, len(features), EMBED_ROWS)
        return [branch(self.scale(features[start : start + EMBED_ROWS]).to(device)) for start in starts]


def save_shared(path: Path, state: Mapping[str, Tensor], note: dict[str, Any]) -> dict[str, Any]:
    """Write head, bank and hybrid proxies with their note.

    Args:
        path: ``shared.safetensors`` of a run.
        state: of a ``CiimNetwork``; what is a modality's own is left out.
        note: what to keep beside it: settings, classes and modalities of the bank.

    Returns:
        The note with the file's sha256.
    """
    write_tensors(path, shared_state(state), {})
    note = {**note, "sha256": sha256(path)}
    save_note(path.with_suffix(".json"), note)
    return note


def load_shared(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Head, bank and hybrid proxies of a run, and their note.

    Raises:
        InputError: missing, damaged, or not the file its note was written for.
    """
    return read_noted(path)


def save_causal(
    path: Path, state: Mapping[str, Tensor], place: int, scale: InputScale, note: dict[str, Any]
) -> dict[str, Any]:
    """Write one modality's branch and proxies with their note.

    Args:
        path: ``branches/<modality>.safetensors``.
        state: of a ``CiimNetwork``.
        place: of the modality in it.
        scale: of its inputs.
        note: what to keep beside it.

    Returns:
        The note with the file's sha256.
    """
    start = f"branches.{place}."
    mine = {BRANCH + name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
    mine |= {PROXIES: state["single"][place].clone(), CENTRE: state["centres.mean"][place].clone()}
    mine |= {f"{SCALE}mean": scale.mean, f"{SCALE}std": scale.std}
    write_tensors(path, mine, {})
    note = {**note, "sha256": sha256(path)}
    save_note(path.with_suffix(".json"), note)
    return note


def load_causal(path: Path) -> StoredCausal:
    """Read a CIIM branch and the head of its run.

    Raises:
        InputError: missing, damaged, not the file its note was written for, or beside another run's head.
    """
    tensors, note = read_noted(path)
    file = path.parents[1] / "shared.safetensors"
    shared, about = load_shared(file)
    if note.get("shared") != about["sha256"]:
        raise InputError(f"{path} was trained with another {file.name} than {file}: put its own back")
    try:
        settings = validated(CiimSettings, note["settings"])
        weights = {k.removeprefix(BRANCH): v for k, v in tensors.items() if k.startswith(BRANCH)}
        branch = make_branch(note["in_dim"], settings, skip="skip.weight" in weights)
        branch.load_state_dict(weights)
        modalities = len(shared[f"{HEAD}bank.mean"])
        head = CausalHead(settings.out, settings.reconstructor, modalities, intervention=settings.intervention)
        head.load_state_dict({k.removeprefix(HEAD): v for k, v in shared.items() if k.startswith(HEAD)})
        scale, centre = InputScale(tensors[f"{SCALE}mean"], tensors[f"{SCALE}std"]), tensors[CENTRE]
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} does not fit its note ({str(error).splitlines()[0]})") from None
    return StoredCausal(branch, centre, head, scale, note)
