"""Batches of instances: who is drawn, how often, and what stands for what is not there."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from xfeat.cache import Block, Tokens
from xfeat.cache.tokens import offsets_of
from xfeat.methods.sspc import Features
from xfeat.training.paired import Column, ResidentPairs, make_column
from xfeat.training.pairing import Members, Pairing
from xfeat.training.resident import InputScale, fit_scale

CPU = torch.device("cpu")
Drawn = list[tuple[dict[str, Features], Tensor]]


def identity(dim: int) -> InputScale:
    return InputScale(torch.zeros(dim), torch.ones(dim))


def members(counts: Sequence[int]) -> Members:
    """Rows in descending order, so that a row's place is not its number."""
    starts = offsets_of(np.array(counts))
    return Members(np.arange(starts[-1])[::-1].copy(), starts)


def pairs(counts: dict[str, Sequence[int]], views: int = 1) -> ResidentPairs:
    """Every row's only feature is its number."""
    columns = {
        name: Column(torch.arange(max(1, sum(own)), dtype=torch.float32)[:, None], None, identity(1))
        for name, own in counts.items()
    }
    instances = len(next(iter(counts.values())))
    nothing = dict.fromkeys(counts, 0)
    found = Pairing(
        [str(i) for i in range(instances)], {n: members(own) for n, own in counts.items()}, nothing, nothing
    )
    return ResidentPairs(columns, found, views)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def an_epoch(rows: ResidentPairs, batch_size: int, seed: int = 0) -> Drawn:
    return list(rows.epoch(batch_size, generator(seed)))


COUNTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12)


@given(counts=COUNTS, views=st.integers(1, 3), batch_size=st.integers(2, 40), seed=st.integers(0, 99))
def test_every_instance_comes_as_often_as_asked_with_rows_of_its_own(
    counts: list[tuple[int, int, int]], views: int, batch_size: int, seed: int
) -> None:
    names = ("image", "text", "audio")
    by_name = {name: [one[place] for one in counts] for place, name in enumerate(names)}
    by_name["text"] = [max(1, count) for count in by_name["text"]]
    for own_counts in by_name.values():
        own_counts[0] = max(1, own_counts[0])  # a modality without any row is refused before
    rows = pairs(by_name, views)
    assert len(rows) == len(counts) * views
    drawn = an_epoch(rows, batch_size, seed)
    assert Counter(key for _, keys in drawn for key in keys.tolist()) == dict.fromkeys(range(len(counts)), views)
    sizes = [len(keys) for _, keys in drawn]
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == max(1, round(len(rows) / batch_size + 1e-9))
    for batch, keys in drawn:
        assert list(batch) == list(by_name)
        for name, own in by_name.items():
            values, mask, present = batch[name]
            assert mask is None
            assert (present is None) == (min(own) > 0)
            there = torch.ones(len(keys), dtype=torch.bool) if present is None else present
            assert there.tolist() == [own[key] > 0 for key in keys.tolist()]
            one = members(own)
            for key, value in zip(keys[there].tolist(), values[there, 0].tolist(), strict=True):
                assert value in one.rows[one.starts[key] : one.starts[key + 1]]
            assert torch.isfinite(values).all()


def test_captions_are_all_drawn_about_evenly() -> None:
    rows = pairs({"image": [1] * 20, "text": [1, 2, 3, 4, 5] * 4})
    luck, seen, epochs = generator(5), Counter[int](), 600
    for _ in range(epochs):
        for batch, _ in rows.epoch(8, luck):
            seen.update(batch["text"].values[:, 0].long().tolist())
    own = members([1, 2, 3, 4, 5] * 4)
    for start, stop in zip(own.starts[:-1], own.starts[1:], strict=True):
        expected = epochs / (stop - start)
        found = [seen[int(row)] for row in own.rows[start:stop]]
        assert sum(found) == epochs
        assert all(abs(count - expected) < 5 * expected**0.5 for count in found)


def test_a_generator_alone_decides_and_epochs_differ() -> None:
    rows = pairs({"image": [1] * 20, "text": [3] * 20})

    def course(seed: int) -> list[tuple[list[int], list[float]]]:
        luck = generator(seed)
        return [
            (keys.tolist(), batch["text"].values[:, 0].tolist())
            for _ in range(2)
            for batch, keys in rows.epoch(20, luck)
        ]

    assert course(1) == course(1)
    assert course(1) != course(2)
    first, second = course(1)
    assert first[0] != second[0]


def test_instances_of_one_row_take_no_luck_for_it() -> None:
    """So that what is drawn of one modality does not move with another that has nothing to draw."""
    one, two = pairs({"text": [3] * 9}), pairs({"audio": [1] * 9, "text": [3] * 9})
    for (a, keys), (b, others) in zip(an_epoch(one, 3), an_epoch(two, 3), strict=True):
        assert torch.equal(keys, others)
        assert torch.equal(a["text"].values, b["text"].values)


@given(counts=st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_pieces_are_every_row_with_its_instance(counts: list[int]) -> None:
    rows = pairs({"image": counts, "text": [1] * len(counts)}, views=2)
    found = [
        (value, key)
        for features, keys in rows.pieces("image")
        for value, key in zip(features.values[:, 0].tolist(), keys.tolist(), strict=True)
    ]
    own = members(counts)
    expected = [
        (row, key) for key in range(len(counts)) for row in own.rows[own.starts[key] : own.starts[key + 1]].tolist()
    ]
    assert sorted(found) == sorted(expected)
    assert all(features.present is None for features, _ in rows.pieces("image"))


def a_block(rows: int = 6, dtype: str = "float32") -> Block:
    rng = np.random.default_rng(0)
    offsets = offsets_of(np.array([1, 4, 2, 3, 1, 2])[:rows])
    values = (rng.normal(size=(offsets[-1], 3)) * 2 + 1).astype(dtype)
    pooled = np.add.reduceat(values.astype(np.float32), offsets[:-1]).astype(dtype)
    text = [str(row) for row in range(rows)]
    return Block(pooled, text, text, text, None, text, None, Tokens(values, offsets))


@given(rows=st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_tokens_come_padded_and_scaled_with_their_mask(rows: list[int]) -> None:
    block = a_block()
    assert block.tokens is not None
    scale = fit_scale(lambda: [block.tokens.values], 3, standardize=True)  # type: ignore[union-attr]
    column = make_column(block, scale, CPU, tokens=True)
    values, mask = column.take(torch.tensor(rows))
    assert mask is not None
    lengths = block.tokens.lengths[rows]
    assert values.shape == (len(rows), lengths.max(), 3)
    assert values.dtype == torch.float32
    assert mask.sum(1).tolist() == lengths.tolist()
    for place, row in enumerate(rows):
        start, stop = block.tokens.offsets[row : row + 2]
        expected = (block.tokens.values[start:stop] - scale.mean.numpy()) / scale.std.numpy()
        np.testing.assert_allclose(values[place, : stop - start], expected, atol=1e-6)
        assert (values[place, stop - start :] == 0).all()
        assert mask[place, : stop - start].all()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_taking_rows_leaves_the_cached_ones_as_they_are(dtype: str) -> None:
    block = a_block(dtype=dtype)
    assert block.tokens is not None
    before = block.features.copy(), block.tokens.values.copy()
    for tokens in (False, True):
        column = make_column(block, InputScale(torch.full((3,), 2.0), torch.full((3,), 4.0)), CPU, tokens=tokens)
        assert str(column.values.dtype) == f"torch.{dtype}"
        first, _ = column.take(torch.arange(6))
        again, _ = column.take(torch.arange(6))
        assert torch.equal(first, again)
        assert first.dtype == torch.float32
    np.testing.assert_array_equal(block.features, before[0])
    np.testing.assert_array_equal(block.tokens.values, before[1])


def test_pooled_vectors_are_taken_where_tokens_are_off_or_not_there() -> None:
    block = a_block()
    for one, tokens in ((block, False), (replace(block, tokens=None), True)):
        values, mask = make_column(one, identity(3), CPU, tokens=tokens).take(torch.tensor([2, 0]))
        assert mask is None
        np.testing.assert_array_equal(values, block.features[[2, 0]])


def test_absent_rows_of_a_batch_of_tokens_are_real_rows() -> None:
    block = a_block()
    columns = {
        "image": make_column(block, identity(3), CPU, tokens=False),
        "text": make_column(block, identity(3), CPU, tokens=True),
    }
    one_each, some = members([1] * 6), Members(np.array([4, 1, 2]), np.array([0, 0, 1, 2, 2, 3, 3]))
    nothing = dict.fromkeys(columns, 0)
    rows = ResidentPairs(columns, Pairing(list("abcdef"), {"image": one_each, "text": some}, nothing, nothing))
    ((batch, keys),) = an_epoch(rows, 6)
    values, mask, present = batch["text"]
    assert mask is not None
    assert present is not None
    assert present.tolist() == [key in (1, 2, 4) for key in keys.tolist()]
    assert mask.any(1).all()
    assert torch.isfinite(values).all()
