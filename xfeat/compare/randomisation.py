"""Fisher's randomisation test of paired differences, and Holm's correction for several of them."""

from collections.abc import Iterator, Sequence

import numpy as np

from xfeat.compare.bootstrap import FLIPS, blocks
from xfeat.compare.values import Floats


def randomisation_p(parts: Floats, resamples: int, seed: int) -> Floats:
    """Two-sided p values of paired differences by Fisher's randomisation test.

    Were two methods the same, each unit's difference could as well have the other sign. The p value is the share of
    sign patterns whose sum is at least as far from 0 as the one that was found (Smucker, Allan and Carterette, "A
    Comparison of Statistical Significance Tests for Information Retrieval Evaluation", CIKM 2007): of all patterns
    where there are no more than ``resamples``, else of so many random ones and the one that was found,
    (1 + count) / (1 + resamples). All comparisons see the same patterns.

    Args:
        parts: (U, C) float64, of C comparisons, see `contributions`.
        resamples: 1 or more.
        seed: of the random patterns.

    Returns:
        (C,) float64 in (0, 1].
    """
    units = len(parts)
    # Sums of the same numbers in another order differ in their last digits: equal ones must count as equal.
    bound = np.abs(parts.sum(axis=0)) - 1e-9 * np.abs(parts).sum(axis=0)
    exact = is_exact(units, resamples)
    count = np.zeros(parts.shape[1])
    for signs in _all_signs(units) if exact else _random_signs(units, resamples, seed):
        count += (np.abs(signs @ parts) >= bound).sum(axis=0)
    return count / 2**units if exact else (1 + count) / (1 + resamples)


def is_exact(units: int, resamples: int) -> bool:
    """Whether there are so few sign patterns that all are looked at."""
    return units < 63 and 2**units <= resamples


def _all_signs(units: int) -> Iterator[Floats]:
    start = 0
    for size in blocks(units, 2**units):
        bits = np.arange(start, start + size)[:, None] >> np.arange(units) & 1
        yield (1 - 2 * bits).astype(np.float64)
        start += size


def _random_signs(units: int, resamples: int, seed: int) -> Iterator[Floats]:
    rng = np.random.default_rng([seed, FLIPS])
    for size in blocks(units, resamples):
        yield (1 - 2 * rng.integers(0, 2, (size, units), dtype=np.int8)).astype(np.float64)


def holm(p: Sequence[float]) -> list[float]:
    """P values adjusted for their number.

    The chance that any of the hypotheses that hold is rejected stays below the level, whatever ties them together
    (Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics, 1979).

    Args:
        p: in [0, 1].

    Returns:
        In the same order: with p sorted, the largest so far of (number of tests left) * p, at most 1.
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return adjusted
