"""What is compared: the values by query of runs and groups, which must be on the same rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xfeat.compare.values import Units, Values
from xfeat.errors import InputError
from xfeat.evaluation.results import Evaluation, across
from xfeat.training.asked import Asked
from xfeat.training.embedding import Blocks, Embeddings
from xfeat.training.evaluating import Answer, evaluate_path
from xfeat.training.group import is_group, load_group
from xfeat.training.run import Run

DEFAULTS = ("mAP@all", "R@1", "top-1")
RANK, MEAN_RANK = "rank", "MeanR"  # its name by query, and that of the mean
# What may differ between two methods on one protocol: how they compare vectors, and what they did not train on.
OF_A_RUN = ("similarity", "weights", "unsupported", "unknown", "classes_asked")


@dataclass(frozen=True)
class Scored:
    """One run or group, evaluated.

    Attributes:
        label: what it is called in the comparison.
        path: of its folder.
        method: that trained it.
        seeds: one, or those of the group.
        metric: that the values are of.
        values: by pair, see `Values`; pairs without a measured query are left out.
        chance: by pair, what a random ranking is expected to reach; empty where that is not known.
        protocol: as in the document of an evaluation.
        found: the rows, without their vectors.
        means: as ``mean`` of the document.
        kept: by pair, (rows of the query modality,) bool: which rows are in the mean.
    """

    label: str
    path: Path
    method: str
    seeds: Sequence[int]
    metric: str
    values: Values
    chance: Mapping[str, float]
    protocol: Mapping[str, Any]
    found: Embeddings
    means: Mapping[str, float | None]
    kept: Mapping[str, NDArray[np.bool_]]


def method_of(path: Path) -> str:
    """The method that trained a run or a group.

    Raises:
        InputError: neither is there.
    """
    return load_group(path)[1] if is_group(path) else Run(path).load_config().method


def score(path: Path, label: str, asked: Asked, metric: str | None, device: torch.device, blocks: Blocks) -> Scored:
    """Evaluate a run or a group, by query.

    Args:
        path: of either.
        label: what to call it.
        asked: of the evaluation.
        metric: see `scored`.
        device: where to compute.
        blocks: rows that were read already.

    Raises:
        InputError: no such run, what is asked for does not fit it, or as of `scored`.
    """
    return scored(evaluate_path(path, asked, device, blocks), path, label, metric)


def scored(answer: Answer, path: Path, label: str, metric: str | None = None) -> Scored:
    """What was evaluated, by query.

    Args:
        answer: of `evaluate_path`.
        path: of the run or the group.
        label: what to call it.
        metric: one that is a mean over queries; None: the protocol's first.

    Raises:
        InputError: a metric that is no mean over queries, or a group whose seeds held out different rows.
    """
    if answer.found.held_out and len(answer.results) > 1:
        raise InputError(
            f"{path}: every seed held out rows of its own: compare runs of one seed, or give the caches a val split"
        )
    first = next(iter(answer.results.values()))
    name = _metric(first, metric)
    own = RANK if name == MEAN_RANK else name
    pairs = [pair for pair, one in first.pairs.items() if across(pair) and one.measured]
    kept = {pair: ~torch.isnan(first.pairs[pair].by_query[own]).numpy() for pair in pairs}
    values = {pair: np.stack([_row(seed, pair, own, kept[pair]) for seed in answer.results.values()]) for pair in pairs}
    chance = {pair: first.pairs[pair].chance[name] for pair in pairs if name in first.pairs[pair].chance}
    _check_rows(path, answer, kept)
    protocol, means = answer.document["protocol"], answer.document["mean"]
    seeds = list(answer.results)
    # Many runs may be compared, and none of their vectors are needed again.
    rows = {name: replace(item, vectors=item.vectors[:0]) for name, item in answer.found.items.items()}
    found = replace(answer.found, items=rows)
    return Scored(label, path, method_of(path), seeds, name, values, chance, protocol, found, means, kept)


def _metric(result: Evaluation, wanted: str | None) -> str:
    names = list(next(iter(result.pairs.values())).by_query)
    if not names:
        raise InputError("this evaluation has no values by query: compare without trials")
    names = [MEAN_RANK if name == RANK else name for name in names]
    if wanted is None:
        return next((name for name in DEFAULTS if name in names), names[0])
    name = MEAN_RANK if wanted == RANK else wanted
    if name not in names:
        raise InputError(
            f"metric {wanted} is no mean over queries of protocol {result.protocol['name']}: choose {', '.join(names)}"
        )
    return name


def _row(result: Evaluation, pair: str, metric: str, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    whole: NDArray[np.float64] = result.pairs[pair].by_query[metric].numpy().astype(np.float64)
    return whole[kept]


def _check_rows(path: Path, answer: Answer, kept: Mapping[str, NDArray[np.bool_]]) -> None:
    for pair, rows in kept.items():
        if len(rows) != len(answer.found.ids[_query(pair)]):
            raise InputError(f"{path}: {pair} was measured on a sample of the rows: compare on all of them")


def check_same(first: Scored, other: Scored) -> None:
    """Refuse two that were not evaluated alike.

    Raises:
        InputError: protocols, modalities, pairs, rows or their labels that differ; says which.
    """
    who = f"{first.label} and {other.label}"
    if set(first.found.ids) != set(other.found.ids):
        listed = "; ".join(", ".join(sorted(run.found.ids)) for run in (first, other))
        raise InputError(f"{who} have different modalities ({listed}): name those that all have with --modalities")
    one, two = ({k: v for k, v in run.protocol.items() if k not in OF_A_RUN} for run in (first, other))
    for name in [*one, *(name for name in two if name not in one)]:
        if one.get(name) != two.get(name):
            said = f"{_said(one.get(name))} and {_said(two.get(name))}"
            remedy = "name one with --protocol" if name == "name" else "evaluate both alike"
            raise InputError(f"{who} have different protocols ({name}: {said}): {remedy}")
    for name, ids in first.found.ids.items():
        _check_ids(who, name, ids, other.found.ids[name])
        if not np.array_equal(_labels(first.found, name), _labels(other.found, name)):
            raise InputError(f"{who} have different labels for the same rows of {name}: compare runs on the same cache")
        if first.found.keys.get(name) != other.found.keys.get(name):
            raise InputError(f"{who} have different pair keys for the same rows of {name}: compare runs on one cache")
    if set(first.kept) != set(other.kept):
        listed = ", ".join(sorted(set(first.kept) ^ set(other.kept)))
        raise InputError(f"{who} were not measured on the same pairs ({listed}): compare runs on the same caches")
    for pair, rows in first.kept.items():
        if not np.array_equal(rows, other.kept[pair]):
            raise InputError(f"{who}: {pair} does not have the same queries in the mean: compare runs on one cache")


def _check_ids(who: str, name: str, ids: Sequence[str], others: Sequence[str]) -> None:
    if ids == others:
        return
    if len(ids) != len(others):
        what = f"{len(ids):,} and {len(others):,} rows"
    else:
        row = next(row for row, (one, two) in enumerate(zip(ids, others, strict=True)) if one != two)
        what = f"row {row} is {ids[row]!r} and {others[row]!r}"
    raise InputError(f"{who} were not evaluated on the same rows of {name} ({what}): compare runs on the same caches")


def _labels(found: Embeddings, name: str) -> NDArray[Any]:
    """Labels that do not depend on the order in which a run has its classes; none where keys are what is relevant."""
    labels = found.items[name].labels
    if labels is None:
        return np.empty(0)
    rows, classes = np.asarray(labels), np.asarray(found.classes)
    if rows.ndim == 1:
        return np.asarray(classes[rows])
    return np.asarray([tuple(sorted(classes[row > 0])) for row in rows], dtype=object)


def units_of(scored: Scored) -> Units:
    """Rows of one pair key are one unit, whatever their modality; a row without a key is one of its own.

    Instances may replace one another in a bootstrap sample, and so may keyless rows of one modality.
    """
    names = sorted(scored.found.ids)
    place: dict[tuple[str, str], int] = {}
    of_row, strata = {}, []
    for number, name in enumerate(names, 1):
        ids = scored.found.ids[name]
        keys = scored.found.keys.get(name, [""] * len(ids))
        rows = []
        for row, key in zip(ids, keys, strict=True):
            unit = ("", key) if key else (name, row)
            if unit not in place:
                place[unit] = len(place)
                strata.append(0 if key else number)
            rows.append(place[unit])
        of_row[name] = np.asarray(rows, dtype=np.int64)
    of = {pair: of_row[_query(pair)][kept] for pair, kept in scored.kept.items()}
    # Rows that are no query of any mean are no units of the comparison.
    used = np.unique(np.concatenate(list(of.values())))
    return Units(
        {pair: np.searchsorted(used, units) for pair, units in of.items()}, np.asarray(strata, dtype=np.int64)[used]
    )


def _query(pair: str) -> str:
    return pair.split("->")[0]


def _said(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
