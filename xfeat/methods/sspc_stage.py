"""The training of SSPC: what is trained, on what loss, which weights are kept."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from xfeat.evaluation.embedded import Embedded
from xfeat.evaluation.instance import evaluate_instances
from xfeat.methods.base import Batches, Noise, Objective, Schedule
from xfeat.methods.batches import batch_count
from xfeat.methods.sspc import Features, ModalityHead, Queues, consistency, contrastive, embed_joint
from xfeat.methods.sspc_queue import Queue
from xfeat.methods.sspc_settings import SspcSettings

BETAS = (0.9, 0.999)  # of Adam
VALIDATIONS = 20  # looks at the val rows, at most, at size=small
RAW, EMA, PREFERS_EMA = "raw", "ema", "prefers_ema"


class PairedRows(Batches, Protocol):
    """Instances of several modalities.

    Attributes:
        dims: D of each modality, in order.
    """

    dims: dict[str, int]

    def pieces(self, modality: str) -> Sequence[tuple[Features, Tensor]]:
        """Every row of a modality that belongs to an instance, with the instance's key (B,) int64."""


class SspcObjective(Objective):
    """alpha contrastive + beta consistency, on heads of any number of modalities.

    Args:
        dims: D by modality.
        settings: resolved.
    """

    def __init__(self, dims: Mapping[str, int], settings: SspcSettings) -> None:
        super().__init__()
        self.names, self.settings = list(dims), settings
        # In order of names: what a head starts from does not depend on the order of the caches.
        made = {name: ModalityHead(dims[name], settings) for name in sorted(dims)}
        self.heads = nn.ModuleList(made[name] for name in self.names)
        size = settings.queue or 0 if settings.beta else 0
        self.input_queues = nn.ModuleList(Queue(size, made[name].branch.input_width) for name in self.names)
        self.joint_queues = nn.ModuleList(Queue(size, settings.joint_dim or 1) for _ in self.names)
        self.ema = None
        if settings.ema:
            average = get_ema_multi_avg_fn(settings.ema)
            self.ema = AveragedModel(self.heads, multi_avg_fn=average).requires_grad_(requires_grad=False)
        self._seen: list[tuple[Tensor, Tensor]] = []

    def draw(self, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Dropout masks, and noise on pooled features."""
        found = {}
        for name, head in zip(self.names, self.weights(RAW), strict=True):
            if (drop := head.branch.masks(rows, generator)) is not None:
                found[f"drop/{name}"] = drop
            if self.settings.input_noise:
                shape = (rows, head.branch.in_dim)
                drawn = torch.randn(shape, generator=generator, device=generator.device)
                found[f"noise/{name}"] = self.settings.input_noise * drawn
        return found

    def forward(self, x: Mapping[str, Features], y: Tensor, noise: Noise, q: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """The loss of a batch of instances and its parts.

        Args:
            x: features by modality.
            y: (B,) int64 keys of the instances.
            noise: of ``draw``.
            q: not used here.
        """
        s, heads, batch = self.settings, self.weights(RAW), [x[name] for name in self.names]
        out = []
        for name, head, one in zip(self.names, heads, batch, strict=True):
            values = one.values
            if f"noise/{name}" in noise:
                shift = noise[f"noise/{name}"]
                values = values + (shift if one.mask is None else shift.unsqueeze(1))
            out.append(head.branch(values, one.mask, noise.get(f"drop/{name}")))
        parts = {"contrastive": contrastive(out, batch, y, self.names, s)}
        loss = s.alpha * parts["contrastive"]
        if s.beta:
            queues = Queues(*self._queues())
            parts["consistency"] = consistency(heads, out, batch, queues, self.names, s)
            loss = loss + s.beta * parts["consistency"]
            # They join the queues after the step: a batch is not its own earlier sample.
            self._seen = [
                (_there(o.input, one.present), _there(o.joint, one.present)) for o, one in zip(out, batch, strict=True)
            ]
        return {"loss": loss, **parts}

    @torch.no_grad()
    def after_step(self) -> None:
        """The batch joins the queues, the weights their average."""
        for (inputs, joints), first, second in zip(self._seen, *self._queues(), strict=False):
            first.push(inputs)
            second.push(joints)
        self._seen = []
        if self.ema is not None:
            self.ema.update_parameters(self.heads)

    def weights(self, kind: str) -> list[ModalityHead]:
        """The heads as they are (``raw``) or averaged (``ema``)."""
        return cast("list[ModalityHead]", list(self._averaged() if kind == EMA else self.heads))

    def states(self) -> dict[str, Tensor]:
        """Both sets of weights: ``raw/<place>.<name>`` and, where there is an average, ``ema/<place>.<name>``."""
        sets = {RAW: self.heads} if self.ema is None else {RAW: self.heads, EMA: self._averaged()}
        return {f"{kind}/{name}": value for kind, one in sets.items() for name, value in one.state_dict().items()}

    def _averaged(self) -> nn.ModuleList:
        return self.heads if self.ema is None else cast(nn.ModuleList, self.ema.module)

    def _queues(self) -> tuple[list[Queue], list[Queue]]:
        return cast("list[Queue]", list(self.input_queues)), cast("list[Queue]", list(self.joint_queues))


class SspcStage:
    """One training of all modalities together.

    Args:
        train: instances to train on.
        val: instances that choose the epoch, and between the weights and their average; None where there are none.
        settings: resolved.
    """

    def __init__(self, train: PairedRows, val: PairedRows | None, settings: SspcSettings) -> None:
        self.train, self.val, self.settings = train, val, settings
        self.objective = SspcObjective(train.dims, settings).to(train.device)
        s = settings
        epochs = s.epochs or 1
        every = 1 if s.size == "paper" else max(1, epochs // VALIDATIONS)
        course = s.lr_schedule or "constant"
        # Unless val rows know better: an average that looks back further than the training has barely left its start.
        steps = epochs * batch_count(len(train), s.batch_size or 2)
        self._prefers_ema = steps * (1 - (s.ema or 0.0)) + 1e-6 >= 1
        self.schedule = Schedule(
            s.batch_size or 2, epochs, every, s.lr or 0.0, course, s.weight_decay, BETAS, s.lr_decay
        )

    def decays(self, name: str) -> bool:
        """Weights of layers; not biases, not anchors, which count by their direction."""
        return name.endswith("weight") and "norm" not in name

    def q(self, epoch: int) -> float:  # noqa: ARG002
        """Nothing here depends on it."""
        return 0.0

    def validate(self, epoch: int) -> dict[str, Tensor]:
        """Retrieval among the val rows by the weights and by their average, and the score that selects the epoch."""
        device = self.train.device
        last = torch.full((), float(epoch), device=device)
        if self.val is None:
            return {"score": last}
        kinds = [RAW] if self.objective.ema is None else [RAW, EMA]
        found = {kind: self._retrieval(kind) for kind in kinds}
        self._prefers_ema = found.get(EMA, -1.0) >= found[RAW]
        counts = {"auto": max(found.values()), RAW: found[RAW], EMA: found.get(EMA, found[RAW])}[self.settings.weights]
        best = last if self.settings.select == "last" else torch.full((), counts, device=device)
        return {"score": best, **{kind: torch.full((), value, device=device) for kind, value in found.items()}}

    def keep(self) -> dict[str, Tensor]:
        """Weights and average (``SspcObjective.states``), and ``prefers_ema``.

        It is 1 where the average retrieved at least as well among the val rows; where there are none, if the training
        is longer than the average looks back.
        """
        return self.objective.states() | {PREFERS_EMA: torch.tensor(float(self._prefers_ema))}

    def _retrieval(self, kind: str) -> float:
        """Mean over the ordered pairs of modalities of the geometric mean of R@1, R@5 and R@10."""
        assert self.val is not None
        items = {}
        for name, head in zip(self.objective.names, self.objective.weights(kind), strict=True):
            pieces = self.val.pieces(name)
            if pieces:
                vectors = torch.cat([embed_joint(head, features) for features, _ in pieces])
                if not torch.isfinite(vectors).all():
                    return math.nan  # the loop says so, with the epoch and the remedy
                keys = torch.cat([keys for _, keys in pieces])
                items[name] = Embedded(vectors, keys, keys=keys)
        return float(evaluate_instances(items).mean["gmean"])


def _there(rows: Tensor, present: Tensor | None) -> Tensor:
    return rows.detach() if present is None else rows.detach()[present]
