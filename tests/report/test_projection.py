import numpy as np
import pytest

from xfeat.report.projection import project


def blobs(rows: int, dims: int = 8) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=(rows, dims)), 8 + rng.normal(size=(rows, dims))])


def test_pca_equals_the_singular_value_decomposition() -> None:
    rows = blobs(20)
    found = project(rows)
    u, s, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found.pca), np.abs(u[:, :2] * s[:2]), atol=1e-6)
    assert found.explained == pytest.approx((s[:2] ** 2).sum() / (s**2).sum())


def test_tsne_keeps_neighbours_and_is_the_same_each_time() -> None:
    rows = blobs(20)
    flat = project(rows).tsne
    assert np.array_equal(flat, project(rows).tsne)
    distance = np.linalg.norm(flat[:, None] - flat[None], axis=2) + np.diag(np.full(40, np.inf))
    assert ((distance.argmin(axis=1) < 20) == (np.arange(40) < 20)).all()


@pytest.mark.parametrize("rows", [np.ones((5, 3)), np.array([[0.0], [1.0], [3.0]]), np.eye(2)])
def test_few_rows_or_dimensions_are_projected_too(rows: np.ndarray) -> None:
    found = project(rows)
    assert found.pca.shape == found.tsne.shape == (len(rows), 2)
    assert np.isfinite(found.pca).all()
    assert np.isfinite(found.tsne).all()
    assert 0 <= found.explained <= 1 + 1e-9
