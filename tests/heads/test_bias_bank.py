"""Running statistics against the recursion written out with numbers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.heads.bias_bank import MOMENTUM, BiasBank


@given(seed=st.integers(0, 10**6), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_statistics_are_running_averages_that_start_with_the_first_batch(seed: int, sizes: list[int]) -> None:
    g = torch.Generator().manual_seed(seed)
    bank = BiasBank(2, 3).double()
    means: list[list[float]] = [[0.0] * 3]
    stds: list[list[float]] = [[0.0] * 3]
    for number, size in enumerate(sizes):
        rows = torch.randn(size, 3, generator=g, dtype=torch.float64)
        bank.update(1, rows)
        share = MOMENTUM if number else 1.0
        columns = rows.T.tolist()
        batch = [sum(column) / size for column in columns]
        spread = [
            (sum((value - middle) ** 2 for value in column) / size) ** 0.5
            for column, middle in zip(columns, batch, strict=True)
        ]
        means.append([old + share * (new - old) for old, new in zip(means[-1], batch, strict=True)])
        stds.append([old + share * (new - old) for old, new in zip(stds[-1], spread, strict=True)])
    assert bank.mean[1].tolist() == pytest.approx(means[-1], abs=1e-12)
    assert bank.std[1].tolist() == pytest.approx(stds[-1], abs=1e-12)
    assert bank.seen.tolist() == [False, True]
    assert not bank.mean[0].any()
    assert not bank.std[0].any()


def test_a_drawn_bias_deviates_by_the_noise() -> None:
    bank = BiasBank(3, 2)
    bank.update(0, torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    bank.update(2, torch.tensor([[5.0, 5.0]]))
    assert bank.means().tolist() == [[[2.0, 4.0]], [[0.0, 0.0]], [[5.0, 5.0]]]
    noise = torch.tensor([[[9.0, 9.0], [9.0, 9.0]], [[0.0, 0.0], [1.0, -1.0]]])
    assert bank.draw(torch.tensor([2, 0]), noise).tolist() == [[[5.0, 5.0], [5.0, 5.0]], [[2.0, 4.0], [3.0, 2.0]]]
    assert bank.draw(torch.tensor([1]), noise[:1]).tolist() == [[[0.0, 0.0], [0.0, 0.0]]]


def test_it_is_state_and_takes_no_gradient() -> None:
    bank = BiasBank(1, 2)
    bank.update(0, torch.ones(3, 2, requires_grad=True))
    assert not bank.mean.requires_grad
    assert set(bank.state_dict()) == {"mean", "std", "seen"}
    assert not list(bank.parameters())
