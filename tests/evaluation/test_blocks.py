from typing import Any

import pytest
import torch
from torch import Tensor

from xfeat.evaluation.blocks import score_blocks
from xfeat.evaluation.relevance import same_class
from xfeat.evaluation.similarity import Similarity, short_rows, unit_rows

DTYPES = [torch.float32, torch.float64]


def whole(memory: int, **chosen: Any) -> tuple[list[int], Tensor, Tensor]:
    """Sizes of the blocks, and the blocks on top of each other."""
    generator = torch.Generator().manual_seed(0)
    queries, gallery = (torch.randn(n, 5, generator=generator) for n in (23, 23))
    labels = torch.arange(23) % 4
    settings: dict[str, Any] = {"similarity": "cosine", "dtype": torch.float64, **chosen}
    sizes, scores, truths, last = [], [], [], 0
    blocks = score_blocks(
        queries, gallery, same_class(labels, labels.flip(0)), bytes_per_score=10, memory=memory, **settings
    )
    for rows, block, truth in blocks:
        assert rows.start == last
        last = rows.stop
        assert block.is_contiguous()
        sizes.append(len(block))
        scores.append(block.clone())
        truths.append(truth.clone())
        block.fill_(7.0)  # it is the caller's
    return sizes, torch.cat(scores), torch.cat(truths)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("similarity", ["cosine", "inner product"])
@pytest.mark.parametrize("memory", [1, 10 * 23 * 7, 1 << 20])
def test_blocks_are_the_whole_table(memory: int, similarity: Similarity, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, gallery = (torch.randn(n, 5, generator=generator) for n in (23, 23))
    sizes, scores, truth = whole(memory, similarity=similarity, dtype=dtype)
    assert max(sizes) == min(23, max(1, memory // (10 * 23)))
    scaled = unit_rows if similarity == "cosine" else short_rows
    torch.testing.assert_close(scores, scaled(queries, dtype) @ scaled(gallery, dtype).T)
    labels = torch.arange(23) % 4
    assert torch.equal(truth, labels[:, None] == labels.flip(0))


@pytest.mark.parametrize("memory", [1, 10 * 23 * 7, 1 << 20])
def test_items_left_out_are_below_all_and_relevant_to_none(memory: int) -> None:
    _, scores, truth = whole(memory)
    out = torch.rand(23, 23, generator=torch.Generator().manual_seed(1)) < 0.3
    kept = truth.clone()
    _, left, left_truth = whole(memory, excluded=lambda rows: out[rows])
    torch.testing.assert_close(left, scores.masked_fill(out, -1.5))
    assert torch.equal(left_truth, truth & ~out)
    own = torch.eye(23, dtype=torch.bool)
    _, left, left_truth = whole(memory, exclude_self=True)
    torch.testing.assert_close(left, scores.masked_fill(own, -1.5))
    assert torch.equal(left_truth, truth & ~own)
    assert torch.equal(truth, kept)


def test_a_table_of_relevance_is_not_changed() -> None:
    table = torch.ones(6, 6, dtype=torch.bool)
    for _ in score_blocks(
        torch.eye(6),
        torch.eye(6),
        lambda rows: table[rows],
        similarity="cosine",
        excluded=lambda rows: torch.eye(6).bool()[rows],
        exclude_self=True,
        dtype=torch.float32,
        bytes_per_score=5,
        memory=100,
    ):
        pass
    assert bool(table.all())
