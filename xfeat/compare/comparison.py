"""Methods and seeds side by side: means, their spread, and which differences are more than chance."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xfeat.compare.bootstrap import bootstrap_means, interval
from xfeat.compare.outcome import Comparison, PairScore, RunScore, Versus
from xfeat.compare.randomisation import holm, is_exact, randomisation_p
from xfeat.compare.scoring import MEAN_RANK, Scored, check_same, method_of, score, units_of
from xfeat.compare.values import contributions, effect_size, pair_mean, sample_deviation, shares
from xfeat.errors import InputError
from xfeat.progress import progress
from xfeat.training.asked import Asked
from xfeat.training.embedding import Blocks
from xfeat.training.group import is_group

__all__ = ["Comparison", "PairScore", "RunScore", "Versus", "check_members", "compare", "compared"]

ALPHA, RESAMPLES, SEED = 0.05, 10_000, 0
MOST_RESAMPLES = 1_000_000  # all are held at once, for every seed of every run


def compare(
    paths: Sequence[Path],
    asked: Asked,
    device: torch.device,
    *,
    metric: str | None = None,
    against: str | None = None,
    labels: Sequence[str] | None = None,
    alpha: float = ALPHA,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    blocks: Blocks | None = None,
) -> Comparison:
    """Evaluate runs and groups of seeds on the same rows, and compare them.

    Args:
        paths: two or more; a group counts as one method.
        asked: of the evaluations.
        device: where to compute.
        metric: a mean over queries, "mAP@all" say; None: mAP@all, R@1 or top-1, which the protocol has.
        against: label that all others are compared with; None compares all pairs.
        labels: one for each path; None: methods' names, or folders' names where methods are not different.
        alpha: level of the tests, in (0, 1); intervals cover 1 - alpha.
        resamples: of the bootstrap and the randomisation test, 1 to 1,000,000.
        seed: of both, 0 or more.
        blocks: rows that were read already.

    Raises:
        InputError: fewer than two, labels that are not different, an unknown label, metric or level, a run that
            cannot be evaluated, or runs that were not evaluated alike.
    """
    names = _labels(paths, labels)
    _check(names, against, alpha, resamples, seed)
    check_members(paths)
    if asked.missing != "skip":
        raise InputError("missed queries have no row to be compared by: compare without missing=miss")
    blocks, scored = blocks or Blocks(), []
    # A group has a bar of its own.
    several = nullcontext(_no_bar) if any(map(is_group, paths)) else progress("compare", len(paths))
    with several as advance:
        for path, name in zip(paths, names, strict=True):
            scored.append(score(path, name, asked, metric, device, blocks))
            check_same(scored[0], scored[-1])
            advance()
    return compared(scored, against=against, alpha=alpha, resamples=resamples, seed=seed)


def compared(
    scored: Sequence[Scored],
    *,
    against: str | None = None,
    alpha: float = ALPHA,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Compare what was evaluated alike; see `compare`."""
    first, units = scored[0], units_of(scored[0])
    lower = first.metric == MEAN_RANK
    values = {one.label: {pair: one.values[pair] for pair in units.of} for one in scored}
    with progress("resampling", resamples) as advance:
        samples = bootstrap_means(values, units, resamples, seed, advance)
    runs = [_run(one, samples[one.label], alpha) for one in scored]
    runs.sort(key=lambda run: (run.mean if lower else -run.mean, run.label))
    order = [run.label for run in runs]
    if against is None:
        made = [(a, b) for place, a in enumerate(order) for b in order[place + 1 :]]
    else:
        made = [(label, against) for label in order if label != against]
    parts = [contributions(values[a], values[b], units) for a, b in made]
    p = randomisation_p(np.stack(parts, axis=1), resamples, seed).tolist()
    versus = []
    for (a, b), own, one_p, adjusted in zip(made, parts, p, holm(p), strict=True):
        between = interval(samples[a] - samples[b], alpha)
        real = adjusted < alpha and not between[0] <= 0 <= between[1]
        counted = shares(values[a], values[b], lower=lower)
        versus.append(Versus(a, b, float(own.sum()), between, one_p, adjusted, effect_size(own), *counted, real))
    keyed = units.strata == 0
    common = {
        name: value for name, value in first.protocol.items() if all(one.protocol.get(name) == value for one in scored)
    }
    return Comparison(
        protocol=common,
        metric=first.metric,
        lower_is_better=lower,
        chance=sum(first.chance.values()) / len(first.chance) if first.chance else None,
        rows={name: len(ids) for name, ids in first.found.ids.items()},
        units=len(keyed),
        unit="instance" if keyed.all() else "instance or item" if keyed.any() else "item",
        exact=is_exact(len(keyed), resamples),
        alpha=alpha,
        resamples=resamples,
        seed=seed,
        against=against,
        runs=tuple(runs),
        comparisons=tuple(versus),
    )


def check_members(paths: Sequence[Path]) -> None:
    """Refuse a group beside one of its own runs.

    Raises:
        InputError: names both.
    """
    places = {path.resolve(): path for path in paths}
    for place, path in places.items():
        if (group := place.parent) in places and is_group(group):
            raise InputError(f"{path} is a seed of {places[group]}: a run is not compared with its own group")


def _no_bar(steps: int = 1, note: str = "") -> None:
    pass


def _run(one: Scored, samples: np.ndarray[Any, Any], alpha: float) -> RunScore:
    means = pair_mean(one.values)
    pairs = {}
    for pair, values in one.values.items():
        by_seed = values.mean(axis=1)
        mean = float(by_seed.mean())
        pairs[pair] = PairScore(mean, sample_deviation(by_seed), one.chance.get(pair), values.shape[1])
    return RunScore(
        label=one.label,
        path=str(one.path),
        method=one.method,
        similarity=str(one.protocol["similarity"]),
        seeds=tuple(one.seeds),
        mean=float(means.mean()),
        spread=sample_deviation(means),
        interval=interval(samples, alpha),
        by_seed=tuple(means.tolist()),
        deterministic=len(means) > 1 and all((v == v[:1]).all() for v in one.values.values()),
        pairs=pairs,
        means=dict(one.means),
    )


def _labels(paths: Sequence[Path], labels: Sequence[str] | None) -> list[str]:
    if len(paths) < 2:
        raise InputError("a comparison is between two runs or more: name them all")
    if labels:
        if len(labels) != len(paths):
            raise InputError(
                f"{len(labels)} names for {len(paths)} runs: give --name once for each run, in their order"
            )
        return list(labels)
    for kind in ([method_of(path) for path in paths], [path.resolve().name for path in paths]):
        if len(set(kind)) == len(kind):
            return kind
    return [str(path) for path in paths]


def _check(names: Sequence[str], against: str | None, alpha: float, resamples: int, seed: int) -> None:
    if bad := [name for name in names if not name.strip() or not name.isprintable()]:
        raise InputError(f"--name {bad[0]!r}: a name is shown in tables: give it letters, on one line")
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two runs are called {twice[0]!r}: tell them apart with --name, once for each run")
    if against is not None and against not in names:
        raise InputError(f"--against {against}: there is {', '.join(names)}")
    if not (math.isfinite(alpha) and 0 < alpha < 1):
        raise InputError(f"--alpha {alpha}: choose a level between 0 and 1, 0.05 say")
    if not 1 <= resamples <= MOST_RESAMPLES:
        raise InputError(f"--resamples {resamples}: choose 1 to {MOST_RESAMPLES:,}, 10,000 say")
    if seed < 0:
        raise InputError(f"--seed {seed}: choose 0 or more")
