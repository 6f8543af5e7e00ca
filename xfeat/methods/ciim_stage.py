"""The training of CIIM: what is trained, on what loss, how it is validated."""

import math
from collections.abc import Mapping
from typing import Protocol, cast

import torch
from torch import Tensor

from xfeat.errors import InputError
from xfeat.evaluation.embedded import Embedded
from xfeat.evaluation.protocols import evaluate
from xfeat.heads.perceptron import Perceptron
from xfeat.methods.base import Batches, Noise, Objective, Schedule
from xfeat.methods.ciim import EMBED_ROWS, CiimNetwork, Labelled, loss_parts, weighted
from xfeat.methods.ciim_settings import CiimSettings

BETAS = (0.9, 0.999)  # of Adam
VALIDATIONS = 20  # looks at the val rows, at most
RAMP = 10.0  # of the reversal: Ganin et al., JMLR 2016, section 5.2


class ClassRows(Batches, Protocol):
    """Rows of several modalities, drawn by class.

    Attributes:
        dims: D of each modality, in order.
        rows: how many each has.
        known: (M, C) bool, classes that each modality has rows of.
    """

    dims: dict[str, int]
    rows: dict[str, int]
    known: Tensor


class CiimObjective(Objective):
    """The weighted sum of CIIM's terms, for modalities that train together, or for one against a frozen head.

    Args:
        rows: to train on.
        settings: resolved.
        bank: modalities whose bias the head knows, where they are not those that train.
    """

    def __init__(self, rows: ClassRows, settings: CiimSettings, bank: int | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.network = CiimNetwork(rows.dims, rows.rows, rows.known.shape[1], settings, rows.known, bank)
        self.dims, self.joins = rows.dims, bank is not None
        self._noise = {name: settings.noise(rows.rows[name], dim) for name, dim in rows.dims.items()}
        self._seen: tuple[Tensor, ...] = ()
        self._means: list[Tensor] = []

    def adopt(self, shared: Mapping[str, Tensor]) -> None:
        """Take over hybrid proxies and head (names as in ``shared_state``), which are trained no further."""
        self.network.load_state_dict({**self.network.state_dict(), **shared})
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name not in shared)

    def draw(self, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Dropout masks and input noise of the branches, and what a bias deviates from its mean by."""
        s, found, bank = self.settings, {}, self.network.head.bank.modalities
        for name, branch in zip(self.network.names, self.network.branches, strict=True):
            if (mask := cast(Perceptron, branch).mask(rows, generator)) is not None:
                found[f"drop/{name}"] = mask
            if self._noise[name]:
                found[f"features/{name}"] = self._noise[name] * _normal((rows, self.dims[name]), generator)
            if s.intervention:
                found[f"bias/{name}"] = _normal((min(s.interventions or bank, bank), rows, s.out), generator)
        if s.intervention:
            found["chosen"] = torch.randperm(bank, generator=generator, device=generator.device)[: s.interventions]
        return found

    def forward(self, x: Mapping[str, Labelled], y: Tensor, noise: Noise, q: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """The loss of a batch and its parts.

        Args:
            x: rows by modality; none where a modality has no class of the batch.
            y: not used: labels are beside the rows.
            noise: of ``draw``.
            q: () weight of the reversed gradient.
        """
        out = self.network([x[name] for name in self.network.names], noise)
        parts = loss_parts(self.network, out, q)
        if out.parts is not None:
            self._seen = out.parts.bias.detach().split(list(out.counts))
            self._means = [mean.detach() for mean in out.means]
        return {"loss": weighted(parts, self.settings), **parts}

    def after_step(self) -> None:
        """Centres and bank learn from the batch; the bank of a frozen head stays as it is."""
        for place, (bias, mean) in enumerate(zip(self._seen, self._means, strict=True)):
            if len(bias):
                self.network.centres.update(place, mean.unsqueeze(0))
                if not self.joins:
                    self.network.head.bank.update(place, bias)
        self._seen, self._means = (), []

    @torch.no_grad()
    def embed(self, place: int, values: Tensor) -> Tensor:
        """Adjusted embeddings (n, d) of scaled features (n, D) of one modality."""
        branch, head, centre = self.network.branches[place], self.network.head, self.network.centres.mean[place]
        return torch.cat([head(branch(piece), centre) for piece in values.split(EMBED_ROWS)])


class CiimStage:
    """One training: of all modalities, or of one that joins.

    Args:
        train: rows to train on.
        val: rows by modality that are looked at after an epoch, and choose it under ``select=best``; may be empty.
        settings: resolved.
        shared: state of a trained head and its hybrid proxies, which a modality joins.
    """

    def __init__(
        self,
        train: ClassRows,
        val: Mapping[str, Labelled],
        settings: CiimSettings,
        shared: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.train, self.val, self.settings = train, val, settings
        bank = None if shared is None else len(shared["head.bank.mean"])
        self.objective = CiimObjective(train, settings, bank)
        if shared is not None:
            self.objective.adopt(shared)
        self.objective.to(train.device)
        s, epochs = settings, settings.epochs or 1
        rows = (s.batch_classes or 1) * (s.batch_samples or 1)
        every = max(1, epochs // VALIDATIONS)
        self.schedule = Schedule(rows, epochs, every, s.lr, s.lr_schedule, s.weight_decay, BETAS)

    def decays(self, name: str) -> bool:
        """Weights of layers; not biases, not proxies, which count by their direction."""
        return name.endswith("weight")

    def q(self, epoch: int) -> float:
        """Weight of the reversed gradient: grows from 0 towards 1 over the training."""
        progress = epoch / max(1, self.schedule.epochs)
        return 2 / (1 + math.exp(-RAMP * progress)) - 1

    def validate(self, epoch: int) -> dict[str, Tensor]:
        """Retrieval among val rows, or, of a single modality, the share of them that are nearest to their proxy."""
        device = self.train.device
        last = torch.full((), float(epoch), device=device)
        names = self.objective.network.names
        items = {
            name: Embedded(self.objective.embed(names.index(name), rows.values), rows.labels)
            for name, rows in self.val.items()
        }
        found = self._accuracy(items) if self.objective.joins else _retrieval(items)
        if found is None:
            return {"score": last}
        value = torch.full((), found, device=device)
        return {"score": value if self.settings.select == "best" else last, "retrieval": value}

    def keep(self) -> dict[str, Tensor]:
        """Everything of the network: branches, proxies, head and bank."""
        return self.objective.network.state_dict()

    def _accuracy(self, items: Mapping[str, Embedded]) -> float | None:
        if not items:
            return None
        (item,) = items.values()
        hybrid = torch.nn.functional.normalize(self.objective.network.hybrid.detach(), dim=1)
        nearest = (torch.as_tensor(item.vectors) @ hybrid.T).argmax(1)
        return float((nearest == torch.as_tensor(item.labels)).float().mean())


def shared_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a network's state, what all modalities share: the head with its bank, hybrid proxies and which are trained."""
    shared = ("hybrid", "anchored")
    return {name: value for name, value in state.items() if name in shared or name.startswith("head.")}


def _retrieval(items: Mapping[str, Embedded]) -> float | None:
    """Mean average precision over the ordered pairs of modalities; None where there is nothing to find."""
    if any(not torch.isfinite(torch.as_tensor(item.vectors)).all() for item in items.values()):
        return math.nan  # the loop says so, with the epoch and the remedy
    try:
        return evaluate(items, cuts=(None,)).mean["mAP@all"]
    except InputError:  # one modality with val rows, or no class in common
        return None


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)
