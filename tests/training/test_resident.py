import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.methods.batches import batch_count
from xfeat.training.resident import InputScale, ResidentRows, Table, fit_scale, hot_targets

PLAIN = InputScale(torch.zeros(3), torch.ones(3))


def scale_of(features: np.ndarray, pieces: int = 1, *, standardize: bool = True) -> InputScale:
    return fit_scale(lambda: np.array_split(features, pieces), features.shape[1], standardize)


def some_rows(rows: int, index: list[int] | None = None, *, multi: bool = False, seed: int = 0) -> ResidentRows:
    """Row r of the table has features r, r + 0.25 and r + 0.5."""
    features = torch.arange(rows).float()[:, None] + torch.tensor([0, 0.25, 0.5])
    labels = torch.arange(rows) % 4
    hot = torch.nn.functional.one_hot(labels, 4) + torch.nn.functional.one_hot(torch.zeros_like(labels), 4)
    table = Table(features, hot.clamp(max=1).to(torch.uint8) if multi else labels, 4)
    return ResidentRows(table, torch.arange(rows) if index is None else torch.tensor(index), PLAIN)


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 20), pieces=st.integers(1, 5))
def test_scaling_is_the_mean_and_deviation_of_all_pieces(seed: int, rows: int, pieces: int) -> None:
    rng = np.random.default_rng(seed)
    features = (rng.normal(size=(rows, 4)) * [1, 100, 1e-3, 0] + [0, 1e4, 1, 7]).astype(np.float32)
    scale = scale_of(features, min(pieces, rows))
    exact = features.astype(np.float64)
    deviation = np.sqrt(((exact - exact.mean(0)) ** 2).mean(0))
    deviation[3] = 1  # constant
    if rows == 1:
        deviation[:] = 1
    np.testing.assert_allclose(scale.mean, exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(scale.std, deviation, rtol=1e-5)
    before = features.copy()
    np.testing.assert_allclose(
        scale(features), (features - scale.mean.numpy()) / scale.std.numpy(), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(features, before)
    assert (scale(features)[:, 3] == 0).all()
    if rows > 1:
        np.testing.assert_allclose(scale(features)[:, 0].mean(), 0, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e8, -3e5])
def test_a_constant_dimension_stays_small(value: float) -> None:
    features = np.full((1000, 1), value, np.float32)
    assert scale_of(features)(features).abs().max() <= 1e-6 * max(1.0, abs(value))


def test_no_scaling_is_the_identity_even_for_half_precision() -> None:
    features = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float16)
    scaled = scale_of(features, standardize=False)(features)
    assert scaled.dtype == torch.float32
    np.testing.assert_array_equal(scaled.numpy(), features.astype(np.float32))


def test_half_precision_is_summed_without_overflow() -> None:
    features = np.full((4000, 1), 6e4, np.float16)
    features[::2] = 5e4
    scale = scale_of(features, 3)
    assert scale.mean.item() == pytest.approx(features.astype(np.float64).mean())
    assert scale.std.item() == pytest.approx(features.astype(np.float64).std())


def test_targets_of_one_class_and_of_several_have_mass_one() -> None:
    one = hot_targets(torch.tensor([2, 0]), 3)
    assert one.tolist() == [[0, 0, 1], [1, 0, 0]]
    several = hot_targets(torch.tensor([[1, 1, 0], [0, 0, 1]], dtype=torch.uint8), 3)
    assert several.tolist() == [[0.5, 0.5, 0], [0, 0, 1]]
    assert one.dtype == several.dtype == torch.float32
    stacked = hot_targets(torch.tensor([[2, 0], [1, 1]]), 3)
    assert torch.equal(stacked[0], one)
    assert stacked.shape == (2, 2, 3)


def test_taking_rows_scales_a_copy() -> None:
    rows = some_rows(6)
    table = Table(rows.table.features.half(), rows.table.labels, 4)
    before = table.features.clone()
    scale = InputScale(torch.tensor([1.0, 2, 3]), torch.tensor([2.0, 4, 8]))
    for source in (rows.table, table):
        x, y = source.take(torch.tensor([4, 0]), scale)
        expected = (torch.tensor([[4, 4.25, 4.5], [0, 0.25, 0.5]]) - scale.mean) / scale.std
        assert x.dtype == torch.float32
        torch.testing.assert_close(x, expected)
        assert y.argmax(1).tolist() == [0, 0]
        assert torch.equal(source.features.float(), before.float())


@given(rows=st.integers(1, 500), batch_size=st.integers(1, 60))
def test_batches_are_about_the_size_asked_for(rows: int, batch_size: int) -> None:
    count = batch_count(rows, batch_size)
    assert count >= 1
    assert abs(count - rows / batch_size) <= 0.5 or (count == 1 and rows < batch_size)
    if rows % batch_size == 0:
        assert count == rows // batch_size


@pytest.mark.parametrize("multi", [False, True])
@given(rows=st.integers(1, 40), batch_size=st.integers(1, 45), seed=st.integers(0, 99))
def test_an_epoch_has_every_row_once_in_equal_batches_beside_its_own_target(
    multi: bool, rows: int, batch_size: int, seed: int
) -> None:
    found = some_rows(rows, multi=multi)
    batches = list(found.epoch(batch_size, torch.Generator().manual_seed(seed)))
    sizes = [len(x) for x, _ in batches]
    assert len(sizes) == batch_count(rows, batch_size)
    assert max(sizes) - min(sizes) <= 1
    x, y = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    numbers = x[:, 0].long()
    assert sorted(numbers.tolist()) == list(range(rows))
    torch.testing.assert_close(x[:, 1:], x[:, :1] + torch.tensor([0.25, 0.5]))
    assert torch.equal(y, found.table.take(numbers, PLAIN)[1])


def test_epochs_differ_and_the_generator_alone_decides() -> None:
    rows = some_rows(30)

    def epochs(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        return [torch.cat([x for x, _ in rows.epoch(8, generator)])[:, 0].long().tolist() for _ in range(3)]

    first = epochs(0)
    assert len({str(epoch) for epoch in first}) == 3
    torch.manual_seed(5)
    assert epochs(0) == first
    assert epochs(1) != first


def test_a_part_of_a_table_gives_no_other_row() -> None:
    rows = some_rows(20, [3, 5, 8, 13])
    assert len(rows) == 4
    (x, _), *more = rows.epoch(10, torch.Generator())
    assert sorted(x[:, 0].tolist()) == [3, 5, 8, 13]
    assert not more


@pytest.mark.parametrize("piece", [3, 4, 100])
@pytest.mark.parametrize("most", [None, 1, 4, 9, 10, 11])
def test_pieces_are_in_order_and_spread_where_few_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, piece: int, most: int | None
) -> None:
    monkeypatch.setattr("xfeat.training.resident.PIECE", piece)
    index = [1, 3, 4, 6, 7, 9, 12, 13, 14, 19]
    pieces = list(some_rows(20, index).pieces(most))
    assert max(len(x) for x, _ in pieces) <= piece
    assert max(len(x) for x, _ in pieces) - min(len(x) for x, _ in pieces) <= 1
    found = torch.cat([x for x, _ in pieces])[:, 0].long().tolist()
    if most is None or most >= 10:
        assert found == index
    else:
        assert found == [index[round(place)] for place in np.linspace(0, 9, most)]
