"""DRCL: Deep Reversible Consistency Learning. TMM 2025, arXiv 2501.05686.

Stage 1 (SPL) learns, for every modality on its own, a prior W (O x C) and scores it; the best becomes the prior of all.
Stage 2 (RSC) trains every modality's branch against the frozen prior: labels y are recast to the modality-invariant
representation r = y pinv(W), and the branch follows r and the structure among recast labels. No branch sees another
modality.
"""

from typing import Any

import torch
from torch import Tensor, nn, optim

from xfeat.heads import Branch
from xfeat.losses import class_log_probability, generalized_cross_entropy, mix, structure_consistency
from xfeat.methods.base import BranchData, Rows
from xfeat.methods.drcl_settings import DrclSettings

BETAS = (0.5, 0.999)  # of Adam, in both stages
VALIDATIONS = 50  # looks at the rows that choose the epoch, at most, at size=small; the paper looks after every epoch
SELECTION_Q = 0.5  # of the validation loss: midway between cross entropy and mean absolute error
EMBED_ROWS = 8192  # rows per forward pass without gradients, so that memory stays bounded


def orthogonal_columns(rows: int, columns: int) -> Tensor:
    """The first columns of a random orthogonal rows x rows matrix (Haar), from torch's default generator.

    Args:
        rows: O.
        columns: C <= O.

    Returns:
        (O, C) float32 with orthonormal columns.

    Raises:
        ValueError: C > O.
    """
    if columns > rows:
        raise ValueError(f"{columns} classes need a shared space of at least as many dimensions, got {rows}")
    q, r = torch.linalg.qr(torch.randn(rows, columns, dtype=torch.float64))
    # QR's signs are not random; this makes the columns uniform over all orthonormal frames.
    frame: Tensor = q * r.diagonal().sign()
    return frame.float().contiguous()


def schedule_q(settings: DrclSettings, epoch: int, epochs: int) -> float:
    """GCE's q in an epoch (counted from 0) of a stage: grows linearly from 0 to 1; 0 throughout where GCE is off."""
    return min(1.0, epoch / settings.q_ramp(epochs)) if settings.gce else 0.0


def recast_matrix(prior: Tensor) -> Tensor:
    """P = pinv(W): a label row y is recast to the modality-invariant representation r = y P.

    Args:
        prior: (O, C) W.

    Returns:
        (C, O) of W's dtype, computed in float64.
    """
    inverse: Tensor = torch.linalg.pinv(prior.double())
    return inverse.to(prior.dtype)


def make_branch(dim: int, settings: DrclSettings) -> Branch:
    """A branch D -> O of resolved settings, drawn from torch's default generator."""
    if settings.hidden is None or settings.out is None or settings.dropout is None:
        raise ValueError("settings are not resolved")
    return Branch(dim, settings.hidden, settings.out, dropout=settings.dropout, input_dropout=settings.input_dropout)


@torch.no_grad()
def embed(branch: Branch, features: Tensor) -> Tensor:
    """Embeddings of (n, D) features: (n, O), rows of unit length; in evaluation mode, in pieces."""
    mode = branch.training
    branch.eval()
    pieces = [branch(piece) for piece in features.split(EMBED_ROWS)]
    branch.train(mode)
    return torch.cat(pieces)


def quality_score(branch: Branch, prior: Tensor, rows: Rows) -> Tensor:
    """Mean softmax probability of the true label under ``f(x) W``, in [0, 1]: how good a candidate prior W is."""
    total = torch.zeros((), device=prior.device)
    for x, y in zip(rows.features.split(EMBED_ROWS), rows.targets.split(EMBED_ROWS), strict=True):
        total = total + class_log_probability(embed(branch, x) @ prior, y).exp().sum()
    return total / len(rows)


def _adam(groups: list[dict[str, Any]], lr: float) -> optim.Optimizer:
    # With no weight decay AdamW is Adam, and it is Adam that the paper uses.
    return optim.AdamW(groups, lr=lr, betas=BETAS, weight_decay=0.0, fused=True)


def _validate_every(settings: DrclSettings, epochs: int) -> int:
    return 1 if settings.size == "paper" else max(1, epochs // VALIDATIONS)


class SplModule(nn.Module):
    """A branch and the candidate prior that is learned with it.

    Args:
        branch: D -> O.
        prior: (O, C) start of W.
    """

    def __init__(self, branch: Branch, prior: Tensor) -> None:
        super().__init__()
        self.branch = branch
        self.prior = nn.Parameter(prior)


class SplStage:
    """Stage 1, selective prior learning: GCE on softmax(f(x) W), f and W trained together.

    Args:
        data: one modality.
        settings: resolved for this modality.
    """

    def __init__(self, data: BranchData, settings: DrclSettings) -> None:
        self.data, self.settings = data, settings
        device = data.train.features.device
        branch = make_branch(data.dim, settings)
        start = orthogonal_columns(branch.output.out_features, data.classes)
        self.module = SplModule(branch, start).to(device)
        self.optimizer = _adam(
            [
                {"params": list(self.module.branch.parameters()), "weight_decay": settings.weight_decay},
                {"params": [self.module.prior]},
            ],
            settings.spl_lr or 0.0,
        )
        self.rows = len(data.train)
        self.batch_size = settings.batch_size or self.rows
        self.epochs = settings.spl_epochs or 1
        self.validate_every = _validate_every(settings, self.epochs)
        self.lr_schedule = settings.lr_schedule or "constant"

    def loss(self, batch: Tensor, epoch: int) -> dict[str, Tensor]:
        """GCE of the batch."""
        train = self.data.train
        logits = self.module.branch(train.features[batch]) @ self.module.prior
        q = schedule_q(self.settings, epoch, self.epochs)
        return {"loss": generalized_cross_entropy(logits, train.targets[batch], q)}

    def validate(self, epoch: int) -> dict[str, Tensor]:  # noqa: ARG002
        """The quality score of the candidate as it stands."""
        rows = self.data.train if self.settings.score_on == "train" else self.data.val
        with torch.no_grad():
            return {"score": quality_score(self.module.branch, self.module.prior, rows)}

    def keep(self) -> dict[str, Tensor]:
        """The candidate prior W (O, C)."""
        return {"W": self.module.prior.detach()}


class RscStage:
    """Stage 2, reversible semantic consistency: a branch is trained against a frozen prior.

    Args:
        data: one modality.
        prior: (O, C) W.
        settings: resolved for this modality.
    """

    def __init__(self, data: BranchData, prior: Tensor, settings: DrclSettings) -> None:
        self.data, self.settings = data, settings
        device = data.train.features.device
        self.prior = prior.to(device)
        self.recast = recast_matrix(prior).to(device)
        self.module = make_branch(data.dim, settings).to(device)
        lr = settings.modality_lr.get(data.modality, settings.lr or 0.0)
        self.optimizer = _adam([{"params": list(self.module.parameters()), "weight_decay": settings.weight_decay}], lr)
        self.rows = len(data.train)
        self.batch_size = settings.batch_size or self.rows
        self.epochs = settings.epochs or 1
        self.validate_every = _validate_every(settings, self.epochs)
        self.lr_schedule = settings.lr_schedule or "constant"

    def loss(self, batch: Tensor, epoch: int) -> dict[str, Tensor]:
        """The augmented batch's loss and its parts."""
        train = self.data.train
        z, y = self.module(train.features[batch]), train.targets[batch]
        if self.settings.gamma < 1:
            z, y = mix(z, y, torch.randperm(len(z), device=z.device), self.settings.gamma)
        return self._parts(z, y, schedule_q(self.settings, epoch, self.epochs))

    def validate(self, epoch: int) -> dict[str, Tensor]:
        """Validation loss without augmentation, and the score that selects the epoch.

        The loss is taken at one q for all epochs: under a q that moves, a falling loss says nothing about the branch.
        """
        val = self.data.val
        z = embed(self.module, val.features)
        q = SELECTION_Q if self.settings.gce else 0.0
        # In batches as in training: the structure losses are B x B.
        batches = torch.arange(len(val), device=z.device).tensor_split(-(-len(val) // self.batch_size))
        parts: dict[str, Tensor] = {}
        for batch in batches:
            for name, value in self._parts(z[batch], val.targets[batch], q).items():
                parts[name] = parts.get(name, 0) + value * (len(batch) / len(val))
        last = torch.full_like(parts["loss"], epoch)
        return {**parts, "score": -parts["loss"] if self.settings.select == "loss" else last}

    def keep(self) -> dict[str, Tensor]:
        """The branch's parameters."""
        return self.module.state_dict()

    def _parts(self, z: Tensor, y: Tensor, q: float) -> dict[str, Tensor]:
        s = self.settings
        r = y @ self.recast
        intra, inter = structure_consistency(r, z)
        mse = (r - z).square().mean()
        gce = generalized_cross_entropy(z @ self.prior, y, q)
        return {
            "loss": s.alpha * (intra + inter) + s.beta * mse + s.eta * gce,
            "intra": intra,
            "inter": inter,
            "mse": mse,
            "gce": gce,
        }
