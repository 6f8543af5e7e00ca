"""Canonical correlation analysis of two modalities or more, regularised, in one generalised eigenproblem.

Hotelling, Biometrika 1936; for more than two modalities MAXVAR (Horst 1961; Kettenring, Biometrika 1971); ridge
regularised (Vinod, J. Econometrics 1976; Hardoon et al., Neural Computation 2004). With C_ij the covariance of
modalities i and j, and R_i = C_ii + r tr(C_ii) / D_i I,

    M_ii = I,    M_ij = R_i^(-1/2) C_ij R_j^(-1/2),    M v_k = lambda_k v_k,
    W_i = sqrt(m) R_i^(-1/2) V_i diag(rho^p),

V_i being modality i's rows of the first eigenvectors and rho_k = (lambda_k - 1) / (m - 1) their correlation, averaged
over pairs. Of two modalities the eigenvalues are 1 +- rho_k with the singular values rho_k of M_12, so that this is the
textbook's CCA; x_i W_i is, up to a factor, what modality i's ridge regression makes of the sum of all variates.

Rows belong together by group. A group g of weight w_g stands for every choice of one of its rows from each modality,
whose expected covariances need its means alone: C_ij = sum_g w_g (mu_ig - m_i)(mu_jg - m_j)^T over groups that both
modalities have, and C_ii = sum_g w_g E_g[(x - m_i)(x - m_i)^T]. Where groups are pair keys of one row each, that is
CCA; where they are classes and w_g the product of their sizes, that is cluster CCA (Rasiwasia et al., AISTATS 2014)
without its list of all pairs. A modality without a group adds nothing there, as if its rows were their mean.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from xfeat.methods.linear import LinearMap, Matrix

MOST_DIMS = 128
NOTHING = 1e-9  # a correlation below is none
SINGULAR = 1e-10  # of the largest eigenvalue of a covariance; directions of less are left out


@dataclass(frozen=True)
class Moments:
    """What CCA needs of one modality's rows.

    Attributes:
        mean: (D,) float64 m_i.
        own: (D, D) float64 C_ii.
        groups: (G, D) float64 sqrt(w_g) (mu_ig - m_i), 0 for groups that the modality lacks.
    """

    mean: Matrix
    own: Matrix
    groups: Matrix


@dataclass(frozen=True)
class Canonical:
    """Canonical directions.

    Attributes:
        maps: of each modality, D_i -> k.
        correlations: (k,) float64 rho, descending.
    """

    maps: list[LinearMap]
    correlations: NDArray[np.float64]


def class_weights(counts: Matrix) -> NDArray[np.float64]:
    """(C,) weight of each class, summing to 1, from (m, C) rows of it by modality.

    Of two modalities the number of pairs n_1 n_2 (cluster CCA); of more, the square of the geometric mean over those
    that have the class. A class of one modality alone weighs nothing.
    """
    has = counts > 0
    logs = np.where(has, np.log(np.where(has, counts, 1.0)), 0.0).sum(axis=0)
    weights = np.where(has.sum(axis=0) > 1, np.exp(2 * logs / np.maximum(has.sum(axis=0), 1)), 0.0)
    total = weights.sum()
    return np.asarray(weights / total if total else weights, dtype=np.float64)


def gather(pieces: Iterable[tuple[Matrix, Any]], counts: Matrix, weights: Matrix, dim: int) -> Moments:
    """Moments of rows that come in pieces.

    Args:
        pieces: (n, D) float64 rows, and the (n, G) sparse shares of each in the groups.
        counts: (G,) the column sums of all shares.
        weights: (G,) w.
        dim: D.
    """
    each = np.where(counts > 0, weights / np.where(counts > 0, counts, 1.0), 0.0)
    sums, second, first, total = np.zeros((len(counts), dim)), np.zeros((dim, dim)), np.zeros(dim), 0.0
    for x, shares in pieces:
        a = np.asarray(shares @ each)
        second += (x * a[:, None]).T @ x
        first += a @ x
        total += float(a.sum())
        sums += shares.T @ x
    mean = first / total if total else first
    centred = sums / np.where(counts > 0, counts, 1.0)[:, None] - mean
    groups = centred * np.sqrt(np.where(counts > 0, weights, 0.0))[:, None]
    own = second - total * np.outer(mean, mean)
    return Moments(mean, (own + own.T) / 2, groups)


def canonical(moments: Sequence[Moments], regularisation: float, dims: int | None, power: float) -> Canonical:
    """Solve for the directions.

    Args:
        moments: of two modalities or more.
        regularisation: r.
        dims: k at most; None for 128. Never more than there are directions that correlate.
        power: p.

    Returns:
        No direction at all where nothing correlates.
    """
    bases = [_whitening(one.own, regularisation) for one in moments]
    white = [one.groups @ basis for one, basis in zip(moments, bases, strict=True)]
    ends = np.cumsum([basis.shape[1] for basis in bases])
    together = np.concatenate(white, axis=1)
    m = together.T @ together
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        m[start:end, start:end] = np.eye(end - start)
    last = len(m) - 1
    if last < 0:  # every modality is constant
        return Canonical([LinearMap(one.own[:, :0], one.mean[:0]) for one in moments], np.zeros(0))
    values, vectors = scipy.linalg.eigh(m, subset_by_index=(max(0, last + 1 - (dims or MOST_DIMS)), last))
    values, vectors = values[::-1], vectors[:, ::-1]
    rho = (values - 1) / (len(moments) - 1)
    rho, vectors = rho[rho > NOTHING], vectors[:, rho > NOTHING]
    # The sign of an eigenvector is arbitrary: its largest entry is positive.
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(rho))])
    scale = np.sqrt(len(moments)) * rho**power
    weights = [basis @ v * scale for basis, v in zip(bases, np.split(vectors, ends[:-1]), strict=True)]
    maps = [LinearMap(w, -one.mean @ w) for w, one in zip(weights, moments, strict=True)]
    return Canonical(maps, rho)


def _whitening(own: Matrix, regularisation: float) -> Matrix:
    """R^(-1/2) as (D, r): columns of the eigenvectors with eigenvalues that are not 0."""
    values, vectors = np.linalg.eigh(own)
    values = values + regularisation * values.sum() / len(values)
    real = values > max(SINGULAR * values[-1], 0.0)
    basis: Matrix = vectors[:, real] / np.sqrt(values[real])
    return basis
