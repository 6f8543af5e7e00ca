"""Oracle: what scikit-learn predicts."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

from xfeat.methods import semantic
from xfeat.methods.linear import LinearMap
from xfeat.methods.semantic import posterior


def rows(classes: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.array(classes)[rng.integers(len(classes), size=50)]
    return rng.normal(size=(max(classes) + 1, 4))[y] + rng.normal(size=(50, 4)), y


def applied(made: LinearMap, x: np.ndarray) -> np.ndarray:
    z = x @ made.weight + made.bias
    return softmax(z, axis=1) if made.activation == "softmax" else expit(z)


@pytest.mark.parametrize("there", [[0, 1, 2], [0, 2], [1, 3, 4], [2]])
def test_posteriors_are_those_of_scikit_learn(there: list[int]) -> None:
    x, y = rows(there)
    made, converged = posterior(x, y, 5, 0.7)
    expected = np.zeros((50, 5))
    if len(there) > 1:
        expected[:, there] = LogisticRegression(C=0.7, max_iter=3000).fit(x, y).predict_proba(x)
    else:
        expected[:, there] = 1
    assert converged
    assert made.activation == "softmax"
    np.testing.assert_allclose(applied(made, x), expected, atol=1e-12)


def test_several_classes_a_row_are_one_regression_each() -> None:
    x, y = rows([0, 1, 2])
    hot = np.stack([y == 0, y != 1, np.ones(50), np.zeros(50)], axis=1).astype(np.uint8)
    made, converged = posterior(x, hot, 4, 1.0)
    expected = [LogisticRegression(max_iter=3000).fit(x, hot[:, place]).predict_proba(x)[:, 1] for place in (0, 1)]
    assert converged
    assert made.activation == "sigmoid"
    np.testing.assert_allclose(applied(made, x), np.stack([*expected, np.ones(50), np.zeros(50)], axis=1), atol=1e-12)


def test_a_regression_that_is_not_done_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic, "ITERATIONS", 2)
    assert not posterior(*rows([0, 1, 2]), 3, 100.0)[1]
