"""Galleries of a few rows of each kind, drawn several times, and the numbers over such trials."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from xfeat.evaluation.results import Evaluation, PairResult

DRAWS = "trial t of each kind takes the rows with the smallest SHA-256 of 't:id'"
"""How rows are drawn, to be printed with the numbers."""


def draw(ids: Sequence[str], kinds: Tensor, shots: int, trial: int) -> Tensor:
    """Random rows, as many of each kind; of a kind that has fewer, all.

    Which they are depends on their names and the trial alone, not on their order, and a smaller number takes some of
    those of a larger one.

    Args:
        ids: (N,) different names of the rows.
        kinds: (N, any) int64, what rows have in common; equal rows are of one kind.
        shots: of each kind, 1 or more.
        trial: number of the draw.

    Returns:
        (n,) int64 places of the rows, ascending, on the device of ``kinds``.
    """
    group = kinds.unique(dim=0, return_inverse=True)[1]
    codes = group.tolist()
    digests = [hashlib.sha256(f"{trial}:{name}".encode()).digest() for name in ids]
    taken: dict[int, int] = {}
    rows = []
    for row in sorted(range(len(ids)), key=digests.__getitem__):
        if taken.setdefault(codes[row], 0) < shots:
            taken[codes[row]] += 1
            rows.append(row)
    return torch.tensor(sorted(rows), dtype=torch.int64, device=kinds.device)


def over_trials(trials: Sequence[Evaluation]) -> Evaluation:
    """Means over trials of the same pairs, and their deviations where there are two trials or more.

    Args:
        trials: one or more, of the same protocol, whose pairs have the same counts.
    """
    first = trials[0]
    pairs = {}
    for name, one in first.pairs.items():
        own = [trial.pairs[name] for trial in trials]
        pairs[name] = replace(
            one,
            metrics=_over([other.metrics for other in own]),
            chance=_over([other.chance for other in own]),
            trials_spread=_spread([other.metrics for other in own]),
            by_query={},
        )
    means = [_metrics_alone(trial.mean, first) for trial in trials]
    return Evaluation(first.protocol, sum(trial.seconds for trial in trials), pairs, _spread(means))


def _metrics_alone(mean: Mapping[str, float], trial: Evaluation) -> dict[str, float]:
    """Without chance levels, which no trial changes."""
    one: PairResult = next(iter(trial.pairs.values()))
    return {name: mean[name] for name in one.metrics}


def _over(numbers: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in numbers])) for name in numbers[0]}


def _spread(numbers: Sequence[Mapping[str, float]]) -> dict[str, float] | None:
    if len(numbers) < 2:
        return None
    return {name: float(np.std([one[name] for one in numbers], ddof=1)) for name in numbers[0]}
