from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.evaluation.similarity import Scores, first_equals, short_rows, unit_rows


@given(seed=st.integers(0, 999), factor=st.floats(1e-30, 1e30))
def test_unit_rows_equal_the_literal_formula_whatever_the_scale(seed: int, factor: float) -> None:
    rows = np.random.default_rng(seed).normal(size=(5, 7))
    expected = rows / np.sqrt((rows**2).sum(1, keepdims=True))
    units = unit_rows(torch.from_numpy(rows * factor), torch.float64)
    np.testing.assert_allclose(units, expected, rtol=1e-14, atol=1e-15)


def test_zero_rows_stay_zero_and_tiny_and_huge_rows_do_not() -> None:
    rows = torch.tensor([[0.0, -0.0], [3e-45, 0.0], [3e38, 3e38]])
    units = unit_rows(rows)
    torch.testing.assert_close(units, torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5**0.5, 0.5**0.5]]))
    assert not torch.signbit(units).any()


def test_rows_beyond_one_part_are_scaled_too() -> None:
    rows = torch.full((8195, 2), 2.0, dtype=torch.float16)
    torch.testing.assert_close(unit_rows(rows), torch.full((8195, 2), 0.5**0.5))


def test_scores_equal_the_plain_product() -> None:
    queries, gallery = unit_rows(torch.randn(9, 6)), unit_rows(torch.randn(11, 6))
    torch.testing.assert_close(Scores(queries, gallery).block(slice(2, 7)), queries[2:7] @ gallery.T)


@pytest.mark.parametrize("dims", [64, 513])
@pytest.mark.parametrize("size", [7, 50, 1003])
def test_equal_rows_get_equal_scores(size: int, dims: int) -> None:
    """With a plain matrix product, several of these sizes differ in the last bit between equal columns."""
    generator = torch.Generator().manual_seed(0)
    two = torch.randn(2, dims, generator=generator)
    which = torch.randint(2, (size,), generator=generator)
    which[:2] = torch.tensor([0, 1])
    scores = Scores(unit_rows(torch.randn(40, dims, generator=generator)), unit_rows(two[which])).block(slice(40))
    assert torch.equal(scores, scores[:, :2][:, which])
    assert not torch.equal(scores[:, 0], scores[:, 1])


def test_reduced_precision_of_training_does_not_reach_the_scores() -> None:
    queries, gallery = unit_rows(torch.randn(64, 256)), unit_rows(torch.randn(64, 256))
    exact = queries.double() @ gallery.double().T
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = Scores(queries, gallery).block(slice(64))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(scores.double(), exact, rtol=0, atol=1e-6)


@given(seed=st.integers(0, 999), factor=st.sampled_from([1e-30, 1.0, 1e25]))
def test_rows_shortened_by_one_factor_keep_the_order_of_inner_products(seed: int, factor: float) -> None:
    g = torch.Generator().manual_seed(seed)
    queries = torch.randn(4, 3, generator=g, dtype=torch.float64)
    gallery = factor * torch.randn(9, 3, generator=g, dtype=torch.float64)
    short = short_rows(gallery, torch.float64)
    assert short.norm(dim=1).max().item() == pytest.approx(1)
    ratios = short / gallery
    torch.testing.assert_close(ratios, ratios[0, 0].expand_as(ratios))
    assert torch.equal((queries @ short.T).argsort(dim=1), (queries @ gallery.T).argsort(dim=1))


def test_rows_of_zeros_stay() -> None:
    assert torch.equal(short_rows(torch.zeros(2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize("digest", [None, lambda row: 0, lambda row: int(row[0]) % 2])
@given(seed=st.integers(0, 999), rows=st.integers(1, 30), values=st.integers(2, 9))
def test_first_equals_are_found_whatever_the_digests(
    digest: Callable[[Any], int] | None, seed: int, rows: int, values: int
) -> None:
    """Rows of one digest that differ are told apart."""
    table = torch.from_numpy(np.random.default_rng(seed).integers(values, size=(rows, 2))).float()
    whole = table.tolist()
    expected = [whole.index(row) for row in whole]
    found = first_equals(table) if digest is None else first_equals(table, digest)
    assert (list(range(rows)) if found is None else found.tolist()) == expected
    assert (found is None) == (expected == list(range(rows)))


@pytest.mark.parametrize("copies", [2, 30])
def test_few_and_many_equal_rows_are_scored_alike(copies: int) -> None:
    generator = torch.Generator().manual_seed(0)
    gallery = unit_rows(torch.randn(50, 65, generator=generator))
    where = torch.randperm(50, generator=generator)[:copies]
    gallery[where] = gallery[where[:1]]
    queries = unit_rows(torch.randn(9, 65, generator=generator))
    scores = Scores(queries, gallery).block(slice(9))
    torch.testing.assert_close(scores, queries @ gallery.T)
    assert torch.equal(scores[:, where], scores[:, where[:1]].expand(-1, copies))


def test_rows_near_the_largest_float_keep_their_order() -> None:
    largest = torch.finfo(torch.float64).max
    rows = torch.tensor([[largest, largest], [largest, 0.0], [0.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[0.5**0.5, 0.5**0.5], [0.5**0.5, 0.0], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(short_rows(rows, torch.float64), expected)
