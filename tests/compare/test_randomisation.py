from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compare.building import some_units, some_values
from xfeat.compare.randomisation import holm, is_exact, randomisation_p
from xfeat.compare.values import contributions


def slow_p(parts: list[float]) -> float:
    """Every sign pattern, one at a time."""
    found, reached, patterns = abs(sum(parts)), 0, 0
    for signs in product((1, -1), repeat=len(parts)):
        patterns += 1
        reached += abs(sum(s * part for s, part in zip(signs, parts, strict=True))) >= found - 1e-12
    return reached / patterns


@pytest.mark.parametrize("seed", range(6))
def test_few_units_are_enumerated(seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = some_units(rng, 8)
    a, b, c = (some_values(rng, units, 2) for _ in range(3))
    c = {pair: one + 0.4 for pair, one in c.items()}
    parts = np.stack([contributions(a, b, units), contributions(c, a, units), contributions(a, a, units)], axis=1)
    p = randomisation_p(parts, 256, 0)
    assert p.tolist() == [slow_p(parts[:, one].tolist()) for one in range(3)]
    assert p[2] == 1.0
    assert is_exact(8, 256)
    assert not is_exact(8, 255)
    assert not is_exact(5000, 10**9)


def test_random_patterns_come_near_the_whole_enumeration() -> None:
    rng = np.random.default_rng(0)
    parts = rng.normal(0.1, 0.3, (12, 5))
    slow = np.array([slow_p(parts[:, one].tolist()) for one in range(5)])
    p = randomisation_p(parts, 4000, 3)  # fewer than 2 ** 12 patterns
    assert np.abs(p - slow).max() < 4 * np.sqrt(0.25 / 4000)
    assert randomisation_p(parts, 4000, 3).tolist() == p.tolist()
    assert randomisation_p(parts, 4000, 4).tolist() != p.tolist()


def test_a_pattern_is_counted_as_found_by_the_formula() -> None:
    parts = np.full((40, 1), 0.01)  # only two patterns of 2 ** 40 reach so far
    assert randomisation_p(parts, 999, 0).tolist() == [1 / 1000]
    assert randomisation_p(np.zeros((40, 1)), 999, 0).tolist() == [1.0]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=9), st.integers(0, 3))
def test_which_of_two_is_first_plays_no_part(parts: list[float], seed: int) -> None:
    whole = np.array(parts)[:, None]
    p = float(randomisation_p(whole, 100, seed)[0])
    assert 0 < p <= 1
    assert float(randomisation_p(-whole, 100, seed)[0]) == p


def test_of_equal_methods_about_alpha_is_found_different_where_instances_are_the_units() -> None:
    # 400 comparisons of methods that are the same; what a method does to an instance shows in its four queries.
    rng = np.random.default_rng(11)
    instances, queries, comparisons = 40, 4, 400
    effect = rng.standard_exponential((instances, comparisons)) * rng.choice([-1, 1], (instances, comparisons))
    by_query = effect[:, None] + 0.5 * rng.normal(size=(instances, queries, comparisons))
    false = (randomisation_p(by_query.mean(axis=1), 500, 0) < 0.05).mean()
    assert 0.02 < false < 0.085
    # Queries taken for units of their own would be believed far too much.
    assert (randomisation_p(by_query.reshape(-1, comparisons), 500, 0) < 0.05).mean() > 0.2


def slow_holm(p: list[float]) -> list[float]:
    """Step down: the largest of (m - j + 1) p(j) over the ranks up to one's own."""
    order = sorted(range(len(p)), key=lambda one: p[one])
    return [min(1.0, max((len(p) - j) * p[order[j]] for j in range(order.index(one) + 1))) for one in range(len(p))]


def test_holm_by_a_known_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.8]) == pytest.approx([0.8, 0.8])
    assert holm([0.9, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_by_hand(p: list[float]) -> None:
    adjusted = holm(p)
    assert adjusted == pytest.approx(slow_holm(p))
    assert all(one >= raw for one, raw in zip(adjusted, p, strict=True))
    assert holm(p[::-1]) == pytest.approx(adjusted[::-1])
