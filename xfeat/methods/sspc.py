"""The network and the loss of SSPC for any number of modalities.

Swetha, Rizve, Shvetsova, Kuehne and Shah, "Preserving Modality Structure Improves Multi-Modal Learning", ICCV 2023
(arXiv 2308.13077).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from xfeat.heads import GatedBranch, GatedOutput
from xfeat.losses import assignment_cost, info_nce, multi_assignment, single_assignment
from xfeat.methods.sspc_queue import Queue
from xfeat.methods.sspc_settings import SspcSettings


class Features(NamedTuple):
    """One modality of a batch of instances.

    Attributes:
        values: (B, D) pooled vectors, or (B, T, D) tokens; any finite values where the modality is missing.
        mask: (B, T) bool, which tokens are there; None for pooled vectors.
        present: (B,) bool, which instances have the modality; None where all do.
    """

    values: Tensor
    mask: Tensor | None = None
    present: Tensor | None = None


class ModalityHead(nn.Module):
    """What is trained for one modality: its branch, and the anchors of its input and of its joint space.

    Args:
        dim: D, width of its cached features (of its tokens, where those are used).
        settings: resolved.

    Anchors are rows, K of each space; they count by their direction alone.
    """

    def __init__(self, dim: int, settings: SspcSettings) -> None:
        super().__init__()
        self.branch = GatedBranch(
            dim,
            settings.input_dim or 1,
            settings.joint_dim or 1,
            depth=settings.depth,
            heads=settings.heads,
            dropout=settings.dropout or 0.0,
            raw_input=settings.input_anchors == "raw",
        )
        self.input_anchors = nn.Parameter(_unit(torch.randn(settings.anchors, self.branch.input_width)))
        self.joint_anchors = nn.Parameter(_unit(torch.randn(settings.anchors, settings.joint_dim or 1)))

    def anchors(self) -> tuple[Tensor, Tensor]:
        """Unit rows of the input space (K, I) and of the joint space (K, O)."""
        return _unit(self.input_anchors), _unit(self.joint_anchors)


@dataclass(frozen=True)
class Queues:
    """Earlier embeddings of every modality, by space."""

    input: Sequence[Queue]
    joint: Sequence[Queue]


def contrastive(
    out: Sequence[GatedOutput],
    batch: Sequence[Features],
    keys: Tensor,
    names: Sequence[str],
    settings: SspcSettings,
) -> Tensor:
    """Symmetric InfoNCE summed over the pairs of modalities, each with its weight.

    Args:
        out: embeddings by modality.
        batch: the same modalities' features, for who is there.
        keys: (B,) int64; rows of one key are one instance, and no negatives of each other.
        names: of the modalities.
        settings: resolved.
    """
    total = out[0].joint.new_zeros(())
    for m, a in combinations(range(len(out)), 2):
        weight = settings.pair_weight(names[m], names[a])
        both = _both(batch[m].present, batch[a].present)
        total = total + weight * info_nce(
            out[m].joint, out[a].joint, settings.temperature or 1.0, keys=keys, present=both
        )
    return total


def consistency(
    heads: Sequence[ModalityHead],
    out: Sequence[GatedOutput],
    batch: Sequence[Features],
    queues: Queues,
    names: Sequence[str],
    settings: SspcSettings,
) -> Tensor:
    """Anchor consistency summed over the ordered pairs (m, a), from either space to the other.

    cost(s_a, SK(t_{m,a})) + cost(t_{m,a}, SK(s_a)). A pair counts once the queues that it needs are full.

    Args:
        heads: by modality.
        out: their embeddings of the batch.
        batch: who is there.
        queues: earlier embeddings that assignments are made among.
        names: of the modalities.
        settings: resolved.
    """
    total = out[0].joint.new_zeros(())
    ready = [queue.full for queue in queues.input], [queue.full for queue in queues.joint]
    anchors = [head.anchors() for head in heads]
    s = [one.input @ inputs.T for one, (inputs, _) in zip(out, anchors, strict=True)]
    targets: dict[int, Tensor] = {}
    for m, a in permutations(range(len(out)), 2):
        weight = settings.pair_weight(names[m], names[a])
        if not (weight and ready[0][a] and ready[1][m]):
            continue
        if a not in targets:
            targets[a] = assign(s[a], _earlier(queues.input[a], anchors[a][0]), batch[a].present, settings)
        t = out[m].joint @ anchors[a][1].T
        from_joint = assign(t, _earlier(queues.joint[m], anchors[a][1]), batch[m].present, settings)
        both = _both(batch[m].present, batch[a].present)
        total = total + weight * (
            assignment_cost(s[a], from_joint, settings.cost_temperature, present=both)
            + assignment_cost(t, targets[a], settings.cost_temperature, present=both)
        )
    return total


@torch.no_grad()
def assign(logits: Tensor, earlier: Tensor, present: Tensor | None, settings: SspcSettings) -> Tensor:
    """Soft targets (B, K) in [0, 1] of a batch, assigned together with earlier samples.

    Args:
        logits: (B, K) cosines of the batch.
        earlier: (n, K) cosines of the queue.
        present: (B,) bool; rows that are not there take no part, and their targets are 0.
        settings: resolved.
    """
    there = logits if present is None else logits[present]
    if not len(there):
        return torch.zeros_like(logits)
    together = torch.cat([there, earlier])
    if settings.assignment == "single":
        found = single_assignment(together, eps=settings.eps or 1.0, iterations=settings.iterations)
    else:
        found = multi_assignment(
            together,
            settings.required or 1,
            eps=settings.eps or 1.0,
            iterations=settings.iterations,
            weights=settings.slices,
        )
    found = found[: len(there)]
    if present is None:
        return found
    return torch.zeros_like(logits).masked_scatter_(present.unsqueeze(1), found)


@torch.no_grad()
def _earlier(queue: Queue, anchors: Tensor) -> Tensor:
    """Cosines (n, K) of a queue's samples with unit anchors, which have moved since the samples came."""
    return queue.filled() @ anchors.T


def embed_joint(head: ModalityHead, features: Features) -> Tensor:
    """Joint embeddings (B, O) of a batch, unit rows."""
    found: GatedOutput = head.branch(features.values, features.mask)
    return found.joint


def _both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _unit(rows: Tensor) -> Tensor:
    return normalize(rows, dim=1)
