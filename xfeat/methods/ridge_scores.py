"""Ridge regression from features to labels (Hoerl and Kennard, Technometrics 1970); the scores are the embedding.

    B = (X^T X + l s I)^(-1) X^T Y,    z = (x - mean x) B,

X and Y centred on the training rows, s the mean squared length of a row of X. Scores stay centred, without the shares
of the classes: a class that is no likelier than on average scores 0, and cosines tell what a row has more of than most.
"""

import numpy as np
import torch

from xfeat.methods.linear import LinearMap, Matrix
from xfeat.methods.ridge import leave_one_out


def ridge_scores(x: Matrix, y: Matrix, penalty: float | None) -> LinearMap:
    """The map from features to centred label scores.

    Args:
        x: (n, D) float64.
        y: (n, C) float64 targets.
        penalty: l; None takes the one of least leave-one-out error (Allen's PRESS, Technometrics 1974).
    """
    mean = x.mean(axis=0)
    x, y = x - mean, y - y.mean(axis=0)
    if penalty is None:
        weight: Matrix = leave_one_out(torch.from_numpy(x), torch.from_numpy(y))[1].numpy()
    else:
        scale = penalty * max(float(np.square(x).sum()) / len(x), np.finfo(np.float64).tiny)
        weight = np.linalg.solve(x.T @ x + scale * np.eye(x.shape[1]), x.T @ y)
    return LinearMap(weight, -mean @ weight)
