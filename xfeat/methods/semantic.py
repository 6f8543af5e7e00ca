"""Semantic matching: a modality's features become class posteriors, which all modalities share.

Rasiwasia et al., "A New Approach to Cross-Modal Multimedia Retrieval", ACM MM 2010, section 4.2: one logistic
regression per modality. Samples of several classes get one regression per class.
"""

import warnings
from typing import Any

import numpy as np

from xfeat.methods.linear import LinearMap, Matrix

ITERATIONS = 3000


def posterior(x: Matrix, y: Matrix, classes: int, inverse_penalty: float) -> tuple[LinearMap, bool]:
    """The map from features to class posteriors.

    Args:
        x: (n, D) float64.
        y: (n,) int64 classes: a softmax over them; or (n, C) uint8 multi-hot: a sigmoid for each.
        classes: C.
        inverse_penalty: scikit-learn's C.

    Returns:
        The map, by which a class without rows has posterior 0; and whether the solver converged.
    """
    if y.ndim == 2:
        return _one_against_rest(x, y, inverse_penalty)
    weight, bias = np.zeros((x.shape[1], classes)), np.full(classes, -np.inf)
    there = np.unique(y)
    if len(there) == 1:
        bias[there] = 0.0
        return LinearMap(weight, bias, "softmax"), True
    model, converged = _fitted(x, y, inverse_penalty)
    if len(there) == 2:  # one logit: of the second class against the first
        weight[:, there[1]], bias[there] = model.coef_[0], (0.0, model.intercept_[0])
    else:
        weight[:, there], bias[there] = model.coef_.T, model.intercept_
    return LinearMap(weight, bias, "softmax"), converged


def _one_against_rest(x: Matrix, y: Matrix, inverse_penalty: float) -> tuple[LinearMap, bool]:
    weight, bias, converged = np.zeros((x.shape[1], y.shape[1])), np.full(y.shape[1], -np.inf), True
    for place, column in enumerate(y.T):
        if column.all():
            bias[place] = np.inf
        elif column.any():
            model, well = _fitted(x, column, inverse_penalty)
            weight[:, place], bias[place], converged = model.coef_[0], model.intercept_[0], converged and well
    return LinearMap(weight, bias, "sigmoid"), converged


def _fitted(x: Matrix, y: Matrix, inverse_penalty: float) -> tuple[Any, bool]:
    from sklearn.exceptions import ConvergenceWarning  # here: to read a run takes no scikit-learn
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=inverse_penalty, max_iter=ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is returned
        model.fit(x, y)
    return model, bool(np.max(model.n_iter_) < ITERATIONS)
