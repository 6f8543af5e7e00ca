"""Both stages of DRCL (arXiv 2501.05686): what is trained, on what loss, and which epoch is kept."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from xfeat.losses import factored, generalized_cross_entropy, mix, reversible_consistency
from xfeat.methods.base import BranchData, Noise, Objective, Schedule
from xfeat.methods.drcl import make_branch, orthogonal_columns, quality_score, recast_matrix, schedule_q
from xfeat.methods.drcl_settings import DrclSettings

BETAS = (0.5, 0.999)  # of Adam, in both stages
VALIDATIONS = 50  # looks at the rows that choose the epoch, at most, at size=small; the paper looks after every epoch
SELECTION_Q = 0.5  # of the validation loss: midway between cross entropy and mean absolute error
SCORE_ROWS = 16_384  # rows that a quality score is taken on at size=small, at most; the paper takes all


def class_weights(data: BranchData, settings: DrclSettings) -> Tensor | None:
    """(C,) weight of a sample by its class, 1 on average over the training rows; None where classes count as they are.

    Args:
        data: whose class counts decide.
        settings: ``class_weight=balanced`` gives every class that has rows the same total.
    """
    if settings.class_weight == "none":
        return None
    there = data.counts > 0
    return torch.where(there, data.counts.sum() / (there.sum() * data.counts.clamp_min(1e-9)), 0.0)


def _schedule(settings: DrclSettings, epochs: int | None, lr: float | None) -> Schedule:
    epochs = epochs or 1
    every = 1 if settings.size == "paper" else max(1, epochs // VALIDATIONS)
    course, batch = settings.lr_schedule or "constant", settings.batch_size or 1
    return Schedule(batch, epochs, every, lr or 0.0, course, settings.weight_decay, BETAS)


class _BranchObjective(Objective):
    """A branch in training, with what both stages share: dropout masks, precision, weights of the classes."""

    class_weight: Tensor | None

    def __init__(self, data: BranchData, settings: DrclSettings) -> None:
        super().__init__()
        self.settings = settings
        self.branch = make_branch(data.dim, settings)
        self.register_buffer("class_weight", class_weights(data, settings))

    def draw(self, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Dropout masks, and noise on the features."""
        found = self.branch.masks(rows, generator)
        if self.settings.input_noise:
            shape = (rows, self.branch.input.in_features)
            drawn = torch.randn(shape, generator=generator, device=generator.device)
            found["noise"] = self.settings.input_noise * drawn
        return found

    def embed(self, x: Tensor, noise: Noise) -> Tensor:
        """(B, D) to (B, O) in the precision of the settings; the result is float32."""
        with self._precision(x.device):
            z: Tensor = self.branch(x + noise["noise"] if "noise" in noise else x, noise)
        return z

    def gce(self, z: Tensor, prior: Tensor, y: Tensor, q: Tensor | float) -> Tensor:
        """GCE of softmax(s z W), its samples weighted by class where the settings ask for it."""
        weights = None if self.class_weight is None else y @ self.class_weight
        return generalized_cross_entropy((self.settings.logit_scale or 1.0) * (z @ prior), y, q, weights)

    def _precision(self, device: torch.device) -> AbstractContextManager[object]:
        if self.settings.precision == "bf16":
            return torch.autocast(device.type, torch.bfloat16)
        return nullcontext()


class SplObjective(_BranchObjective):
    """Stage 1: GCE on softmax(s f(x) W), f and W together; the paper's s is 1.

    Args:
        data: one modality.
        settings: resolved for it.
    """

    def __init__(self, data: BranchData, settings: DrclSettings) -> None:
        super().__init__(data, settings)
        self.prior = nn.Parameter(orthogonal_columns(self.branch.output.out_features, data.classes))

    def forward(self, x: Tensor, y: Tensor, noise: Noise, q: Tensor) -> dict[str, Tensor]:
        """GCE of a batch."""
        return {"loss": self.gce(self.embed(x, noise), self.prior, y, q)}


class RscObjective(_BranchObjective):
    """Stage 2: alpha (intra + inter) + beta mse + eta GCE against a frozen prior.

    Args:
        data: one modality.
        prior: (O, C) W.
        settings: resolved for the modality.
    """

    prior: Tensor
    mixing: Tensor
    frame: Tensor

    def __init__(self, data: BranchData, prior: Tensor, settings: DrclSettings) -> None:
        super().__init__(data, settings)
        self.register_buffer("prior", prior)
        mixing, frame = factored(recast_matrix(prior))
        self.register_buffer("mixing", mixing)
        self.register_buffer("frame", frame)

    def draw(self, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Dropout masks, noise, and the permutation of feature augmentation."""
        found = super().draw(rows, generator)
        if self.settings.gamma < 1:
            found["partner"] = torch.randperm(rows, generator=generator, device=generator.device)
        return found

    def forward(self, x: Tensor, y: Tensor, noise: Noise, q: Tensor) -> dict[str, Tensor]:
        """The augmented batch's loss and its parts."""
        z = self.embed(x, noise)
        if "partner" in noise:
            z, y = mix(z, y, noise["partner"], self.settings.gamma)
        return self.parts(z, y, q)

    def parts(self, z: Tensor, y: Tensor, q: Tensor | float) -> dict[str, Tensor]:
        """Loss and parts of embeddings (B, O) with targets (B, C)."""
        s = self.settings
        parts = {"gce": self.gce(z, self.prior, y, q)}
        loss = s.eta * parts["gce"]
        if s.alpha or s.beta:
            intra, inter, mse = reversible_consistency(y, z, self.mixing, self.frame)
            parts |= {"intra": intra, "inter": inter, "mse": mse}
            loss = loss + s.alpha * (intra + inter) + s.beta * mse
        return {"loss": loss, **parts}


class SplStage:
    """Stage 1, selective prior learning.

    Args:
        data: one modality.
        settings: resolved for this modality.
    """

    def __init__(self, data: BranchData, settings: DrclSettings) -> None:
        self.settings = settings
        self.train = data.train
        self.objective = SplObjective(data, settings).to(data.train.device)
        self.schedule = _schedule(settings, settings.spl_epochs, settings.spl_lr)
        self.scored = data.train if settings.score_on == "train" else data.val

    def decays(self, name: str) -> bool:
        """The branch, not the prior."""
        return name.startswith("branch.")

    def q(self, epoch: int) -> float:
        """GCE's q."""
        return schedule_q(self.settings, epoch, self.schedule.epochs)

    def validate(self, epoch: int) -> dict[str, Tensor]:
        """The quality score of the candidate as it stands."""
        most = None if self.settings.size == "paper" else SCORE_ROWS
        w, scale = self.objective.prior.detach(), self.settings.logit_scale or 1.0
        quality = quality_score(self.objective.branch, w, self.scored, scale=scale, most=most)
        if self.settings.spl_keep == "last":
            # As in the reference: no earlier epoch can win, and yet the score is that of the W that is kept.
            return {"score": quality + epoch, "quality": quality}
        return {"score": quality}

    def keep(self) -> dict[str, Tensor]:
        """The candidate prior W (O, C)."""
        return {"W": self.objective.prior.detach()}


class RscStage:
    """Stage 2, reversible semantic consistency: a branch is trained against a frozen prior.

    Args:
        data: one modality.
        prior: (O, C) W.
        settings: resolved for this modality.
    """

    def __init__(self, data: BranchData, prior: Tensor, settings: DrclSettings) -> None:
        self.settings, self.val = settings, data.val
        self.train = data.train
        self.objective = RscObjective(data, prior, settings).to(data.train.device)
        lr = settings.modality_lr.get(data.modality, settings.lr or 0.0)
        self.schedule = _schedule(settings, settings.epochs, lr)

    def decays(self, name: str) -> bool:  # noqa: ARG002
        """Everything that is trained."""
        return True

    def q(self, epoch: int) -> float:
        """GCE's q."""
        return schedule_q(self.settings, epoch, self.schedule.epochs)

    @torch.no_grad()
    def validate(self, epoch: int) -> dict[str, Tensor]:
        """Validation loss without augmentation, and the score that selects the epoch.

        The loss is taken at one q for all epochs: under a q that moves, a falling loss says nothing about the branch.
        Where the last epoch is kept, validation rows are looked at for the log alone.
        """
        if not len(self.val):
            return {"score": torch.full((), float(epoch), device=self.val.device)}
        q = SELECTION_Q if self.settings.gce else 0.0
        parts: dict[str, Tensor] = {}
        # In pieces of equal size as in training: the structure losses are B x B.
        for x, y in self.val.pieces():
            for name, value in self.objective.parts(self.objective.branch(x), y, q).items():
                parts[name] = parts.get(name, 0) + value * (len(x) / len(self.val))
        last = torch.full_like(parts["loss"], epoch)
        return {**parts, "score": -parts["loss"] if self.settings.select == "loss" else last}

    def keep(self) -> dict[str, Tensor]:
        """The branch's parameters."""
        return self.objective.branch.state_dict()
