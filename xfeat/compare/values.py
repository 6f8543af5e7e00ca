"""Values by query of methods that are compared, and what they add up to by unit.

Values that belong to one unit (an instance, or an item) move together in every statistic: they are flipped, drawn and
counted as one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Values: TypeAlias = Mapping[str, Floats]
"""By pair of modalities: (S, n) float64, one row for each seed, one column for each query that is in the mean."""

TIE = 1e-9  # of two values of a query


@dataclass(frozen=True)
class Units:
    """What the queries of a comparison belong to.

    Attributes:
        of: by pair of modalities, (n,) int64: the unit of each query that is in the mean, 0 to U - 1.
        strata: (U,) int64: units of equal number replace one another in a bootstrap sample.
    """

    of: Mapping[str, NDArray[np.int64]]
    strata: NDArray[np.int64]


def pair_mean(values: Values) -> Floats:
    """(S,) means over pairs of the means over queries, by seed."""
    means = [one.mean(axis=1) for one in values.values()]
    return np.asarray(np.mean(means, axis=0), dtype=np.float64)


def contributions(a: Values, b: Values, units: Units) -> Floats:
    """What each unit adds to the difference of two means.

    Args:
        a: values of one method, of the pairs in ``units``.
        b: values of the other; both are averaged over their seeds.
        units: of the queries.

    Returns:
        (U,) float64, whose sum is ``pair_mean`` of ``a`` less that of ``b``.
    """
    total = np.zeros(len(units.strata))
    for pair, of in units.of.items():
        difference = a[pair].mean(axis=0) - b[pair].mean(axis=0)
        total += np.bincount(of, difference, len(total)) / (len(of) * len(units.of))
    return total


def effect_size(parts: Floats) -> float | None:
    """The mean of what units add, by its sample standard deviation over units (Cohen's d_z); None where that is 0.

    Args:
        parts: (U,) of one comparison.
    """
    if not parts.any():
        return 0.0
    spread = float(parts.std(ddof=1)) if len(parts) > 1 else 0.0
    return float(parts.mean()) / spread if spread > 1e-12 * float(np.abs(parts).max()) else None


def shares(a: Values, b: Values, *, lower: bool = False) -> tuple[float, float, float]:
    """Shares of the queries of all pairs, after averaging over seeds, that ``a`` wins, ties and loses; they sum to 1.

    Args:
        a: values of one method.
        b: values of the other.
        lower: whether a lower value is better.
    """
    gaps = np.concatenate([a[pair].mean(axis=0) - b[pair].mean(axis=0) for pair in a])
    won, lost = float((gaps > TIE).mean()), float((gaps < -TIE).mean())
    won, lost = (lost, won) if lower else (won, lost)
    return won, float((np.abs(gaps) <= TIE).mean()), lost


def sample_deviation(values: Sequence[float] | Floats) -> float | None:
    """Sample standard deviation, 0 of equal values to the last digit; None of fewer than two."""
    return stdev(map(float, values)) if len(values) > 1 else None
