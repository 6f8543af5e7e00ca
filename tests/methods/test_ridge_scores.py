"""Oracle: the normal equations; the penalty by leaving each row out in turn."""

import numpy as np
import pytest

from xfeat.methods.ridge import PENALTIES
from xfeat.methods.ridge_scores import ridge_scores


def some(rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(width)
    y = np.eye(3)[rng.integers(3, size=rows)]
    return y @ rng.normal(size=(3, width)) + rng.normal(size=(rows, width)) + 4, y


def solved(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    mean = x.mean(axis=0)
    x, y = x - mean, y - y.mean(axis=0)
    b = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
    return b, -mean @ b


@pytest.mark.parametrize("width", [4, 30])
@pytest.mark.parametrize("penalty", [1e-3, 0.5, None])
def test_scores_solve_the_normal_equations(width: int, penalty: float | None) -> None:
    x, y = some(16, width)
    scale = np.square(x - x.mean(axis=0)).sum(axis=1).mean()
    chosen = penalty
    if penalty is None:
        errors = []
        for one in PENALTIES.numpy():
            total = 0.0
            for row in range(16):
                others = np.arange(16) != row
                b, bias = solved(x[others], y[others], one * scale)
                total += np.square(y[row] - (x[row] @ b + bias + y[others].mean(axis=0))).sum()
            errors.append(total)
        chosen = PENALTIES.numpy()[int(np.argmin(errors))]
    b, bias = solved(x, y, chosen * scale)
    found = ridge_scores(x, y, penalty)
    np.testing.assert_allclose(found.weight, b, atol=1e-8)
    np.testing.assert_allclose(found.bias, bias, atol=1e-7)
    np.testing.assert_allclose((x @ found.weight + found.bias).mean(axis=0), 0, atol=1e-7)


def test_a_class_without_rows_scores_nothing() -> None:
    x, y = some(16, 4)
    found = ridge_scores(x, np.concatenate([y, np.zeros((16, 1))], axis=1), None)
    assert not found.weight[:, 3].any()
    assert found.bias[3] == 0
