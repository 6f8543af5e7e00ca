"""The measures of the gap between two modalities, on unit rows that are balanced by class."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.evaluation.similarity import Scores

_BLOCK = 512  # rows whose neighbours are looked for at a time
_FLAT = 1e-9  # rows that spread less than this are one point


@dataclass(frozen=True, eq=False)
class Balance:
    """The rows of two modalities that are of classes both have, the first modality's before the second's.

    Attributes:
        kept: (N,) places of the rows among those that were given.
        second: (N,) bool, whether a row is the second modality's.
        member: (N, S) float64, parts of the row in the shared classes, of sum 1.
        counts: (2, S) float64, rows of each class by modality.
        weight: (N,) float64; sums to 1 in each modality, of which every class has the same share.
    """

    kept: Tensor
    second: Tensor
    member: Tensor
    counts: Tensor
    weight: Tensor

    @classmethod
    def of(cls, one: Tensor, other: Tensor) -> "Balance | None":
        """Balance two modalities, or None where they share no class.

        Args:
            one: (n, C) float64 parts of the rows in the classes, of sum 1.
            other: (m, C) of the other modality.
        """
        member, second = torch.cat([one, other]), torch.arange(len(one) + len(other)) >= len(one)
        member = member[:, (one > 0).any(0) & (other > 0).any(0)]
        kept = (member > 0).any(1).nonzero().flatten()
        if not len(kept):
            return None
        member, second = member[kept], second[kept]
        member = member / member.sum(1, keepdim=True)
        counts = torch.stack([member[~second].sum(0), member[second].sum(0)])
        weight = (member / counts[second.long()]).sum(1) / member.shape[1]
        return cls(kept, second, member, counts, weight)

    @property
    def rows(self) -> tuple[int, int]:
        """How many there are of each modality."""
        second = int(self.second.sum())
        return len(self.second) - second, second

    @property
    def classes(self) -> int:
        """How many both have."""
        return self.member.shape[1]


def centroids(x: Tensor, sides: Balance) -> tuple[float, float]:
    """Distance of the two mean vectors; and over the mean of the two root mean square distances of rows from theirs.

    Args:
        x: (N, d) float64 unit rows.
        sides: which are whose.

    Returns:
        In [0, 2]; and 0 or more, NaN where no row is away from its centroid.
    """
    means, spreads = [], []
    for side in (~sides.second, sides.second):
        rows, weight = x[side], sides.weight[side]
        means.append(weight @ rows)
        spreads.append(math.sqrt(float(weight @ (rows - means[-1]).square().sum(1))))
    distance, spread = float((means[0] - means[1]).norm()), sum(spreads) / 2
    return distance, distance / spread if spread > _FLAT else math.nan


def separability(x: Tensor, sides: Balance, groups: Sequence[str], folds: int) -> tuple[float, float]:
    """Cross-validated accuracy and area under the ROC curve of a linear classifier that tells the modality.

    Both are by the balanced weights, so that 0.5 is chance. A row that the classifier cannot decide counts half.

    Args:
        x: (N, d) float64 unit rows.
        sides: which are whose.
        groups: (N,) names; rows of one name are in one fold.
        folds: at most; as many as the rarer modality has groups where those are fewer.

    Returns:
        In [0, 1]; NaN where a modality has a single group.
    """
    rows, second, weight = x.numpy(), sides.second.numpy(), sides.weight.numpy()
    fold = deal_folds(groups, second, sides.member.argmax(1).numpy(), folds)
    if fold is None:
        return math.nan, math.nan
    from sklearn.metrics import roc_auc_score

    right, areas = np.zeros(len(rows)), []
    for number in range(int(fold.max()) + 1):
        held = fold == number
        score = _decide(rows[~held], second[~held], weight[~held], rows[held])
        right[held] = np.where(score == 0, 0.5, (score > 0) == second[held])
        areas.append(float(roc_auc_score(second[held], score, sample_weight=weight[held])))
    return min(1.0, float(weight @ right) / 2), sum(areas) / len(areas)


def deal_folds(
    groups: Sequence[str], second: NDArray[np.bool_], classes: NDArray[np.int64], folds: int
) -> NDArray[np.int64] | None:
    """Deal groups out to folds like cards, ordered by the modalities they have rows of and their first row's class.

    Scikit-learn's stratified folds depend on the order of the rows within a class; here only the order of groups of
    equal modalities and class counts, which the caller fixes.

    Returns:
        (N,) fold of each row, every fold with rows of both modalities; None where a modality has a single group.
    """
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(groups):
        rows.setdefault(name, []).append(row)
    kinds = {
        name: (bool(second[own].all()), bool(second[own].any()), int(classes[own[0]])) for name, own in rows.items()
    }
    first_has = sum(not every for every, _, _ in kinds.values())
    second_has = sum(some for _, some, _ in kinds.values())
    folds = min(folds, first_has, second_has)
    if folds < 2:
        return None
    fold = np.empty(len(groups), np.int64)
    # The sort is stable, and the groups of either modality follow each other: none of the folds goes without.
    for place, name in enumerate(sorted(kinds, key=kinds.__getitem__)):
        fold[rows[name]] = place % folds
    return fold


def _decide(
    train: NDArray[np.float64], second: NDArray[np.bool_], weight: NDArray[np.float64], test: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Scores of test rows, above 0 for the second modality."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    weight = np.where(second, weight / weight[second].sum(), weight / weight[~second].sum()) / 2
    middle = weight @ train
    # One factor for all dimensions: a factor each would make the result depend on the axes.
    scale = math.sqrt(float((weight @ (train - middle) ** 2).mean()))
    if scale < _FLAT:
        return np.zeros(len(test))
    model = LogisticRegression(max_iter=500)
    with warnings.catch_warnings():
        # A fit that is not finished is a classifier all the same; its accuracy is on rows that it never saw.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((train - middle) / scale, second, sample_weight=weight * len(train))
    return np.asarray(model.decision_function((test - middle) / scale), np.float64)


def overlap(x: Tensor, sides: Balance, neighbours: int) -> float:
    """Neighbours of the other modality over those expected if modalities were dealt out anew within each class.

    A neighbour of class c of a row of modality A is of the other one, B, with probability n_Bc / (n_Ac + n_Bc - s), s
    being 1 where the row itself is of class c: it is no neighbour of its own. The sums of both are by the balanced
    weights. For rows of several classes the probability is the mean over the neighbour's classes.

    Args:
        x: (N, d) float64 unit rows.
        sides: which are whose.
        neighbours: k, from 1 to N - 1.

    Returns:
        0 or more; 1 where modalities are mixed.
    """
    scores, second = Scores(x, x), sides.second.double()
    total = sides.counts.sum(0)
    found = expected = 0.0
    for rows in torch.arange(len(x)).split(_BLOCK):
        score = scores.block(slice(int(rows[0]), int(rows[-1]) + 1))
        score[torch.arange(len(rows)), rows] = -math.inf
        last = score.topk(neighbours, dim=1).values[:, -1:]
        nearer, tied = (score > last).double(), (score == last).double()
        # Of the rows that tie for the last places, each is there with the same probability.
        near = nearer + tied * ((neighbours - nearer.sum(1)) / tied.sum(1)).unsqueeze(1)
        of_second, own = near @ second, sides.second[rows]
        other = sides.counts[1 - own.long()]
        chance = ((near @ sides.member) * other / (total - sides.member[rows])).sum(1)
        weight = sides.weight[rows]
        found += float(weight @ torch.where(own, neighbours - of_second, of_second))
        expected += float(weight @ chance)
    return found / expected
