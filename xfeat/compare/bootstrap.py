"""Bootstrap intervals over units and seeds at once."""

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xfeat.compare.values import Floats, Units, Values

CELLS = 4_000_000  # of a block of random numbers, whatever the number of units
UNITS, SEEDS, FLIPS = range(3)  # streams of randomness


def bootstrap_means(
    runs: Mapping[str, Values],
    units: Units,
    resamples: int,
    seed: int,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, Floats]:
    """Means over pairs in bootstrap samples (Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979).

    A sample draws, with replacement, as many units as there are from each stratum, the same ones for all runs, and of
    each run as many seeds as it has, independently of the other runs. A pair's mean is over the drawn queries; a pair
    without any is left out of that sample's mean.

    Args:
        runs: values by name; seeds are drawn by the name, so the order of runs plays no part.
        units: of the queries.
        resamples: how many samples.
        seed: of the draws.
        advance: told how many samples are done.

    Returns:
        (resamples,) float64 by name; NaN for a sample in which no pair has a query.
    """
    seeds = {name: seed_draws(name, _seeds(values), resamples, seed) for name, values in runs.items()}
    sums = _sums(runs, units)
    weights = np.array([one.pairs for one in sums], dtype=np.float64)[:, None, None]
    parts = []
    for counts in unit_draws(units.strata, resamples, seed):
        means = np.stack([one.means(counts) for one in sums])
        measured = weights * ~np.isnan(means)
        with np.errstate(invalid="ignore"):
            parts.append((np.nan_to_num(means) * measured).sum(axis=0) / measured.sum(axis=0))
        advance(len(counts))
    by_seed, found, start = np.concatenate(parts), {}, 0
    for name, drawn in seeds.items():
        own = by_seed[:, start : start + drawn.shape[1]]
        found[name] = np.take_along_axis(own, drawn, axis=1).mean(axis=1)
        start += drawn.shape[1]
    return found


def unit_draws(strata: NDArray[np.int64], resamples: int, seed: int) -> Iterator[Floats]:
    """How often each bootstrap sample has each unit: (n, U) float64 at a time, ``resamples`` rows in all."""
    rng = np.random.default_rng([seed, UNITS])
    members = [np.flatnonzero(strata == one) for one in np.unique(strata)]
    for size in blocks(len(strata), resamples):
        counts = np.empty((size, len(strata)))
        for own in members:
            drawn = rng.integers(0, len(own), (size, len(own))) + np.arange(size)[:, None] * len(own)
            counts[:, own] = np.bincount(drawn.ravel(), minlength=size * len(own)).reshape(size, len(own))
        yield counts


def seed_draws(name: str, seeds: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """Which seeds of a run each bootstrap sample has: (resamples, seeds) places."""
    rng = np.random.default_rng([seed, SEEDS, zlib.crc32(name.encode())])
    return rng.integers(0, seeds, (resamples, seeds))


def interval(samples: Floats, alpha: float) -> tuple[float, float]:
    """The percentile interval that leaves out ``alpha`` / 2 of the samples on each side."""
    low, high = np.nanquantile(samples, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def blocks(units: int, resamples: int) -> Iterator[int]:
    """Sizes of the blocks that ``resamples`` are drawn in."""
    most = max(1, CELLS // max(1, units))
    for start in range(0, resamples, most):
        yield min(most, resamples - start)


def _seeds(values: Values) -> int:
    return len(next(iter(values.values())))


@dataclass(frozen=True)
class _UnitSums:
    """Sums by unit over the queries of pairs that have the same ones, of all runs and seeds side by side."""

    pairs: int
    units: NDArray[np.int64]
    sums: Floats
    queries: Floats

    def means(self, counts: Floats) -> Floats:
        """(n, all seeds) means over the queries of the units that are drawn; NaN where there are none."""
        own = counts[:, self.units]
        with np.errstate(invalid="ignore"):
            return np.asarray((own @ self.sums) / (own @ self.queries)[:, None])


def _sums(runs: Mapping[str, Values], units: Units) -> list[_UnitSums]:
    # Pairs with the same queries, those to all galleries of one modality mostly, are drawn alike: one sum is enough.
    alike: dict[bytes, list[str]] = {}
    for pair, of in units.of.items():
        alike.setdefault(of.tobytes(), []).append(pair)
    found = []
    for pairs in alike.values():
        own, place = np.unique(units.of[pairs[0]], return_inverse=True)
        means = [np.mean([values[pair] for pair in pairs], axis=0) for values in runs.values()]
        columns = [np.bincount(place, row, len(own)) for rows in means for row in rows]
        sums = np.stack(columns, axis=1).astype(np.float64)
        queries = np.bincount(place, minlength=len(own)).astype(np.float64)
        found.append(_UnitSums(len(pairs), own, sums, queries))
    return found
