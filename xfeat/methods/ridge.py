"""A closed-form candidate prior: how alike classes are, as a ridge regression from features to labels sees it.

It stands in for DRCL's stage 1 (arXiv 2501.05686) where SPL's training is too slow. With B the ridge solution
(Hoerl and Kennard, Technometrics 1970) and f_i the leave-one-out prediction of row i, in the space of the C classes,

    m_c = weighted mean of f_i over the rows of class c,    w_c = (e_c + m_c) / |e_c + m_c|,    W = Q [w_1 ... w_C],

Q being O x C with orthonormal columns: classes that the features confuse get columns that lie close together, and the
unit vectors e_c keep W well conditioned. The penalty minimises the leave-one-out error, which one eigendecomposition
gives for all of them (Allen's PRESS statistic, Technometrics 1974).
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from xfeat.methods.base import BranchData, Rows

PENALTIES = torch.logspace(-4, 4, 33, dtype=torch.float64)  # times the mean squared length of a row

MOST_ROWS = 16_384  # spread evenly over the rows: more change nothing that shows, and would have to lie in memory


def ridge_prior(data: BranchData, frame: Tensor, score_on: str, scale: float = 1.0) -> tuple[Tensor, float]:
    """The candidate prior of one modality and its quality score.

    Args:
        data: one modality; its training rows decide W (16,384 of them at most).
        frame: (O, C) float with orthonormal columns Q.
        score_on: ``train``: score the leave-one-out predictions; ``val``: those of the validation rows.
        scale: s, of the logits.

    Returns:
        W (O, C) float32 with unit columns, and the mean softmax probability of the true label under s z W, z being
        the unit prediction in the frame. It is lower than SPL's score, which is taken on rows that SPL has fitted.
    """
    x, y = _gathered(data.train)
    mean_x, mean_y = x.mean(dim=0), y.mean(dim=0)
    left_out, solution = leave_one_out(x - mean_x, y - mean_y)
    predicted = left_out + mean_y
    total = y.sum(dim=0)
    # A class without rows keeps its own direction.
    means = (y.T @ predicted) / total.clamp_min(1e-12).unsqueeze(1) * (total > 0).unsqueeze(1)
    columns = normalize(torch.eye(len(total), dtype=y.dtype, device=y.device) + means, dim=1).T
    if score_on == "val":
        x, y = _gathered(data.val)
        predicted = (x - mean_x) @ solution + mean_y
    p = ((scale * normalize(predicted, dim=1) @ columns).softmax(dim=1) * y).sum(dim=1)
    return (frame.to(columns) @ columns).float(), float(p.mean())


def leave_one_out(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Ridge regression with the penalty that has the least leave-one-out error.

    Args:
        x: (n, D) float64, columns of mean 0.
        y: (n, C) float64, columns of mean 0.

    Returns:
        (n, C) the prediction of every row by the regression on all others, an intercept refitted with it, and (D, C)
        the solution on all rows.
    """
    u, s, v = _thin_svd(x)
    shares, scale = u.T @ y, x.square().sum() / len(x)
    best, found, kept = float("inf"), y, s
    for penalty in (PENALTIES.to(x.device) * scale).unbind():
        shrink = s.square() / (s.square() + penalty)
        leverage = (u.square() @ shrink + 1 / len(x)).clamp_max(1 - 1e-9)
        residual = (y - u @ (shrink.unsqueeze(1) * shares)) / (1 - leverage).unsqueeze(1)
        error = float(residual.square().mean())
        if error < best:
            best, found, kept = error, y - residual, s / (s.square() + penalty)
    return found, v @ (kept.unsqueeze(1) * shares)


def _thin_svd(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U (n, r), S (r), V (D, r) by the smaller Gram matrix: several times faster than an SVD, and exact enough here."""
    tall = x.shape[0] >= x.shape[1]
    values, vectors = torch.linalg.eigh(x.T @ x if tall else x @ x.T)
    real = values > values[-1] * 1e-12
    s, vectors = values[real].sqrt(), vectors[:, real]
    return (x @ vectors / s, s, vectors) if tall else (vectors, s, x.T @ vectors / s)


def _gathered(rows: Rows) -> tuple[Tensor, Tensor]:
    pieces = list(rows.pieces(MOST_ROWS))
    return torch.cat([x for x, _ in pieces]).double(), torch.cat([y for _, y in pieces]).double()
