"""Leaving items out of a ranking is ranking the others alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from xfeat.evaluation.exclusion import excluded_counts, same_identity_and_camera
from xfeat.evaluation.first_hit import first_hits
from xfeat.evaluation.last_hit import last_hits
from xfeat.evaluation.ranking import average_precision
from xfeat.evaluation.relevance import same_class

CUTS = (None, 1, 3, 50)
DTYPES = [torch.float32, torch.float64]


def junk(q_id: list[int], q_cam: list[int], g_id: list[int], g_cam: list[int]) -> list[list[bool]]:
    return [
        [own == other and cam >= 0 and cam == there for other, there in zip(g_id, g_cam, strict=True)]
        for own, cam in zip(q_id, q_cam, strict=True)
    ]


@given(seed=st.integers(0, 9999))
def test_the_mask_and_its_counts_equal_the_rule_in_words(seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = [rng.integers(low, 3, size).tolist() for size in (7, 11) for low in (0, -1)]
    mask = same_identity_and_camera(*(torch.tensor(column) for column in columns))
    expected = junk(*columns)
    assert torch.cat([mask(slice(0, 4)), mask(slice(4, 7))]).tolist() == expected
    assert excluded_counts(*(torch.tensor(column) for column in columns)).tolist() == [sum(row) for row in expected]


def tables(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Rows of +-1/2, whose scores know no rounding and tie; labels; random items to leave out, never all."""
    generator = torch.Generator().manual_seed(seed)
    queries, gallery = (torch.randint(2, (n, 4), generator=generator) - 0.5 for n in (6, 15))
    y_query, y_gallery = (torch.randint(3, (n,), generator=generator) for n in (6, 15))
    out = torch.rand(6, 15, generator=generator) < 0.4
    out[:, 0] = False
    return queries, gallery, y_query, y_gallery, out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("similarity", ["cosine", "inner product"])
@given(seed=st.integers(0, 9999), memory=st.sampled_from([1, 4000, 1 << 20]))
def test_equals_ranking_the_other_items_alone(dtype: torch.dtype, similarity: str, seed: int, memory: int) -> None:
    queries, gallery, y_query, y_gallery, out = tables(seed)
    settings = {"similarity": similarity, "dtype": dtype, "memory": memory}
    relevance = same_class(y_query, y_gallery)
    precision = average_precision(queries, gallery, relevance, CUTS, excluded=lambda rows: out[rows], **settings)
    first = first_hits(queries, gallery, relevance, excluded=lambda rows: out[rows], **settings)
    last = last_hits(queries, gallery, relevance, excluded=lambda rows: out[rows], **settings)
    for row in range(len(queries)):
        one, left = slice(row, row + 1), ~out[row]
        rest, truth = gallery[left], same_class(y_query[one], y_gallery[left])
        alone = average_precision(queries[one], rest, truth, CUTS, **settings)
        torch.testing.assert_close(precision.values[one], alone.values, rtol=0, atol=1e-12, equal_nan=True)
        torch.testing.assert_close(precision.hits[one], alone.hits, rtol=0, atol=1e-12)
        assert precision.relevant[row] == alone.relevant[0]
        for found, whole in ((first, first_hits), (last, last_hits)):
            expected = whole(queries[one], rest, truth, **settings)
            assert {k: int(v[row]) for k, v in vars(found).items()} == {k: int(v[0]) for k, v in vars(expected).items()}


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_item_opposite_to_the_query_still_ranks_before_those_left_out(dtype: torch.dtype) -> None:
    query, gallery = torch.tensor([[0.3, -0.7, 0.2]]), torch.tensor([[0.3, -0.7, 0.2], [-0.3, 0.7, -0.2]])
    out = torch.tensor([[True, False]])
    relevance = same_class(torch.tensor([1]), torch.tensor([1, 1]))
    found = average_precision(query, gallery, relevance, excluded=lambda rows: out[rows], dtype=dtype)
    assert (found.values.item(), found.relevant.item()) == (1.0, 1)
    assert first_hits(query, gallery, relevance, excluded=lambda rows: out[rows], dtype=dtype).rank().item() == 1.0


def test_a_query_with_every_relevant_item_left_out_has_none() -> None:
    rows, labels = torch.eye(3), torch.arange(3)
    out = torch.eye(3).bool()
    for find in (first_hits, last_hits):
        hit = find(rows, rows, same_class(labels, labels), excluded=lambda rows: out[rows])
        assert torch.stack([hit.above, hit.tied, hit.hits, hit.relevant]).abs().sum() == 0
    found = average_precision(rows, rows, same_class(labels, labels), excluded=lambda rows: out[rows])
    assert found.relevant.tolist() == [0, 0, 0]
    assert found.values.isnan().all()


def test_memory_bounds_the_queries_of_a_block() -> None:
    sizes = []

    def excluded(rows: slice) -> Tensor:
        sizes.append(rows.stop - rows.start)
        return torch.zeros(rows.stop - rows.start, 200).bool()

    rows, labels = torch.randn(100, 4, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 9
    gallery = torch.cat([rows, -rows])
    for find in (first_hits, last_hits):
        find(rows, gallery, same_class(labels[:100], labels), excluded=excluded, memory=30_000)
        assert (max(sizes), sum(sizes)) == (30_000 // (15 * 200), 100)
        sizes.clear()
