"""Which samples each anchor holds, in numbers: usage, dead and duplicate anchors, agreement of two assignments.

Anchors are counted from 0. A sample *holds* the `required` anchors of its largest soft membership; its `required`
nearest anchors are those of the largest cosine, and an anchor that is among nobody's is *dead*.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DUPLICATE = 0.99  # cosine above which two anchors are one
TOP_CLASSES = 3
MOST_PAIRED = 2048  # instances that a chance level is measured among

Floats = NDArray[Any]
Shares = tuple[tuple[str, float], ...]
"""Classes and their shares of some samples, the largest first."""


@dataclass(frozen=True)
class Example:
    """A sample of an anchor: its id, the cosine to the anchor, the names of its classes."""

    id: str
    cosine: float
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Anchor:
    """One anchor.

    Attributes:
        number: its row, from 0.
        usage: share in [0, 1] of the samples that it is the nearest of.
        membership: mean over the samples of the soft membership, each in [0, 1].
        held: samples that hold it.
        near: samples that have it among their `required` nearest; 0 is dead.
        nearest_classes: of the labelled samples that it is the nearest of.
        held_classes: of the labelled samples that hold it.
        examples: samples of the largest cosine, the largest first.
    """

    number: int
    usage: float
    membership: float
    held: int
    near: int
    nearest_classes: Shares
    held_classes: Shares
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Agreement:
    """How alike two modalities' assignments of one instance are.

    Attributes:
        jaccard: mean Jaccard index of the two sets of held anchors.
        chance: the same of different instances; None where there is one instance.
        instances: how many.
    """

    jaccard: float
    chance: float | None
    instances: int


@dataclass(frozen=True)
class Names:
    """What the n samples are called: ids, and labels as a cache keeps them, -1 or a row of zeros for none."""

    ids: Sequence[str]
    labels: NDArray[Any] | None = None
    classes: Sequence[str] = ()

    def hot(self) -> NDArray[np.bool_]:
        """(n, C) which classes each sample has."""
        if self.labels is None:
            return np.zeros((len(self.ids), 0), dtype=bool)
        if self.labels.ndim == 2:
            return self.labels.astype(bool)
        return np.asarray(self.labels[:, None] == np.arange(len(self.classes)))


def measure_anchors(
    cosines: Floats, targets: Floats, required: int, names: Names, *, examples: int = 8
) -> tuple[Anchor, ...]:
    """What each anchor holds.

    Args:
        cosines: (n, K) of samples and anchors, n >= 1.
        targets: (n, K) soft memberships in [0, 1].
        required: in 1..K.
        names: of the samples.
        examples: at most so many of each anchor.

    Returns:
        K anchors in their order.
    """
    near = top_sets(cosines, cosines, required)
    held = top_sets(targets, cosines, required)
    nearest = top_sets(cosines, cosines, 1)
    hot = names.hot()
    found = []
    for number in range(cosines.shape[1]):
        column = cosines[:, number]
        best = np.argsort(-column, kind="stable")[:examples]
        found.append(
            Anchor(
                number,
                float(nearest[:, number].mean()),
                float(targets[:, number].mean(dtype=np.float64)),
                int(held[:, number].sum()),
                int(near[:, number].sum()),
                _shares(hot[nearest[:, number]], names.classes),
                _shares(hot[held[:, number]], names.classes),
                tuple(
                    Example(names.ids[row], float(column[row]), _named(hot[row], names.classes))
                    for row in best.tolist()
                ),
            )
        )
    return tuple(found)


def top_sets(values: Floats, ties: Floats, required: int) -> NDArray[np.bool_]:
    """(n, K) bool, the `required` greatest of each row; equal ones in the order of ``ties``, then of their number."""
    by_tie = np.argsort(-ties, axis=1, kind="stable")
    by_value = np.argsort(-np.take_along_axis(values, by_tie, axis=1), axis=1, kind="stable")
    chosen = np.take_along_axis(by_tie, by_value[:, :required], axis=1)
    found = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(found, chosen, True, axis=1)
    return found


def entropy(usage: Sequence[float]) -> float:
    """Entropy in nats of shares that sum to 1; its exponential is the effective number of anchors (perplexity)."""
    return -sum(share * math.log(share) for share in usage if share > 0) + 0.0


def duplicates(anchors: Floats) -> list[tuple[int, int, float]]:
    """Pairs of anchors that are one, and their cosine: (first, second, cosine), first < second.

    Args:
        anchors: (K, d), rows of any length but 0.
    """
    unit = anchors / np.linalg.norm(anchors, axis=1, keepdims=True)
    cosines = np.clip(unit @ unit.T, -1, 1)
    rows, columns = np.nonzero(np.triu(cosines > DUPLICATE, 1))
    return [(int(i), int(j), float(cosines[i, j])) for i, j in zip(rows, columns, strict=True)]


def agreement(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> Agreement:
    """Mean Jaccard index of the sets of the same instances, and of different ones.

    Args:
        one: (n, K) the sets of n >= 1 instances, none empty.
        other: (n, K) the other modality's.

    Chance is over all pairs of different instances, of at most 2,048 of them, spread evenly.
    """
    count = len(one)
    same = (one & other).sum(1) / (one | other).sum(1)
    few = np.arange(0, count, -(-count // MOST_PAIRED))
    a, b = one[few].astype(np.float32), other[few].astype(np.float32)
    shared = a @ b.T
    pairs = shared / (a.sum(1)[:, None] + b.sum(1)[None, :] - shared)
    differ = len(few) * (len(few) - 1)
    chance = float((pairs.sum(dtype=np.float64) - np.trace(pairs, dtype=np.float64)) / differ) if differ else None
    return Agreement(float(same.mean()), chance, count)


def _shares(hot: NDArray[np.bool_], classes: Sequence[str]) -> Shares:
    labelled = int(hot.any(axis=1).sum()) if hot.size else 0
    if not labelled:
        return ()
    counts = hot.sum(axis=0)
    best = [int(place) for place in np.argsort(-counts, kind="stable")[:TOP_CLASSES] if counts[place]]
    return tuple((classes[place], float(counts[place] / labelled)) for place in best)


def _named(hot: NDArray[np.bool_], classes: Sequence[str]) -> tuple[str, ...]:
    return tuple(classes[place] for place in np.flatnonzero(hot).tolist())
