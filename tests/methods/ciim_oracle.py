"""CIIM written out: one row, one proxy, one pair at a time. Nothing of the package but the branches."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xfeat.methods.ciim import CiimNetwork, Labelled

ZERO = torch.zeros((), dtype=torch.float64)


@dataclass(frozen=True)
class Row:
    """A row of a batch, with everything that is made of it."""

    place: int
    label: int
    refined: Tensor
    causal: Tensor
    bias: Tensor
    under: list[Tensor]
    embedding: Tensor


def unit(x: Tensor) -> Tensor:
    return x / (x * x).sum().sqrt()


def mean(values: Sequence[Tensor]) -> Tensor:
    return sum(values, ZERO) / max(1, len(values))


def log1p_sum(exponents: Sequence[Tensor]) -> Tensor:
    return (1 + sum((x.exp() for x in exponents), ZERO)).log()


def literal_reconstruction(network: CiimNetwork, x: Tensor) -> Tensor:
    if network.head.reconstructor is None:
        return unit(x)
    first, _, last = network.head.reconstructor
    hidden = (first.weight @ x + first.bias).clamp(min=0)  # type: ignore[operator]
    return unit(x + last.weight @ hidden + last.bias)  # type: ignore[operator]


def literal_rows(network: CiimNetwork, batch: Sequence[Labelled], noise: Mapping[str, Tensor]) -> list[Row]:
    head, s, found = network.head, network.settings, []
    for place, (name, one) in enumerate(zip(network.names, batch, strict=True)):
        refined = []
        for i in range(len(one.labels)):
            x = one.values[i] + noise.get(f"features/{name}", torch.zeros(99, 1))[i]
            mask = noise[f"drop/{name}"][i : i + 1] if f"drop/{name}" in noise else None
            z = network.branches[place](x[None], mask)[0]
            refined.append(z + head.refinement.weight @ z + head.refinement.bias)
        centre = mean(refined)
        for i, r in enumerate(refined):
            gate = 1 / (1 + (-head.gate).exp())
            causal, bias = gate * (r - centre), (1 - gate) * r
            under = []
            for k, m in enumerate(noise["chosen"].tolist() if s.intervention else []):
                x = causal + head.bank.mean[m] + head.bank.std[m] * noise[f"bias/{name}"][k, i]
                under.append(literal_reconstruction(network, x))
            e = unit(sum(under, ZERO) / len(under)) if s.intervention else literal_reconstruction(network, r)
            found.append(Row(place, int(one.labels[i]), r, causal, bias, under, e))
    return found


def literal_anchor(rows: Sequence[Row], proxies: Tensor, known: Sequence[bool], scale: float, margin: float) -> Tensor:
    pulls, pushes = [], []
    for label, there in enumerate(known):
        if not there:
            continue
        p = unit(proxies[label])
        own = [row.embedding @ p for row in rows if row.label == label]
        others = [row.embedding @ p for row in rows if row.label != label]
        if own:
            pulls.append(log1p_sum([-scale * (cos - margin) for cos in own]))
        pushes.append(log1p_sum([scale * (cos + margin) for cos in others]))
    return mean(pulls) + mean(pushes)


def literal_pairs(rows: Sequence[Row], network: CiimNetwork, counts: Callable[[Row, Row], bool]) -> Tensor:
    s, terms = network.settings, []
    for i, one in enumerate(rows):
        cosines = [(other.label == one.label, one.embedding @ other.embedding)
                   for j, other in enumerate(rows) if i != j and counts(one, other)]  # fmt: skip
        positive = [cos for same, cos in cosines if same]
        negative = [cos for same, cos in cosines if not same]
        least = min((cos.item() for cos in positive), default=math.inf)
        greatest = max((cos.item() for cos in negative), default=-math.inf)
        positive = [cos for cos in positive if cos.item() < greatest + s.epsilon]
        negative = [cos for cos in negative if cos.item() > least - s.epsilon]
        terms.append(
            log1p_sum([-s.alpha * (cos - s.base) for cos in positive]) / s.alpha
            + log1p_sum([s.beta * (cos - s.base) for cos in negative]) / s.beta
        )
    return mean(terms)


def literal_classifier(rows: Sequence[Row], layer: torch.nn.Linear, inputs: Sequence[Tensor]) -> Tensor:
    """Cross-entropy, of every modality that occurs alike."""
    by_modality: dict[int, list[Tensor]] = {}
    for row, x in zip(rows, inputs, strict=True):
        logits = layer.weight @ x + layer.bias
        by_modality.setdefault(row.place, []).append(logits.exp().sum().log() - logits[row.place])
    return mean([mean(values) for values in by_modality.values()])


def literal_correlation(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    def columns(views: Sequence[Tensor]) -> list[Tensor]:
        found = []
        for j in range(len(views[0])):
            column = torch.stack([view[j] for view in views])
            centred = column - column.mean()
            found.append(centred / (centred * centred).mean().sqrt())
        return found

    total = ZERO
    for i, one in enumerate(columns(a)):
        for j, other in enumerate(columns(b)):
            c = (one * other).mean()
            total = total + ((1 - c) ** 2 if i == j else 0.005 * c**2)
    return total


def literal_sufficiency(rows: Sequence[Row], network: CiimNetwork) -> Tensor:
    proxies, terms = [unit(p) for p in network.hybrid.detach()], []
    for row in rows:
        target, found = (
            torch.stack([16 * unit(x) @ p for p in proxies]).softmax(0) for x in (row.embedding.detach(), row.causal)
        )
        terms.append((target * (target.log() - found.log())).sum())
    return mean(terms)


def literal_parts(
    network: CiimNetwork, batch: Sequence[Labelled], noise: Mapping[str, Tensor], q: float
) -> dict[str, Tensor]:
    """Every part, whether it has a weight or not."""
    s, rows = network.settings, literal_rows(network, batch, noise)
    modalities, known = range(len(network.names)), network.known.tolist()
    anywhere = network.anchored.tolist()
    parts = {
        "single": mean(
            [
                literal_anchor([r for r in rows if r.place == m], network.single[m], known[m], s.scale, s.margin)
                for m in modalities
            ]
        ),
        "hybrid": literal_anchor(rows, network.hybrid, anywhere, s.scale, s.margin),
        "interaction": mean(
            [
                1 - unit(network.hybrid[c]) @ unit(network.single[m, c])
                for m in modalities
                for c in range(len(anywhere))
                if known[m][c] and anywhere[c]
            ]
        ),
        "pairs": literal_pairs(rows, network, lambda a, b: a.place != b.place)
        + s.within * literal_pairs(rows, network, lambda a, b: a.place == b.place),
    }
    if not s.intervention:
        return parts
    views = range(len(rows[0].under))
    parts["invariance"] = mean([1 - r.under[k] @ r.under[m] for r in rows for k in views for m in views if k < m])
    # The same value, and -q times the gradient.
    reversed_ = [(1 + q) * row.causal.detach() - q * row.causal for row in rows]
    parts["separation"] = literal_classifier(rows, network.tells_causal, reversed_)
    parts["separation"] = parts["separation"] + literal_classifier(rows, network.tells_bias, [r.bias for r in rows])
    parts["independence"] = literal_correlation(*([row.under[k] for row in rows] for k in (0, 1)))
    parts["sufficiency"] = literal_sufficiency(rows, network)
    return parts
