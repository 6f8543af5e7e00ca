"""The settings that a sweep tries: values that are listed, and ranges that values are drawn from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from xfeat.cache.fingerprint import canonical_json
from xfeat.errors import InputError

MOST_TRIALS = 10_000
DRAWS = 50  # for a trial, at most, until it is one that was not drawn before
DIGITS = 4  # of a number that is drawn: the settings that win are to be read and typed
Values = dict[str, Any]
"""A value for every setting of a space; a dot in a name reaches inside: ``modality_lr.image``."""


@dataclass(frozen=True)
class Choice:
    """Values that are listed, all different."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        """One of them, each as likely as another."""
        return self.values[int(rng.integers(len(self.values)))]


class Range(BaseModel):
    """Numbers from ``low`` to ``high``, both included.

    Raises:
        pydantic.ValidationError: bounds or a step that do not fit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    low: float
    high: float
    log: bool = False
    step: float | None = Field(None, gt=0)
    whole: bool = Field(False, alias="int")

    @model_validator(mode="after")
    def _fits(self) -> "Range":
        if self.low >= self.high:
            raise ValueError("low must be below high")
        if self.log and (self.low <= 0 or self.step):
            raise ValueError("log needs a low above 0, and no step")
        if self.whole and not all(float(x).is_integer() for x in (self.low, self.high, self.step or 1)):
            raise ValueError("int needs whole numbers for low, high and step")
        return self

    def draw(self, rng: np.random.Generator) -> int | float:
        """A number, uniform or uniform in its logarithm; one with a fraction is rounded to four digits."""
        step = self.step or (1.0 if self.whole and not self.log else None)
        if step:
            found = self.low + step * int(rng.integers(math.floor((self.high - self.low) / step + 1e-9) + 1))
        elif self.log:
            found = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        else:
            found = rng.uniform(self.low, self.high)
        if self.whole:
            return round(found)
        return min(self.high, max(self.low, float(f"{found:.{DIGITS}g}")))


Space = Mapping[str, Choice | Range]


def read_space(document: Mapping[str, Any]) -> Space:
    """Lists become choices, mappings of ``low`` and ``high`` ranges.

    Raises:
        InputError: neither, a list that is empty or names a value twice, or bounds that do not fit.
    """
    space: dict[str, Choice | Range] = {}
    for name, given in document.items():
        if isinstance(given, list):
            if not given or len({canonical_json(value) for value in given}) < len(given):
                raise InputError(f"space.{name}: list one value or more, each once, got {given}")
            space[name] = Choice(tuple(given))
        elif isinstance(given, dict):
            try:
                space[name] = Range(**{str(key): value for key, value in given.items()})
            except ValueError as error:
                raise InputError(f"space.{name}: {_first(error)}") from None
        else:
            raise InputError(
                f"space.{name}={given!r}: list its values, or give low and high; one value is for settings"
            )
    return space


def grid(space: Space) -> list[Values]:
    """Every combination, the last setting changing fastest.

    Raises:
        InputError: a range, or too many.
    """
    if ranges := [name for name, one in space.items() if isinstance(one, Range)]:
        raise InputError(f"space.{ranges[0]}: a grid takes lists of values; for ranges choose search: random, or tpe")
    choices = {name: one.values for name, one in space.items() if isinstance(one, Choice)}
    if (count := math.prod(map(len, choices.values()))) > MOST_TRIALS:
        raise InputError(
            f"a grid of {count:,} trials: {MOST_TRIALS:,} are the most; list less, or choose search: random"
        )
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


def random_trials(space: Space, count: int, seed: int) -> list[Values]:
    """Combinations drawn at random, all different; more of them begin with the same ones.

    Args:
        space: of lists and ranges.
        count: how many; fewer come back where the space has no more.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    lists = [one.values for one in space.values() if isinstance(one, Choice)]
    if len(lists) == len(space) and math.prod(map(len, lists)) <= MOST_TRIALS:
        everything = grid(space)
        return [everything[place] for place in rng.permutation(len(everything))[:count]]
    found: dict[str, Values] = {}
    for _ in range(DRAWS * count):
        values = {name: one.draw(rng) for name, one in space.items()}
        found.setdefault(canonical_json(values), values)
        if len(found) == count:
            break
    return list(found.values())


def merged(settings: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """Settings with a trial's values in their places.

    Raises:
        InputError: a name that reaches inside something that is no mapping.
    """
    found = _copied(settings)
    for name, value in values.items():
        *parents, last = name.split(".")
        inner = found
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise InputError(f"space.{name}: {parent} is not a mapping")
        inner[last] = value
    return found


def _copied(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): _copied(value) if isinstance(value, dict) else value for name, value in settings.items()}


def _first(error: ValueError) -> str:
    problem = error.errors()[0] if hasattr(error, "errors") else {"loc": (), "msg": str(error)}
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg']}".removeprefix(": ").replace("Value error, ", "").replace("\n", " ")
