"""CIIM: Causality-Invariant Interactive Mining. TPAMI 2024, doi 10.1109/TPAMI.2024.3379752.

Stated by the abstract, all that is public: single- and hybrid-modality proxies with metric losses between samples and
between samples and proxies; a causal intervention that removes modality bias and reconstructs an invariant embedding,
which is made to satisfy the properties of a causal mechanism. Every formula here is chosen (docs/methods/ciim.md says
from where); none is to be taken for the paper's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from xfeat.heads.bias_bank import BiasBank
from xfeat.heads.causal import CausalHead, Split, adjusted
from xfeat.heads.perceptron import Perceptron
from xfeat.losses import (
    cross_correlation,
    invariance,
    mine_pairs,
    multi_similarity,
    proxy_anchor,
    proxy_interaction,
    reverse_gradient,
    separation,
    split_pairs,
    sufficiency,
)
from xfeat.methods.ciim_settings import CiimSettings

EMBED_ROWS = 2048  # at a time


@dataclass(frozen=True)
class Labelled:
    """Some rows of one modality.

    Attributes:
        values: (n, D) float32 scaled features.
        labels: (n,) int64 classes.
    """

    values: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Outputs:
    """What the network makes of a batch, rows of all modalities below each other.

    Attributes:
        embedding: (N, d) unit rows that the metric losses are on.
        labels: (N,) int64.
        modality: (N,) int64 places.
        counts: rows of each modality.
        parts: causal part and bias; None without the intervention.
        interventions: (K, N, d) unit rows e(m'), of the modalities drawn for this step; None without the intervention.
        means: (d,) of each modality's refined rows; empty without the intervention.
    """

    embedding: Tensor
    labels: Tensor
    modality: Tensor
    counts: Sequence[int]
    parts: Split | None = None
    interventions: Tensor | None = None
    means: Sequence[Tensor] = ()


class CiimNetwork(nn.Module):
    """Branches and proxies of some modalities, and the head and hybrid proxies that they share.

    Args:
        dims: D by modality.
        rows: training rows by modality.
        classes: C.
        settings: resolved.
        known: (M, C) bool, classes that each modality has training rows of.
        bank: modalities whose bias the head knows; those of ``dims`` unless given.

    Beside the head's bank of biases there is one of refined rows, ``centres``, a modality's own.

    Buffers:
        known: as given.
        anchored: (C,) bool, classes with a hybrid proxy to meet: those of any modality, also of one not here.
    """

    known: Tensor
    anchored: Tensor

    def __init__(
        self,
        dims: Mapping[str, int],
        rows: Mapping[str, int],
        classes: int,
        settings: CiimSettings,
        known: Tensor,
        bank: int | None = None,
    ) -> None:
        super().__init__()
        s = self.settings = settings
        # In order of names: what a branch starts from does not depend on the order of the caches.
        made = {name: make_branch(dims[name], s, skip=s.skips(rows[name], dims[name])) for name in sorted(dims)}
        self.names = list(dims)
        self.branches = nn.ModuleList(made[name] for name in self.names)
        self.head = CausalHead(s.out, s.reconstructor, bank or len(dims), intervention=s.intervention)
        self.single = nn.Parameter(normalize(torch.randn(len(dims), classes, s.out), dim=2))
        self.hybrid = nn.Parameter(normalize(torch.randn(classes, s.out), dim=1))
        self.tells_causal, self.tells_bias = nn.Linear(s.out, len(dims)), nn.Linear(s.out, len(dims))
        self.centres = BiasBank(len(dims), s.out)
        self.register_buffer("known", known)
        self.register_buffer("anchored", known.any(0))

    def forward(self, batch: Sequence[Labelled], noise: Mapping[str, Tensor]) -> Outputs:
        """Embed a batch: rows of every modality, in the order of ``names``, which may be none.

        Args:
            batch: by modality.
            noise: ``drop/<name>`` and ``features/<name>`` for the branches, ``bias/<name>`` (K, n, d)
                and ``chosen`` (K,) int64 for the interventions; more rows than the batch has are not looked at.
        """
        z = [self._branch(place, one.values, noise) for place, one in enumerate(batch)]
        labels = torch.cat([one.labels for one in batch])
        counts = [len(one.labels) for one in batch]
        modality = torch.cat([torch.full_like(one.labels, place) for place, one in enumerate(batch)])
        refined = [self.head.refine(rows) for rows in z]
        if not self.settings.intervention:
            return Outputs(self.head.reconstruct(torch.cat(refined)), labels, modality, counts)
        # Of the batch, as in batch normalisation: the running mean would lag behind what moves.
        means = [rows.mean(0) if len(rows) else rows.new_zeros(rows.shape[1]) for rows in refined]
        split = [self.head.split(rows, mean) for rows, mean in zip(refined, means, strict=True)]
        parts = Split(torch.cat([one.causal for one in split]), torch.cat([one.bias for one in split]))
        drawn = [noise[f"bias/{name}"][:, :n] for name, n in zip(self.names, counts, strict=True)]
        e = self.head.intervene(parts.causal, self.head.bank.draw(noise["chosen"], torch.cat(drawn, dim=1)))
        return Outputs(adjusted(e), labels, modality, counts, parts, e, means)

    def _branch(self, place: int, values: Tensor, noise: Mapping[str, Tensor]) -> Tensor:
        name, rows = self.names[place], len(values)
        if (shift := noise.get(f"features/{name}")) is not None:
            values = values + shift[:rows]
        mask = noise.get(f"drop/{name}")
        embedded: Tensor = self.branches[place](values, None if mask is None else mask[:rows])
        return embedded


def make_branch(dim: int, settings: CiimSettings, *, skip: bool) -> Perceptron:
    """The network of one modality."""
    return Perceptron(dim, settings.hidden, settings.out, dropout=settings.dropout, skip=skip)


def loss_parts(network: CiimNetwork, out: Outputs, reversal: Tensor) -> dict[str, Tensor]:
    """Every term that is switched on, by the name of its setting.

    Args:
        network: with proxies and classifiers.
        out: of a batch.
        reversal: () weight of the reversed gradient, in [0, 1].
    """
    s = network.settings
    parts = sample_wise(network, out)
    if out.interventions is None or out.parts is None:
        return parts
    if s.invariance:
        parts["invariance"] = invariance(out.interventions)
    if s.separation and len(network.names) > 1:
        told = separation(
            network.tells_causal(reverse_gradient(out.parts.causal, reversal)),
            network.tells_bias(out.parts.bias),
            out.modality,
        )
        parts["separation"] = told.causal + told.bias
    if s.independence and len(out.interventions) > 1:
        parts["independence"] = cross_correlation(out.interventions[0], out.interventions[1])
    if s.sufficiency:
        parts["sufficiency"] = sufficiency(out.parts.causal, out.embedding, network.hybrid)
    return parts


def sample_wise(network: CiimNetwork, out: Outputs) -> dict[str, Tensor]:
    """The metric losses of embeddings with proxies and with each other."""
    s, parts = network.settings, {}
    if s.single:
        rows = zip(out.embedding.split(list(out.counts)), out.labels.split(list(out.counts)), strict=True)
        each = [
            proxy_anchor(e, labels, proxies, scale=s.scale, margin=s.margin, known=known)
            for (e, labels), proxies, known in zip(rows, network.single, network.known, strict=True)
        ]
        parts["single"] = torch.stack(each).mean()
    if s.hybrid:
        parts["hybrid"] = proxy_anchor(
            out.embedding, out.labels, network.hybrid, scale=s.scale, margin=s.margin, known=network.anchored
        )
    if s.hybrid and s.single and s.interaction:
        known = network.known & network.anchored  # a class may be new with a modality that joins
        parts["interaction"] = proxy_interaction(network.hybrid, network.single, known)
    if s.pairs:
        parts["pairs"] = pair_loss(out, s)
    return parts


def pair_loss(out: Outputs, settings: CiimSettings) -> Tensor:
    """Multi-similarity of mined pairs across modalities, and of those within one at a lower weight."""
    similarity, candidates = out.embedding @ out.embedding.T, split_pairs(out.labels, out.modality)
    cross = _mined(similarity, candidates.cross_positive, candidates.cross_negative, settings)
    if not settings.within:
        return cross
    within = _mined(similarity, candidates.within_positive, candidates.within_negative, settings)
    return cross + settings.within * within


def _mined(similarity: Tensor, positive: Tensor, negative: Tensor, s: CiimSettings) -> Tensor:
    with torch.no_grad():
        kept = mine_pairs(similarity, positive, negative, s.epsilon)
    return multi_similarity(similarity, *kept, alpha=s.alpha, beta=s.beta, base=s.base)


def weighted(parts: Mapping[str, Tensor], settings: CiimSettings) -> Tensor:
    """The sum of the parts, each by its weight."""
    return torch.stack([getattr(settings, name) * value for name, value in parts.items()]).sum()
