import numpy as np
import pytest

from tests.compare.building import some_units, some_values
from xfeat.compare.bootstrap import bootstrap_means, interval, seed_draws, unit_draws
from xfeat.compare.values import Units, Values, pair_mean


def slow_sample(values: Values, units: Units, counts: np.ndarray, seeds: list[int]) -> float:
    """Write out every drawn query of every drawn seed."""
    pairs = []
    for pair, of in units.of.items():
        drawn = [q for unit, count in enumerate(counts) for _ in range(int(count)) for q in np.flatnonzero(of == unit)]
        if drawn:
            pairs.append(np.mean([values[pair][seed][q] for seed in seeds for q in drawn]))
    return float(np.mean(pairs)) if pairs else float("nan")


@pytest.mark.parametrize("seed", range(3))
def test_samples_written_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = some_units(rng)
    runs = {"a": some_values(rng, units, 3), "b": some_values(rng, units, 1)}
    found = bootstrap_means(runs, units, 40, seed)
    counts = np.concatenate(list(unit_draws(units.strata, 40, seed)))
    for name, values in runs.items():
        seeds = seed_draws(name, len(values["image->text"]), 40, seed)
        slow = [slow_sample(values, units, counts[one], seeds[one].tolist()) for one in range(40)]
        assert found[name] == pytest.approx(slow, abs=1e-12)


def test_pairs_with_the_same_queries_are_as_good_as_each_alone() -> None:
    rng = np.random.default_rng(1)
    of = np.arange(5)
    units = Units({"a->b": of, "a->c": of, "b->a": np.array([5, 6])}, np.array([0] * 5 + [1] * 2))
    values = some_values(rng, units, 2)
    counts = np.concatenate(list(unit_draws(units.strata, 20, 0)))
    seeds = seed_draws("run", 2, 20, 0)
    slow = [slow_sample(values, units, counts[one], seeds[one].tolist()) for one in range(20)]
    assert bootstrap_means({"run": values}, units, 20, 0)["run"] == pytest.approx(slow, abs=1e-12)


def test_each_stratum_keeps_its_size() -> None:
    strata = np.array([2, 0, 2, 2, 0, 1])
    counts = np.concatenate(list(unit_draws(strata, 500, 0)))
    assert counts.shape == (500, 6)
    assert (counts[:, strata == 0].sum(axis=1) == 2).all()
    assert (counts[:, strata == 1] == 1).all()
    assert (counts[:, strata == 2].sum(axis=1) == 3).all()
    assert counts.mean(axis=0) == pytest.approx(1.0, abs=0.15)


def test_samples_without_any_query_do_not_count() -> None:
    units = Units({"a->b": np.array([0])}, np.zeros(2, dtype=np.int64))  # the other unit has no query here
    samples = bootstrap_means({"run": {"a->b": np.array([[0.25]])}}, units, 50, 0)["run"]
    assert 0 < np.isnan(samples).sum() < 50
    assert interval(samples, 0.05) == (0.25, 0.25)


def test_the_order_of_runs_plays_no_part_and_the_seed_does() -> None:
    rng = np.random.default_rng(0)
    units = some_units(rng)
    a, b = some_values(rng, units, 3), some_values(rng, units, 3)
    one, other = (bootstrap_means(runs, units, 30, 0) for runs in ({"a": a, "b": b}, {"b": b, "a": a}))
    assert one["a"].tolist() == other["a"].tolist()
    assert one["b"].tolist() == other["b"].tolist()
    assert bootstrap_means({"a": a}, units, 30, 1)["a"].tolist() != one["a"].tolist()


def test_spread_of_seeds_is_in_the_interval() -> None:
    units = Units({"a->b": np.arange(50)}, np.zeros(50, dtype=np.int64))
    rng = np.random.default_rng(0)
    queries, seeds = 0.1 * rng.normal(size=50), np.array([-0.3, 0.0, 0.1, 0.2])
    values = {"a->b": 0.5 + queries + seeds[:, None]}
    samples = bootstrap_means({"run": values}, units, 4000, 0)["run"]
    # Both sources add up: variances over queries and over seeds, each by its number.
    wanted = queries.var() / 50 + seeds.var() / 4
    assert samples.var() == pytest.approx(wanted, rel=0.1)
    assert samples.mean() == pytest.approx(pair_mean(values).mean(), abs=0.01)
    low, high = interval(samples, 0.05)
    assert low == pytest.approx(np.quantile(samples, 0.025))
    assert high == pytest.approx(np.quantile(samples, 0.975))


def test_progress_is_told() -> None:
    rng = np.random.default_rng(0)
    units, told = some_units(rng), []
    bootstrap_means({"a": some_values(rng, units, 1)}, units, 30, 0, told.append)
    assert sum(told) == 30
