"""Every measure against a literal version of it in loops."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from xfeat.evaluation.gap_measures import Balance, centroids, deal_folds, overlap, separability


def one_hot(classes: list[int], count: int = 3) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(classes), count).double()


def units(seed: int, rows: int, dims: int = 3) -> torch.Tensor:
    found = torch.randn(rows, dims, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return found / found.norm(dim=1, keepdim=True)


def balanced(one: list[int], other: list[int]) -> Balance:
    found = Balance.of(one_hot(one), one_hot(other))
    assert found is not None
    return found


def test_rows_of_classes_that_one_side_lacks_are_left_out() -> None:
    sides = balanced([0, 1, 1, 2], [1, 2, 2])
    assert sides.kept.tolist() == [1, 2, 3, 4, 5, 6]
    assert sides.second.tolist() == [False, False, False, True, True, True]
    assert (sides.rows, sides.classes) == ((3, 3), 2)
    # Half of a modality's weight for each class, in equal parts for its rows.
    assert sides.weight.tolist() == [1 / 4, 1 / 4, 1 / 2, 1 / 2, 1 / 4, 1 / 4]
    assert Balance.of(one_hot([0, 0]), one_hot([1, 2])) is None


def test_rows_of_several_classes_count_for_each_in_equal_parts() -> None:
    both = torch.tensor([[0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5]], dtype=torch.float64)
    sides = Balance.of(both, one_hot([0, 1]))
    assert sides is not None
    assert sides.member.tolist() == [[0.5, 0.5], [0, 1], [0, 1], [1, 0], [0, 1]]
    assert sides.weight.tolist() == pytest.approx([0.5 + 0.1, 0.2, 0.2, 0.5, 0.5])


def test_centroids_equal_the_literal_means() -> None:
    sides, x = balanced([0, 0, 0, 1, 1], [1, 0, 0]), units(1, 8)
    means, spreads = [], []
    for rows, classes in ((x[:5], [0, 0, 0, 1, 1]), (x[5:], [1, 0, 0])):
        of_class = [torch.stack([row for row, c in zip(rows, classes, strict=True) if c == k]) for k in (0, 1)]
        mean = (of_class[0].mean(0) + of_class[1].mean(0)) / 2
        away = [sum(float((row - mean) @ (row - mean)) for row in own) / len(own) for own in of_class]
        means.append(mean)
        spreads.append(math.sqrt(sum(away) / 2))
    distance = math.dist(means[0].tolist(), means[1].tolist())
    assert centroids(x, sides) == pytest.approx((distance, distance / (sum(spreads) / 2)))


def dealt_out_anew(second: list[bool], classes: list[int], row: int) -> np.ndarray:
    """Probability of each row to be of the other modality than ``row``, over all deals that leave ``row`` its own."""
    total, count = np.zeros(len(second)), 0
    for order in set(permutations(range(len(second)))):
        if order[row] == row and all(classes[i] == classes[j] for i, j in enumerate(order)):
            total += [second[j] != second[row] for j in order]
            count += 1
    return total / count


@given(seed=st.integers(0, 999), neighbours=st.integers(1, 4), grid=st.booleans())
def test_overlap_equals_the_literal_count(seed: int, neighbours: int, grid: bool) -> None:
    rng = np.random.default_rng(seed)
    # Both classes on both sides; seven rows, of few directions (many ties) or of many.
    classes = [0, 1, *rng.integers(0, 2, 1), 0, 1, *rng.integers(0, 2, 2)]
    second = [False] * 3 + [True] * 4
    x = torch.eye(3, dtype=torch.float64)[rng.integers(0, 3, 7)] if grid else units(seed, 7)
    sides = balanced([int(c) for c in classes[:3]], [int(c) for c in classes[3:]])
    found = expected = 0.0
    for row in range(7):
        score = [float(x[row] @ x[other]) if other != row else -math.inf for other in range(7)]
        chance = dealt_out_anew(second, [int(c) for c in classes], row)
        last = sorted(score, reverse=True)[neighbours - 1]
        free = neighbours - sum(s > last for s in score)
        near = [1.0 if s > last else free / score.count(last) if s == last else 0.0 for s in score]
        alike = [i for i in range(7) if second[i] == second[row] and classes[i] == classes[row]]
        weight = 1 / (2 * len(alike))
        found += weight * sum(n for n, other in zip(near, second, strict=True) if other != second[row])
        expected += weight * float(np.array(near) @ chance)
    assert overlap(x, sides, neighbours) == pytest.approx(found / expected)


@given(seed=st.integers(0, 999), singles=st.integers(2, 12), pairs=st.integers(0, 6))
def test_folds_divide_no_group_and_all_have_both_modalities(seed: int, singles: int, pairs: int) -> None:
    rng = np.random.default_rng(seed)
    first = [f"a{i}" for i in range(singles)] + [f"p{i}" for i in range(pairs)]
    other = [f"b{i}" for i in range(2 + singles // 2)] + [f"p{i}" for i in range(pairs)] * 2
    groups = first + other
    second = np.array([False] * len(first) + [True] * len(other))
    classes = rng.integers(0, 3, len(groups))
    fold = deal_folds(groups, second, classes, 5)
    assert fold is not None
    number = min(5, len(set(first)), len(set(other)))
    assert set(fold[second]) == set(fold[~second]) == set(range(number))
    assert all(len({int(fold[i]) for i, own in enumerate(groups) if own == name}) == 1 for name in groups)


def test_folds_are_stratified() -> None:
    second, classes = np.repeat([False, True], 60), np.tile([0, 1, 1], 40)
    fold = deal_folds([str(row) for row in range(120)], second, classes, 5)
    assert fold is not None
    for side, kind, count in ((False, 0, 4), (False, 1, 8), (True, 0, 4), (True, 1, 8)):
        assert [int(((second == side) & (classes == kind))[fold == one].sum()) for one in range(5)] == [count] * 5
    assert deal_folds(["a", "b", "b"], np.array([False, True, True]), np.zeros(3, np.int64), 5) is None


def test_separability_equals_the_literal_cross_validation() -> None:
    classes = [0] * 9 + [1] * 3
    x = units(3, 24, 4)
    x[12:, 0] += 0.9
    x = x / x.norm(dim=1, keepdim=True)
    sides, groups = balanced(classes, classes[::-1]), [str(row) for row in range(24)]
    second = sides.second.numpy()
    fold = deal_folds(groups, second, sides.member.argmax(1).numpy(), 3)
    assert fold is not None
    share, areas = np.zeros(2), []
    for one in range(3):
        train, test = fold != one, fold == one
        weight = sides.weight.numpy()[train].copy()
        for side in (False, True):
            weight[second[train] == side] /= 2 * weight[second[train] == side].sum()
        rows = x.numpy()[train]
        middle = (weight[:, None] * rows).sum(0)
        scale = math.sqrt(float(np.mean((weight[:, None] * (rows - middle) ** 2).sum(0))))
        z, sign = (rows - middle) / scale, np.where(second[train], 1.0, -1.0)

        def loss(w: np.ndarray, z: np.ndarray = z, sign: np.ndarray = sign, weight: np.ndarray = weight) -> float:
            each = np.log1p(np.exp(-sign * (z @ w[1:] + w[0])))
            return float(w[1:] @ w[1:] / 2 + len(z) * (weight * each).sum())

        w = minimize(loss, np.zeros(5), options={"gtol": 1e-8}).x
        score = (x.numpy()[test] - middle) / scale @ w[1:] + w[0]
        truth, held = second[test], sides.weight.numpy()[test]
        for side in (0, 1):
            own = truth == bool(side)
            share[side] += held[own & ((score > 0) == truth)].sum()
        wins = [
            held[i] * held[j] * (float(score[i] > score[j]) + (score[i] == score[j]) / 2)
            for i in np.flatnonzero(truth)
            for j in np.flatnonzero(~truth)
        ]
        areas.append(sum(wins) / (held[truth].sum() * held[~truth].sum()))
    accuracy, area = separability(x, sides, groups, 3)
    assert 0.5 < accuracy < 1
    assert accuracy == pytest.approx(share.mean())
    assert area == pytest.approx(np.mean(areas))
