import numpy as np
import pytest

from tests.compare.building import slow_mean, some_units, some_values
from xfeat.compare.values import Units, contributions, effect_size, pair_mean, sample_deviation, shares


@pytest.mark.parametrize("seed", range(5))
def test_what_units_add_is_the_difference_of_the_means(seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = some_units(rng)
    a, b = some_values(rng, units, 3), some_values(rng, units, 2)
    parts = contributions(a, b, units)
    assert pair_mean(a).mean() == pytest.approx(slow_mean(a), abs=1e-12)
    assert parts.sum() == pytest.approx(slow_mean(a) - slow_mean(b), abs=1e-12)
    for unit, part in enumerate(parts):
        slow = 0.0
        for pair, of in units.of.items():
            for query in np.flatnonzero(of == unit):
                slow += (a[pair][:, query].mean() - b[pair][:, query].mean()) / len(of) / len(units.of)
        assert part == pytest.approx(slow, abs=1e-12)
    assert contributions(b, a, units) == pytest.approx(-parts)


def test_means_by_seed() -> None:
    values = {"a->b": np.array([[1.0, 0.0], [0.0, 0.0]]), "b->a": np.array([[1.0], [0.5]])}
    assert pair_mean(values).tolist() == [0.75, 0.25]
    assert sample_deviation(pair_mean(values)) == pytest.approx(0.5 / 2**0.5)
    assert sample_deviation([0.3]) is None
    assert sample_deviation(np.full(10, 0.25483264600296635)) == 0


def test_effect_size_is_the_mean_by_the_sample_deviation() -> None:
    parts = np.array([0.1, 0.2, -0.05, 0.3])
    assert effect_size(parts) == pytest.approx(np.mean(parts) / np.std(parts, ddof=1))
    assert effect_size(1000 * parts) == pytest.approx(effect_size(parts))
    assert effect_size(-parts) == pytest.approx(-(effect_size(parts) or 0))
    assert effect_size(np.zeros(3)) == 0.0
    assert effect_size(np.full(3, 0.1)) is None
    assert effect_size(np.array([0.1])) is None


def test_shares_of_queries_after_averaging_over_seeds() -> None:
    a = {"a->b": np.array([[0.9, 0.1, 0.5], [0.7, 0.1, 0.5]]), "b->a": np.array([[0.2], [0.2]])}
    b = {"a->b": np.array([[0.5, 0.3, 0.5]]), "b->a": np.array([[0.2 + 1e-15]])}
    assert shares(a, b) == (0.25, 0.5, 0.25)
    assert shares(b, a) == (0.25, 0.5, 0.25)
    better = {pair: one + 0.05 for pair, one in a.items()}
    assert shares(better, a) == (1.0, 0.0, 0.0)
    assert shares(better, a, lower=True) == (0.0, 0.0, 1.0)


def test_units_are_shared_between_pairs() -> None:
    units = Units({"a->b": np.array([0, 1]), "b->a": np.array([0, 1])}, np.zeros(2, dtype=np.int64))
    parts = contributions(
        {"a->b": np.array([[1.0, 0.0]]), "b->a": np.array([[1.0, 0.0]])},
        {"a->b": np.zeros((1, 2)), "b->a": np.zeros((1, 2))},
        units,
    )
    assert parts.tolist() == [0.5, 0.0]
