"""Batches on the device against the rows that they were drawn from."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.methods.batches import batch_count
from xfeat.training.class_rows import Column, ResidentClasses
from xfeat.training.resident import InputScale


def column(labels: list[int], width: int = 3, *, dtype: torch.dtype = torch.float32) -> Column:
    """Row i holds i in every place, scaled by (x - 1) / 2."""
    values = torch.arange(len(labels), dtype=dtype)[:, None].expand(-1, width).contiguous()
    return Column(values, np.array(labels, dtype=np.int64), InputScale(torch.ones(width), torch.full((width,), 2.0)))


COLUMNS = {"image": column([0, 0, 1, 1, 1, 2, 3, 3]), "text": column([1, 3, 1, 0], width=2, dtype=torch.float16)}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shapes_are_told() -> None:
    rows = ResidentClasses(COLUMNS, 5, 2, 2)
    assert rows.dims == {"image": 3, "text": 2}
    assert rows.rows == {"image": 8, "text": 4}
    assert rows.known.tolist() == [[True, True, True, True, False], [True, True, False, True, False]]
    assert rows.device == torch.device("cpu")


@given(p=st.integers(1, 6), s=st.integers(1, 4), seed=st.integers(0, 1000))
def test_batches_hold_scaled_rows_of_the_classes_they_were_drawn_for(p: int, s: int, seed: int) -> None:
    rows = ResidentClasses(COLUMNS, 5, p, s)
    batches = list(rows.epoch(0, generator(seed)))
    drawn = min(p, 4)  # nobody has a row of class 4
    assert len(rows) == len(batches) * drawn * s
    # The loop counts batches by their size.
    assert batch_count(len(rows), drawn * s) == len(batches)
    for x, y in batches:
        assert list(x) == ["image", "text"]
        wanted = Counter(y.tolist())
        assert set(wanted.values()) == {s}
        for name, one in x.items():
            has = set(COLUMNS[name].labels.tolist())
            assert Counter(one.labels.tolist()) == {label: s for label in wanted if label in has}
            assert one.values.dtype == torch.float32
            assert one.values.shape == (len(one.labels), rows.dims[name])
            origin = one.values[:, 0] * 2 + 1
            assert torch.equal(one.values, one.values[:, :1].expand_as(one.values))
            assert COLUMNS[name].labels[origin.long().numpy()].tolist() == one.labels.tolist()


def test_epochs_follow_the_generator() -> None:
    rows = ResidentClasses(COLUMNS, 5, 2, 2)

    def drawn(seed: int) -> list[float]:
        source = generator(seed)
        return [v for _ in range(2) for x, _ in rows.epoch(4, source) for v in x["image"].values[:, 0].tolist()]

    first = drawn(0)
    assert drawn(0) == first
    assert drawn(1) != first
    assert first[: len(first) // 2] != first[len(first) // 2 :], "every epoch has an order of its own"


def test_features_are_left_as_they_were() -> None:
    columns = {name: column(one.labels.tolist()) for name, one in COLUMNS.items()}
    before = {name: one.features.clone() for name, one in columns.items()}
    rows = ResidentClasses(columns, 4, 4, 3)
    for _ in rows.epoch(0, generator()):
        pass
    for name, one in columns.items():
        whole = one.all()
        assert torch.equal(one.features, before[name])
        torch.testing.assert_close(whole.values, (before[name] - 1) / 2)
        assert whole.labels.tolist() == one.labels.tolist()


def test_without_rows_there_are_no_batches() -> None:
    with pytest.raises(ValueError, match="no rows"):
        ResidentClasses({"image": column([])}, 3, 2, 2)
