import json
from typing import Any

import numpy as np
import pytest

from tests.compare.building import scored, slow_mean
from xfeat.compare.comparison import Comparison, compared
from xfeat.compare.randomisation import holm, randomisation_p
from xfeat.compare.scoring import Scored, units_of
from xfeat.compare.values import contributions, effect_size

INSTANCES = 30
KEYS = {name: [f"i{row}" for row in range(INSTANCES)] for name in ("image", "text")}


def run(label: str, level: float = 0.5, seeds: int = 3, noise: float = 0.1, **options: Any) -> Scored:
    rng = np.random.default_rng(sum(map(ord, label)))
    pairs = ("image->text", "text->image")
    hard = np.random.default_rng(0).normal(size=INSTANCES) / 10
    values = {pair: level + hard + noise * rng.normal(size=(seeds, INSTANCES)) for pair in pairs}
    return scored(label, values, **{"keys": KEYS, **options})


@pytest.fixture(scope="module")
def runs() -> list[Scored]:
    return [run("poor", 0.3), run("good", 0.6, seeds=2), run("same", 0.6, seeds=1)]


@pytest.fixture(scope="module")
def result(runs: list[Scored]) -> Comparison:
    return compared(runs, resamples=2000)


def test_runs_are_sorted_and_described(runs: list[Scored], result: Comparison) -> None:
    by_label = {one.label: one for one in runs}
    assert {result.runs[0].label, result.runs[1].label} == {"good", "same"}
    assert result.best is result.runs[0]
    assert result.runs[2].label == "poor"
    for one in result.runs:
        values = by_label[one.label].values
        means = [np.mean([values[pair][seed].mean() for pair in values]) for seed in range(len(one.seeds))]
        assert one.mean == pytest.approx(slow_mean(values), abs=1e-12)
        assert one.by_seed == pytest.approx(means)
        assert one.interval[0] < one.mean < one.interval[1]
        for pair, own in one.pairs.items():
            assert own.mean == pytest.approx(values[pair].mean())
            assert (own.queries, own.chance) == (INSTANCES, 0.1)
        if len(means) == 1:
            assert one.spread is None
            assert all(own.spread is None for own in one.pairs.values())
        else:
            assert one.spread == pytest.approx(np.std(means, ddof=1))
            pair, own = next(iter(one.pairs.items()))
            assert own.spread == pytest.approx(np.std(values[pair].mean(axis=1), ddof=1))
    assert (result.units, result.unit, result.exact) == (INSTANCES, "instance", False)
    assert result.rows == {"image": INSTANCES, "text": INSTANCES}
    assert result.chance == pytest.approx(0.1)
    assert "similarity" in result.protocol


def test_every_pair_is_tested_once_and_corrected_for_all(runs: list[Scored], result: Comparison) -> None:
    by_label, units = {one.label: one for one in runs}, units_of(runs[0])
    order = [one.label for one in result.runs]
    assert [(one.a, one.b) for one in result.comparisons] == [
        (order[0], order[1]), (order[0], order[2]), (order[1], order[2]),
    ]  # fmt: skip
    for one in result.comparisons:
        parts = contributions(by_label[one.a].values, by_label[one.b].values, units)
        assert one.difference == pytest.approx(slow_mean(by_label[one.a].values) - slow_mean(by_label[one.b].values))
        assert one.difference >= 0
        assert one.p == randomisation_p(parts[:, None], 2000, 0)[0]
        assert one.d_z == effect_size(parts)
        assert one.won + one.tied + one.lost == pytest.approx(1)
        assert one.interval[0] <= one.difference <= one.interval[1]
    assert [one.p_holm for one in result.comparisons] == holm([one.p for one in result.comparisons])
    assert [one.real for one in result.comparisons] == [False, True, True]
    assert result.versus("poor", "good") is result.versus("good", "poor") is not None
    assert result.versus("good", "good") is None


def test_all_against_one(runs: list[Scored]) -> None:
    result = compared(runs, against="same", resamples=500)
    assert {(one.a, one.b) for one in result.comparisons} == {("good", "same"), ("poor", "same")}
    assert [one.p_holm for one in result.comparisons] == holm([one.p for one in result.comparisons])
    poor = result.versus("poor", "same")
    assert poor is not None
    assert poor.difference < 0
    assert poor.real


def test_swapping_two_runs_negates_the_difference_and_keeps_p(runs: list[Scored]) -> None:
    a, b = (compared(runs, against=name, resamples=500) for name in ("poor", "good"))
    one, other = a.versus("poor", "good"), b.versus("poor", "good")
    assert one is not None
    assert other is not None
    assert (one.a, other.a) == ("good", "poor")
    assert one.difference == pytest.approx(-other.difference)
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
    assert one.p == other.p
    assert (one.won, one.lost) == (other.lost, other.won)
    assert one.d_z == pytest.approx(-(other.d_z or 0))


def test_the_order_of_the_runs_plays_no_part(runs: list[Scored]) -> None:
    one, other = (compared(given, resamples=300) for given in (runs, runs[::-1]))
    assert one.to_json() == other.to_json()
    assert compared(runs, resamples=300, seed=1).to_json() != one.to_json()


@pytest.mark.parametrize("seeds", [1, 3])
def test_equal_runs_do_not_differ(seeds: int) -> None:
    first = run("first", seeds=seeds)
    values = first.values
    result = compared([first, scored("second", values, keys=KEYS)], resamples=500)
    (versus,) = result.comparisons
    assert (versus.difference, versus.p, versus.p_holm, versus.d_z, versus.real) == (0.0, 1.0, 1.0, 0.0, False)
    assert (versus.won, versus.tied, versus.lost) == (0.0, 1.0, 0.0)
    assert versus.interval == (0.0, 0.0) if seeds == 1 else versus.interval[0] < 0 < versus.interval[1]


def test_a_small_p_is_not_enough_where_seeds_differ_as_much() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(size=INSTANCES) / 10
    luck = np.array([-0.2, 0.0, 0.3])[:, None]
    lucky = scored("lucky", {"image->text": 0.5 + hard + luck, "text->image": 0.5 + hard + luck}, keys=KEYS)
    plain = scored("plain", dict.fromkeys(lucky.values, [0.49 + hard] * 3), keys=KEYS)
    (versus,) = compared([lucky, plain], resamples=1000).comparisons
    assert versus.p_holm < 0.05  # these three runs are better on nearly every instance
    assert versus.interval[0] < 0 < versus.interval[1]  # others of the same methods need not be
    assert not versus.real


def test_groups_whose_seeds_are_equal_are_told() -> None:
    sure = scored("sure", {pair: np.repeat(one[:1], 4, axis=0) for pair, one in run("x").values.items()}, keys=KEYS)
    found = {one.label: one for one in compared([sure, run("y"), run("z", seeds=1)], resamples=100).runs}
    assert [found[name].deterministic for name in ("sure", "y", "z")] == [True, False, False]
    assert found["sure"].spread == 0.0


def test_ranks_are_better_when_low() -> None:
    high, low = (
        scored(name, {"a->b": [[at, at + 1.0]], "b->a": [[at]]}, metric="MeanR") for name, at in (("h", 7), ("l", 2))
    )
    result = compared([high, low], resamples=50)
    assert result.lower_is_better
    assert [one.label for one in result.runs] == ["l", "h"]
    (versus,) = result.comparisons
    assert (versus.difference, versus.won, versus.lost) == (-5.0, 1.0, 0.0)
    assert (result.exact, result.unit, result.units) == (True, "item", 3)
    assert versus.p == 2 / 8


def test_json_is_plain(result: Comparison) -> None:
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert list(document) == [
        "protocol", "metric", "lower_is_better", "chance", "rows", "units", "unit", "exact", "alpha", "resamples",
        "seed", "against", "runs", "comparisons",
    ]  # fmt: skip
    assert list(document["runs"][0]) == [
        "label", "path", "method", "similarity", "seeds", "mean", "spread", "interval", "by_seed", "deterministic",
        "pairs", "means",
    ]  # fmt: skip
    assert list(document["runs"][0]["pairs"]["image->text"]) == ["mean", "spread", "chance", "queries"]
    assert list(document["comparisons"][0]) == [
        "a", "b", "difference", "interval", "p", "p_holm", "d_z", "won", "tied", "lost", "real",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("instances", "resamples", "decidable"), [(6, 100, True), (5, 100, False), (30, 20, True), (30, 19, False)]
)
def test_whether_anything_could_be_real(instances: int, resamples: int, decidable: bool) -> None:
    keys = {name: [f"i{row}" for row in range(instances)] for name in ("image", "text")}
    levels = {"low": 0.1, "high": 0.9}
    values = {
        label: {pair: [[level] * instances] for pair in ("image->text", "text->image")}
        for label, level in levels.items()
    }
    result = compared([scored(label, own, keys=keys) for label, own in values.items()], resamples=resamples)
    assert result.exact == (instances < 10)
    assert result.decidable == result.comparisons[0].real == decidable
