"""Oracles: an explicit list of all pairs, the textbook's two-view solution, and the sum of projections of MAXVAR."""

from collections.abc import Sequence

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from xfeat.methods.cca import MOST_DIMS, Moments, canonical, class_weights, gather

Rows = np.ndarray
WIDTHS = (4, 3, 5)


def hot(groups: Sequence[int], count: int) -> np.ndarray:
    return np.eye(count)[list(groups)]


def moments_of(x: Rows, shares: np.ndarray, weights: np.ndarray, pieces: int = 3) -> Moments:
    sparse = scipy.sparse.csr_matrix(shares)
    parts = np.array_split(np.arange(len(x)), pieces)
    return gather(((x[part], sparse[part]) for part in parts), shares.sum(axis=0), weights, x.shape[1])


def paired(rows: int, modalities: int, seed: int) -> list[Rows]:
    """Views of three hidden numbers, with noise, off the origin."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 3))
    return [
        2 * hidden @ rng.normal(size=(3, width)) + rng.normal(size=(rows, width)) + rng.normal(size=width)
        for width in WIDTHS[:modalities]
    ]


def paired_moments(views: Sequence[Rows]) -> list[Moments]:
    rows = len(views[0])
    return [moments_of(x, np.eye(rows), np.full(rows, 1 / rows)) for x in views]


def root(matrix: np.ndarray) -> np.ndarray:
    """The inverse of the symmetric square root."""
    return np.linalg.inv(scipy.linalg.sqrtm(matrix).real)


def textbook(x: Rows, y: Rows, r: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Canonical correlations and directions of two views, written out."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    xx, yy, xy = x.T @ x / len(x), y.T @ y / len(x), x.T @ y / len(x)
    xx = xx + r * np.trace(xx) / len(xx) * np.eye(len(xx))
    yy = yy + r * np.trace(yy) / len(yy) * np.eye(len(yy))
    u, s, v = np.linalg.svd(root(xx) @ xy @ root(yy))
    k = min(xy.shape)
    return s, root(xx) @ u[:, :k], root(yy) @ v[:k].T


def variates(views: Sequence[Rows], r: float = 0.0, power: float = 0.0) -> tuple[list[Rows], np.ndarray]:
    found = canonical(paired_moments(views), r, None, power)
    return [x @ one.weight + one.bias for x, one in zip(views, found.maps, strict=True)], found.correlations


@settings(max_examples=8)
@given(seed=st.integers(0, 999), r=st.sampled_from([0.0, 0.1, 2.0]), power=st.sampled_from([0.0, 1.0, 4.0]))
def test_two_modalities_are_the_textbook(seed: int, r: float, power: float) -> None:
    x, y = paired(40, 2, seed)
    rho, a, b = textbook(x, y, r)
    found = canonical(paired_moments([x, y]), r, None, power)
    np.testing.assert_allclose(found.correlations, rho, atol=1e-9)
    for one, view, expected in zip(found.maps, (x, y), (a, b), strict=True):
        signs = np.sign((one.weight * expected).sum(axis=0))
        np.testing.assert_allclose(one.weight, expected * signs * rho**power, atol=1e-6)
        np.testing.assert_allclose(one.bias, -view.mean(axis=0) @ one.weight, atol=1e-9)


@settings(max_examples=8)
@given(seed=st.integers(0, 999))
def test_variates_have_unit_variance_and_correlate_with_their_partner_alone(seed: int) -> None:
    (a, b), rho = variates(paired(30, 2, seed))
    np.testing.assert_allclose(a.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(a.T @ a / 30, np.eye(len(rho)), atol=1e-7)
    np.testing.assert_allclose(b.T @ b / 30, np.eye(len(rho)), atol=1e-7)
    np.testing.assert_allclose(a.T @ b / 30, np.diag(rho), atol=1e-7)


@settings(max_examples=8)
@given(seed=st.integers(0, 999), modalities=st.sampled_from([2, 3]), power=st.sampled_from([0.0, 1.0]))
def test_invertible_maps_of_a_modality_change_nothing_without_regularisation(
    seed: int, modalities: int, power: float
) -> None:
    views = paired(40, modalities, seed)
    rng = np.random.default_rng(seed)
    width = views[0].shape[1]
    turned = [views[0] @ (rng.normal(size=(width, width)) + 3 * np.eye(width)) + 5, *views[1:]]
    if np.linalg.cond(turned[0] - turned[0].mean(axis=0)) > 1e3:
        return
    before, rho = variates(views, power=power)
    after, same = variates(turned, power=power)
    np.testing.assert_allclose(same, rho, atol=1e-8)
    # The sign of a direction may flip, in all modalities at once.
    a, b = (np.concatenate(one) for one in (before, after))
    np.testing.assert_allclose(b * np.sign((a * b).sum(axis=0)), a, atol=1e-5)


@settings(max_examples=8)
@given(seed=st.integers(0, 999))
def test_three_modalities_are_maxvar(seed: int) -> None:
    """The variates' sums are the eigenvectors of the sum of the projections onto each modality's span."""
    views = paired(30, 3, seed)
    centred = [x - x.mean(axis=0) for x in views]
    total = sum(x @ np.linalg.pinv(x) for x in centred)
    values, vectors = np.linalg.eigh(total)
    found, rho = variates(views)
    k = len(rho)
    np.testing.assert_allclose(1 + 2 * rho, values[::-1][:k], atol=1e-8)
    assert k < 30
    assert values[::-1][k] < 1 + 1e-6, "all that correlate are there"
    together = sum(found)
    together /= np.linalg.norm(together, axis=0)
    np.testing.assert_allclose(np.abs((together * vectors[:, ::-1][:, :k]).sum(axis=0)), 1, atol=1e-6)


@settings(max_examples=8)
@given(seed=st.integers(0, 999), several=st.booleans())
def test_class_means_are_the_list_of_all_pairs(seed: int, several: bool) -> None:
    """Cluster CCA: every row of a class with every row of it, each pair written down."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(5, 12, 2)
    labels = [np.concatenate([np.arange(3), rng.integers(3, size=size)]) for size in sizes]
    shares = [hot(one, 3) for one in labels]
    if several:  # rows of two classes count half in each
        shares = [(one + hot(rng.integers(3, size=len(one)), 3)) / 2 for one in shares]
    x, y = (
        rng.normal(size=(len(one), width)) + one @ np.ones((3, width))
        for one, width in zip(shares, (4, 3), strict=True)
    )
    pairs = [
        (i, j, shares[0][i] @ shares[1][j])
        for i in range(len(x))
        for j in range(len(y))
        if shares[0][i] @ shares[1][j] > 0
    ]
    w = np.array([weight for _, _, weight in pairs])
    w /= w.sum()
    px, py = np.array([x[i] for i, _, _ in pairs]), np.array([y[j] for _, j, _ in pairs])
    mx, my = w @ px, w @ py
    weights = class_weights(np.stack([one.sum(axis=0) for one in shares]))
    a, b = moments_of(x, shares[0], weights), moments_of(y, shares[1], weights)
    np.testing.assert_allclose(a.mean, mx, atol=1e-12)
    np.testing.assert_allclose(a.own, ((px - mx) * w[:, None]).T @ (px - mx), atol=1e-12)
    np.testing.assert_allclose(b.own, ((py - my) * w[:, None]).T @ (py - my), atol=1e-12)
    np.testing.assert_allclose(a.groups.T @ b.groups, ((px - mx) * w[:, None]).T @ (py - my), atol=1e-12)


def test_several_rows_of_a_key_are_all_of_their_pairs() -> None:
    """Three captions of an image: each pair weighs a third of a key."""
    rng = np.random.default_rng(0)
    image, text, keys = rng.normal(size=(4, 3)), rng.normal(size=(9, 2)), [0, 0, 0, 1, 2, 2, 3, 3, 3]
    a = moments_of(image, np.eye(4), np.full(4, 0.25))
    b = moments_of(text, hot(keys, 4), np.full(4, 0.25))
    share = np.array([1 / keys.count(key) for key in keys])[:, None] / 4
    mean = (text * share).sum(axis=0)
    np.testing.assert_allclose(b.mean, mean)
    expected = ((image[keys] - image.mean(axis=0)) * share).T @ (text - mean)
    np.testing.assert_allclose(a.groups.T @ b.groups, expected, atol=1e-12)


def test_a_group_that_a_modality_lacks_counts_as_its_mean() -> None:
    rng = np.random.default_rng(1)
    x, y, weights = rng.normal(size=(6, 3)), rng.normal(size=(4, 2)), np.full(6, 1 / 6)
    there = [0, 2, 3, 5]
    filled = np.tile(y.mean(axis=0), (6, 1))
    filled[there] = y
    full, part = moments_of(filled, np.eye(6), weights), moments_of(y, np.eye(6)[there], weights)
    np.testing.assert_allclose(part.own, full.own, atol=1e-12)
    np.testing.assert_allclose(part.groups, full.groups, atol=1e-12)
    assert canonical([moments_of(x, np.eye(6), weights), part], 0.0, None, 0.0).correlations.max() < 1


def test_classes_weigh_by_their_pairs() -> None:
    np.testing.assert_allclose(class_weights(np.array([[2, 3, 4], [5, 1, 0]])), np.array([10, 3, 0]) / 13)
    three = class_weights(np.array([[2.0, 8, 3], [4, 8, 0], [8, 0, 3]]))
    np.testing.assert_allclose(three, np.array([16, 64, 9]) / 89)
    assert not class_weights(np.array([[1.0, 0], [0, 1]])).any()


@pytest.mark.parametrize(("dims", "kept"), [(1, 1), (2, 2), (None, 3), (50, 3)])
def test_no_more_directions_than_correlate(dims: int | None, kept: int) -> None:
    views = paired(40, 2, 3)
    found = canonical(paired_moments(views), 0.1, dims, 1.0)
    assert found.maps[0].weight.shape == (4, kept)
    assert (np.diff(found.correlations) <= 0).all()
    everything = canonical(paired_moments(views), 0.1, None, 1.0)
    np.testing.assert_allclose(everything.maps[0].weight[:, :kept], found.maps[0].weight, atol=1e-12)


def test_many_directions_are_cut() -> None:
    x = np.random.default_rng(0).normal(size=(400, MOST_DIMS + 4))
    assert len(canonical(paired_moments([x, x + 1]), 0.0, None, 0.0).correlations) == MOST_DIMS


def test_what_does_not_vary_is_left_out() -> None:
    x, y = paired(30, 2, 5)
    double = np.concatenate([x, x[:, :1], np.ones((30, 1))], axis=1)
    np.testing.assert_allclose(variates([double, y])[1], variates([x, y])[1], atol=1e-8)
    for pair in ([np.ones((30, 2)), y], [np.ones((30, 2)), np.ones((30, 3))]):
        found = canonical(paired_moments(pair), 0.1, None, 1.0)
        assert [one.weight.shape for one in found.maps] == [(2, 0), (3, 0)]
