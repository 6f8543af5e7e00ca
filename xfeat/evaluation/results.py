"""What an evaluation gives: numbers by ordered pair of modalities, under the protocol that gives them a meaning."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PairResult:
    """One direction of retrieval.

    ``metrics`` and ``chance`` are by metric name ("mAP@all", "R@1", "MedR"): means over the queries that have a
    relevant gallery item and over ``missed`` ones, and what a random ranking is expected to reach on the same queries;
    NaN where there are none. Recall, precision and accuracy are in [0, 1], ranks count from 1.
    ``queries`` counts all queries, ``without_relevant`` those without a relevant gallery item, ``gallery`` the items
    that each query ranks. ``missed`` counts queries that stand in the means as misses, those without a relevant item
    included; None under protocols that know no misses.
    """

    metrics: Mapping[str, float]
    chance: Mapping[str, float]
    queries: int
    gallery: int
    without_relevant: int
    missed: int | None = None

    @property
    def measured(self) -> bool:
        """Whether the means are over any query."""
        return self.without_relevant < self.queries + (self.missed or 0)

    @property
    def counts(self) -> dict[str, int]:
        """The counts by name."""
        named = {"queries": self.queries, "gallery": self.gallery, "without_relevant": self.without_relevant}
        return named if self.missed is None else {**named, "missed": self.missed}

    def numbers(self) -> dict[str, float]:
        """The metrics and, under "chance " and the metric's name, their chance levels."""
        return {**self.metrics, **{f"chance {name}": value for name, value in self.chance.items()}}


@dataclass(frozen=True)
class Evaluation:
    """Results by pair, under the protocol that gave them; pairs are named "image->text", the query's modality first."""

    protocol: Mapping[str, Any]
    seconds: float
    pairs: Mapping[str, PairResult]

    @property
    def mean(self) -> dict[str, float]:
        """Means over the measured pairs of different modalities of metrics and chance levels."""
        numbers = [one.numbers() for pair, one in self.pairs.items() if across(pair) and one.measured]
        return {name: sum(pair[name] for pair in numbers) / len(numbers) for name in numbers[0]}

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON values; a number that could not be measured is None."""
        pairs = {
            pair: {
                **{name: value if result.measured else None for name, value in result.numbers().items()},
                **result.counts,
            }
            for pair, result in self.pairs.items()
        }
        return {"protocol": dict(self.protocol), "seconds": self.seconds, "pairs": pairs, "mean": self.mean}


def across(pair: str) -> bool:
    """Whether a pair is of two different modalities."""
    query, gallery = pair.split("->")
    return query != gallery
