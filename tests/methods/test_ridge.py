"""Oracle: the regression fitted anew without each row in turn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import one_hot

from xfeat.methods.base import BranchData
from xfeat.methods.drcl import orthogonal_columns
from xfeat.methods.ridge import PENALTIES, leave_one_out, ridge_prior
from xfeat.training.resident import InputScale, ResidentRows, Table

CLASSES = 3


def ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """Coefficients by the normal equations; the intercept is not penalised."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)


def literal(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of rows left out, and the solution, by the best penalty."""
    scale = np.square(x).sum() / len(x)
    best = None
    for penalty in PENALTIES.numpy() * scale:
        found = np.empty_like(y)
        for row in range(len(x)):
            others = np.arange(len(x)) != row
            means = x[others].mean(axis=0), y[others].mean(axis=0)
            found[row] = (x[row] - means[0]) @ ridge(x[others], y[others], penalty) + means[1]
        error = np.square(y - found).mean()
        if best is None or error < best[0]:
            best = error, found, ridge(x, y, penalty)
    assert best is not None
    return best[1], best[2]


@settings(max_examples=8)
@given(seed=st.integers(0, 999), wide=st.booleans())
def test_leaving_out_by_formula_is_leaving_out(seed: int, wide: bool) -> None:
    rng = np.random.default_rng(seed)
    y = np.eye(CLASSES)[rng.integers(CLASSES, size=14)]
    x = y @ rng.normal(size=(CLASSES, 25 if wide else 4)) + rng.normal(size=(14, 25 if wide else 4))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    expected, solution = literal(x, y)
    found, coefficients = leave_one_out(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-8)
    np.testing.assert_allclose(coefficients.numpy(), solution, atol=1e-8)


def some_data(*, apart: float = 3.0, missing: bool = False, val: int = 30) -> BranchData:
    g = torch.Generator().manual_seed(1)
    labels = torch.arange(60 + val) % (CLASSES - missing)
    centres = torch.randn(CLASSES, 6, generator=g)
    centres[1] = centres[0] + 0.4 * torch.randn(6, generator=g)  # two classes that are hard to tell apart
    features = apart * centres[labels] + torch.randn(len(labels), 6, generator=g)
    table = Table(features, labels, CLASSES)
    scale = InputScale(torch.zeros(6), torch.ones(6))
    train, held = (ResidentRows(table, torch.arange(*span), scale) for span in ((0, 60), (60, 60 + val)))
    return BranchData("image", train, held, torch.bincount(labels[:60], minlength=CLASSES).float())


def frame(out: int = 8) -> Tensor:
    torch.manual_seed(0)
    return orthogonal_columns(out, CLASSES)


def test_columns_have_unit_length_and_classes_that_are_confused_lie_closer() -> None:
    weight, _ = ridge_prior(some_data(apart=1.0), frame(), "train")
    cosines = weight.T @ weight
    torch.testing.assert_close(cosines.diagonal(), torch.ones(CLASSES))
    assert cosines[0, 1] > cosines[0, 2] + 0.05
    assert cosines[0, 1] > cosines[1, 2] + 0.05


def test_the_frame_turns_the_prior_and_nothing_else() -> None:
    one, score = ridge_prior(some_data(), frame(8), "train")
    other, same = ridge_prior(some_data(), frame(20), "train")
    torch.testing.assert_close(one.T @ one, other.T @ other)
    assert score == pytest.approx(same)


@pytest.mark.parametrize(("score_on", "scale"), [("train", 1.0), ("train", 16.0), ("val", 16.0)])
def test_the_score_is_the_probability_of_the_true_label(score_on: str, scale: float) -> None:
    data = some_data()
    weight, score = ridge_prior(data, frame(), score_on, scale)
    x, y = (torch.cat(parts).double().numpy() for parts in zip(*data.train.pieces(), strict=True))
    predicted, solution = literal(x - x.mean(axis=0), y - y.mean(axis=0))
    predicted = predicted + y.mean(axis=0)
    if score_on == "val":
        v, labels = (torch.cat(parts).double().numpy() for parts in zip(*data.val.pieces(), strict=True))
        predicted, y = (v - x.mean(axis=0)) @ solution + y.mean(axis=0), labels
    z = predicted / np.linalg.norm(predicted, axis=1, keepdims=True) @ frame().double().numpy().T
    p = torch.from_numpy(scale * z @ weight.double().numpy()).softmax(dim=1).numpy()
    assert score == pytest.approx(float((p * y).sum(axis=1).mean()), abs=1e-6)


def test_clearer_classes_score_higher() -> None:
    assert ridge_prior(some_data(apart=4.0), frame(), "val")[1] > ridge_prior(some_data(apart=0.3), frame(), "val")[1]


def test_a_class_without_rows_keeps_its_own_direction() -> None:
    weight, score = ridge_prior(some_data(missing=True), frame(), "train")
    torch.testing.assert_close(weight[:, 2], frame()[:, 2], atol=1e-6, rtol=1e-5)
    assert 0 < score < 1


def test_targets_may_be_shared_among_classes() -> None:
    data = some_data()
    assert isinstance(data.train, ResidentRows)
    hot = one_hot(data.train.table.labels, CLASSES)
    hot[::5, 2] = 1
    table = Table(data.train.table.features, hot.to(torch.uint8), CLASSES)
    rows = [ResidentRows(table, part.index, part.scale) for part in (data.train, data.val)]  # type: ignore[attr-defined]
    weight, score = ridge_prior(BranchData("image", rows[0], rows[1], data.counts), frame(), "train")
    assert torch.isfinite(weight).all()
    assert 0 < score < 1
