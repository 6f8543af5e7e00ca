"""The same evaluation of several seeds: means, and their spread."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from xfeat.errors import InputError
from xfeat.evaluation.results import TRIALS, Evaluation

COUNTS = ("queries", "gallery", "without_relevant", "missed", "excluded")


@dataclass(frozen=True)
class SeedEvaluations:
    """Evaluations by seed, one or more, of the same pairs under the same protocol.

    Raises:
        InputError: pairs or counts of rows that differ between seeds.
    """

    members: Mapping[int, Evaluation]

    def __post_init__(self) -> None:
        (first, whole), *others = self.members.items()
        for seed, other in others:
            if _counts(other) != _counts(whole):
                what = f"seeds {first} and {seed} were not evaluated on the same rows"
                if _sizes(other) == _sizes(whole):  # each held out its own
                    raise InputError(
                        f"{what}, and more queries have a relevant item in one than in the other: evaluate the runs of "
                        "the group one by one"
                    )
                raise InputError(
                    f"{what} ({_sizes(whole)}; {_sizes(other)}): give every member of a group the same modalities"
                )

    def to_json(self) -> dict[str, Any]:
        """As `Evaluation.to_json`, with means over seeds for values, and three more keys.

        ``spread`` has the shape of the metrics and holds sample standard deviations (left out for a single seed);
        ``seeds`` lists the seeds, and ``members`` holds the mean over pairs of each. Deviations over trials are their
        means over seeds.
        """
        documents = [one.to_json() for one in self.members.values()]
        document = {
            "protocol": documents[0]["protocol"],
            "seconds": sum(one["seconds"] for one in documents),
            "pairs": {
                pair: {
                    **_over_seeds([one["pairs"][pair] for one in documents], fmean),
                    **_only_counts(numbers),
                    **_trials([one["pairs"][pair] for one in documents]),
                }
                for pair, numbers in documents[0]["pairs"].items()
            },
            "mean": _over_seeds([one["mean"] for one in documents], fmean),
            **_trials(documents),
        }
        if len(documents) > 1:
            document["spread"] = {
                "pairs": {
                    pair: _over_seeds([one["pairs"][pair] for one in documents], stdev)
                    for pair in documents[0]["pairs"]
                },
                "mean": _over_seeds([one["mean"] for one in documents], stdev),
            }
        document["seeds"] = list(self.members)
        document["members"] = {str(seed): one["mean"] for seed, one in zip(self.members, documents, strict=True)}
        return document


def _over_seeds(numbers: list[dict[str, Any]], statistic: Callable[[list[float]], float]) -> dict[str, float | None]:
    names = [name for name in numbers[0] if name not in (*COUNTS, TRIALS)]
    return {
        name: None if numbers[0][name] is None else statistic([float(one[name]) for one in numbers]) for name in names
    }


def _trials(documents: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    if TRIALS not in documents[0]:
        return {}
    return {TRIALS: _over_seeds([one[TRIALS] for one in documents], fmean)}


def _only_counts(numbers: dict[str, Any]) -> dict[str, int]:
    return {name: numbers[name] for name in COUNTS if name in numbers}


def _counts(result: Evaluation) -> dict[str, dict[str, int]]:
    return {pair: one.counts for pair, one in result.pairs.items()}


def _sizes(result: Evaluation) -> str:
    sizes = {pair.split("->")[0]: one.queries for pair, one in result.pairs.items()}
    return ", ".join(f"{name} {rows:,}" for name, rows in sizes.items())
