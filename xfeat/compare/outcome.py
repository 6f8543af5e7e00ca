"""What a comparison comes to: scores of runs and groups, and the differences between them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from xfeat.methods.registry import METHODS


@dataclass(frozen=True)
class PairScore:
    """One direction of retrieval.

    Attributes:
        mean: over seeds and queries.
        spread: sample standard deviation over seeds; None for a single seed.
        chance: what a random ranking is expected to reach; None where it is not known.
        queries: in the mean.
    """

    mean: float
    spread: float | None
    chance: float | None
    queries: int


@dataclass(frozen=True)
class RunScore:
    """One run or group of seeds.

    Attributes:
        label: its name in the comparison.
        path: of its folder, as it was given.
        method: that trained it.
        similarity: by which its vectors are compared.
        seeds: one, or those of the group.
        mean: over ordered pairs (and seeds) of the means over queries.
        spread: sample standard deviation over seeds of that mean; None for a single seed.
        interval: of the mean, by the bootstrap over units and seeds.
        by_seed: the mean of each seed, in the order of ``seeds``.
        deterministic: there are two seeds or more, and all have the same values for all queries.
        pairs: by ordered pair.
        means: of every metric of the protocol, and of its chance level, over ordered pairs and seeds.
    """

    label: str
    path: str
    method: str
    similarity: str
    seeds: tuple[int, ...]
    mean: float
    spread: float | None
    interval: tuple[float, float]
    by_seed: tuple[float, ...]
    deterministic: bool
    pairs: Mapping[str, PairScore]
    means: Mapping[str, float | None]


@dataclass(frozen=True)
class Versus:
    """Two runs or groups against each other.

    Attributes:
        a: label of one.
        b: label of the other.
        difference: mean of ``a`` less that of ``b``.
        interval: of the difference, by the bootstrap over units and seeds.
        p: two-sided, of the randomisation test over units.
        p_holm: adjusted for all comparisons that were made.
        d_z: mean over units of what they add to the difference, by its standard deviation; None where that is 0.
        won: share of the queries where ``a`` is better, after averaging over seeds.
        tied: share where both are equal.
        lost: share where ``b`` is better.
        real: ``p_holm`` is below alpha and the interval does not hold 0.
    """

    a: str
    b: str
    difference: float
    interval: tuple[float, float]
    p: float
    p_holm: float
    d_z: float | None
    won: float
    tied: float
    lost: float
    real: bool


@dataclass(frozen=True)
class Comparison:
    """Runs and groups on the same rows.

    Attributes:
        protocol: what all have in common of the protocol, the split included.
        metric: what is compared.
        lower_is_better: it counts ranks.
        chance: mean over ordered pairs of what a random ranking is expected to reach; None where it is not known.
        rows: evaluated, by modality.
        units: how many there are that flip, and are drawn, as one.
        unit: what they are: ``instance`` (rows of one pair key), ``item``, or ``instance or item``.
        exact: p values are of all sign patterns, not of random ones.
        alpha: level of the tests; intervals cover 1 - alpha.
        resamples: of the bootstrap, and of the test where it is not exact.
        seed: of both.
        against: label that all others are compared with; None: all pairs.
        runs: best first.
        comparisons: in the order of ``runs``; ``a`` is the better one, or, with ``against``, the other one.
    """

    protocol: Mapping[str, Any]
    metric: str
    lower_is_better: bool
    chance: float | None
    rows: Mapping[str, int]
    units: int
    unit: str
    exact: bool
    alpha: float
    resamples: int
    seed: int
    against: str | None
    runs: tuple[RunScore, ...]
    comparisons: tuple[Versus, ...]

    @property
    def unit_words(self) -> str:
        """What the units are, in the plural: ``instances or items``."""
        return " or ".join(f"{word}s" for word in self.unit.split(" or "))

    @property
    def one_seeded(self) -> list[str]:
        """Labels of the runs of one seed whose method depends on it."""
        return [run.label for run in self.runs if len(run.seeds) == 1 and not METHODS[run.method].closed_form]

    @property
    def best(self) -> RunScore:
        """The run with the best mean."""
        return self.runs[0]

    @property
    def decidable(self) -> bool:
        """Whether the least p that the test can give stays below alpha after the correction."""
        least = 2 / 2**self.units if self.exact else 1 / (1 + self.resamples)
        return len(self.comparisons) * least < self.alpha

    def versus(self, a: str, b: str) -> Versus | None:
        """The comparison of two labels, in either order; None where it was not made."""
        return next((one for one in self.comparisons if {one.a, one.b} == {a, b}), None)

    def to_json(self) -> dict[str, Any]:
        """The attributes as plain JSON values; a number that is not known is None."""
        return {**asdict(self), "protocol": dict(self.protocol)}
