import json
import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.errors import InputError
from xfeat.sweep.space import Range, grid, merged, random_trials, read_space

LISTS = {"lr": [0.1, 0.2], "gce": [True, False, None], "classes": [["a"], ["a", "b"]]}


def test_a_grid_is_every_combination_the_last_fastest() -> None:
    expected = [dict(zip(LISTS, values, strict=True)) for values in product(*LISTS.values())]
    assert grid(read_space(LISTS)) == expected


@given(
    low=st.floats(1e-6, 10),
    width=st.floats(1e-3, 100),
    log=st.booleans(),
    step=st.none() | st.floats(1e-3, 1),
    seed=st.integers(0, 99),
)
def test_draws_lie_in_their_range(low: float, width: float, log: bool, step: float | None, seed: int) -> None:
    high = low + width
    one = Range(low=low, high=high, log=log and not step, step=step)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        value = one.draw(rng)
        assert low <= value <= high
        # To four digits, or as the bound that rounding would leave.
        assert value in (low, high, float(f"{value:.4g}"))
        if step:
            steps = (value - low) / step
            assert abs(steps - round(steps)) * step <= 1e-3 * value


@given(low=st.integers(1, 20), width=st.integers(1, 20), step=st.integers(1, 5), seed=st.integers(0, 99))
def test_whole_numbers(low: int, width: int, step: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for entry in ({"step": step}, {}, {"log": True}):
        one = Range(low=low, high=low + width, **entry, int=True)
        found = [one.draw(rng) for _ in range(20)]
        assert all(isinstance(value, int) and low <= value <= low + width for value in found)
        assert all((value - low) % entry.get("step", 1) == 0 for value in found)


def test_both_ends_and_the_logarithm() -> None:
    rng = np.random.default_rng(0)
    assert {Range(low=1, high=3, int=True).draw(rng) for _ in range(100)} == {1, 2, 3}
    drawn = [Range(low=1e-4, high=1, log=True).draw(rng) for _ in range(2000)]
    assert abs(np.mean(np.log10(drawn)) + 2) < 0.1
    assert abs(np.mean([Range(low=0, high=1).draw(rng) for _ in range(2000)]) - 0.5) < 0.03


@given(count=st.integers(1, 12), seed=st.integers(0, 99))
def test_random_trials_differ_and_more_of_them_begin_alike(count: int, seed: int) -> None:
    space = read_space({**LISTS, "epochs": {"low": 1, "high": 1000, "int": True}})
    found = random_trials(space, count, seed)
    assert len({json.dumps(one) for one in found}) == count
    assert random_trials(space, count + 3, seed)[:count] == found
    listed = read_space(LISTS)
    assert random_trials(listed, count, seed) == random_trials(listed, count + 3, seed)[:count]
    assert random_trials(space, count, seed + 1) != found


def test_a_space_of_lists_is_never_drawn_twice() -> None:
    found = random_trials(read_space(LISTS), 100, 0)
    assert len(found) == math.prod(map(len, LISTS.values()))
    assert len(random_trials(read_space({"epochs": {"low": 1, "high": 3, "int": True}}), 100, 0)) == 3
    assert sorted(map(json.dumps, found)) == sorted(json.dumps(one) for one in grid(read_space(LISTS)))


def test_values_reach_inside_and_leave_what_they_came_from() -> None:
    fixed = {"lr": 1, "modality_lr": {"text": 2}}
    assert merged(fixed, {"modality_lr.image": 3, "new.a": 4, "eta": 5}) == {
        "lr": 1,
        "modality_lr": {"text": 2, "image": 3},
        "new": {"a": 4},
        "eta": 5,
    }
    assert fixed == {"lr": 1, "modality_lr": {"text": 2}}
    with pytest.raises(InputError, match=r"space\.lr\.image: lr is not a mapping"):
        merged(fixed, {"lr.image": 1})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "list one value or more"),
        ([1, 2, 1], "each once"),
        (3, "one value is for settings"),
        ({"low": 1}, "high: Field required"),
        ({"low": 2, "high": 1}, "low must be below high"),
        ({"low": 0, "high": 1, "log": True}, "log needs a low above 0"),
        ({"low": 1, "high": 4, "log": True, "step": 1}, "and no step"),
        ({"low": 1, "high": 2.5, "int": True}, "int needs whole numbers"),
        ({"low": 1, "high": 2, "most": 3}, "most: Extra inputs"),
        ({"low": "x", "high": 2}, "low: Input should be a valid number"),
    ],
)
def test_what_is_no_space(given: object, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_space({"lr": given})
    assert str(caught.value).startswith("space.lr")
    assert "\n" not in str(caught.value)


def test_what_is_no_grid() -> None:
    with pytest.raises(InputError, match=r"space\.lr: a grid takes lists of values; for ranges choose search: random"):
        grid(read_space({"eta": [1], "lr": {"low": 1, "high": 2}}))
    with pytest.raises(InputError, match="a grid of 1,000,000 trials: 10,000 are the most"):
        grid(read_space({name: list(range(100)) for name in "abc"}))
