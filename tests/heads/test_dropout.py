import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.heads import dropout_mask


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(p=st.floats(0.0, 0.999), seed=st.integers(0, 999), rows=st.integers(0, 9), width=st.integers(0, 13))
def test_values_are_zero_or_what_keeps_the_mean(p: float, seed: int, rows: int, width: int) -> None:
    mask = dropout_mask(rows, width, p, generator(seed))
    assert mask.shape == (rows, width)
    assert mask.dtype == torch.float32
    dropped = min(255, round(256 * p))
    kept = torch.tensor(256 / (256 - dropped)).item()
    assert set(mask.unique().tolist()) <= {0.0, kept}
    if dropped == 0:
        assert (mask == 1).all()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1 / 256, 255 / 256])
def test_the_share_of_zeros_and_the_mean_are_right(p: float) -> None:
    mask = dropout_mask(1001, 999, p, generator())
    level = round(256 * p) / 256
    deviation = (level * (1 - level) / mask.numel()) ** 0.5
    assert (mask == 0).float().mean().item() == pytest.approx(level, abs=5 * deviation)
    assert mask.double().mean().item() == pytest.approx(1, abs=5 * deviation / (1 - level))


def test_p_is_rounded_to_a_multiple_of_one_256th() -> None:
    for level in (1, 77, 128, 255):
        exact = dropout_mask(50, 60, level / 256, generator())
        for near in (-0.4, 0.4):
            if level + near < 255:
                assert torch.equal(dropout_mask(50, 60, (level + near) / 256, generator()), exact)
        if level < 255:
            assert not torch.equal(dropout_mask(50, 60, (level + 1) / 256, generator()), exact)
    assert (dropout_mask(50, 60, 0.4 / 256, generator()) == 1).all()
    assert (dropout_mask(50, 60, 0.9999, generator()) == dropout_mask(50, 60, 255 / 256, generator())).all()


def test_neither_rows_nor_columns_nor_neighbours_depend_on_each_other() -> None:
    dropped = (dropout_mask(4096, 72, 0.5, generator()) == 0).float()
    # Every column, and every pair of the eight values that one random number decides.
    assert (dropped.mean(0) - 0.5).abs().max() < 0.05
    eights = dropped.reshape(-1, 8) - 0.5
    correlation = eights.T @ eights / len(eights) * 4
    assert (correlation - torch.eye(8)).abs().max() < 0.03


@given(seed=st.integers(0, 999), rows=st.integers(1, 9), width=st.integers(1, 40))
def test_the_generator_alone_decides(seed: int, rows: int, width: int) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = dropout_mask(rows, width, 0.5, generator(seed))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(dropout_mask(rows, width, 0.5, generator(seed)), first)


def test_seeds_and_later_draws_differ() -> None:
    source = generator()
    first, second = (dropout_mask(7, 9, 0.5, source) for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first, dropout_mask(7, 9, 0.5, generator(1)))


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_p_outside_its_range_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="p must lie"):
        dropout_mask(2, 3, p, generator())
