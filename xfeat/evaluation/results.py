"""What an evaluation gives: numbers by ordered pair of modalities, under the protocol that gives them a meaning."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

TRIALS = "trials spread"  # in JSON


@dataclass(frozen=True)
class PairResult:
    """One direction of retrieval.

    ``metrics`` and ``chance`` are by metric name ("mAP@all", "R@1", "MedR"): means over the queries that have a
    relevant gallery item and over ``missed`` ones, and what a random ranking is expected to reach on the same queries;
    NaN where there are none. Recall, precision and accuracy are in [0, 1], ranks count from 1.
    ``queries`` counts all queries, ``without_relevant`` those without a relevant gallery item, ``gallery`` the items
    that each query ranks. ``missed`` counts queries that stand in the means as misses, those without a relevant item
    included; None under protocols that know no misses. ``excluded`` counts the (query, gallery item) pairs that were
    left out of rankings; None under protocols that leave nothing out. ``trials_spread`` is by metric name, the sample
    standard deviation over trials of which the metrics are means; None where there were no two.
    ``by_query`` holds what the metrics are means of, by metric name: (n,) float64 on the CPU, one for each row of the
    query modality, NaN for a row that is in no mean. It has only metrics that are such means (and ``rank``, of which
    MedR and MeanR are made), and is empty over trials.
    """

    metrics: Mapping[str, float]
    chance: Mapping[str, float]
    queries: int
    gallery: int
    without_relevant: int
    missed: int | None = None
    excluded: int | None = None
    trials_spread: Mapping[str, float] | None = None
    by_query: Mapping[str, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @property
    def measured(self) -> bool:
        """Whether the means are over any query."""
        return self.without_relevant < self.queries + (self.missed or 0)

    @property
    def counts(self) -> dict[str, int]:
        """The counts by name."""
        named = {"queries": self.queries, "gallery": self.gallery, "without_relevant": self.without_relevant}
        optional = {"missed": self.missed, "excluded": self.excluded}
        return {**named, **{name: count for name, count in optional.items() if count is not None}}

    def numbers(self) -> dict[str, float]:
        """The metrics and, under "chance " and the metric's name, their chance levels."""
        return {**self.metrics, **{f"chance {name}": value for name, value in self.chance.items()}}


@dataclass(frozen=True)
class Evaluation:
    """Results by pair, under the protocol that gave them; pairs are named "image->text", the query's modality first.

    ``trials_spread`` is that of `mean`, see `PairResult`.
    """

    protocol: Mapping[str, Any]
    seconds: float
    pairs: Mapping[str, PairResult]
    trials_spread: Mapping[str, float] | None = None

    @property
    def mean(self) -> dict[str, float]:
        """Means over the measured pairs of different modalities of metrics and chance levels."""
        numbers = [one.numbers() for pair, one in self.pairs.items() if across(pair) and one.measured]
        return {name: sum(pair[name] for pair in numbers) / len(numbers) for name in numbers[0]}

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON values; a number that could not be measured is None.

        Deviations over trials stand under "trials spread": of each pair's metrics in the pair, of the mean's beside it.
        """
        pairs = {pair: _pair_to_json(result) for pair, result in self.pairs.items()}
        document = {"protocol": dict(self.protocol), "seconds": self.seconds, "pairs": pairs, "mean": self.mean}
        return document if self.trials_spread is None else {**document, TRIALS: dict(self.trials_spread)}


def _pair_to_json(result: PairResult) -> dict[str, Any]:
    def known(numbers: Mapping[str, float]) -> dict[str, float | None]:
        return {name: value if result.measured else None for name, value in numbers.items()}

    pair: dict[str, Any] = {**known(result.numbers()), **result.counts}
    return pair if result.trials_spread is None else {**pair, TRIALS: known(result.trials_spread)}


def across(pair: str) -> bool:
    """Whether a pair is of two different modalities."""
    query, gallery = pair.split("->")
    return query != gallery
