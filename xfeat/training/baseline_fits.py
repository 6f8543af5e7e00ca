"""Fits every baseline in closed form: from caches to a map for each modality, and what to note of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.evaluation.similarity import Similarity
from xfeat.methods.baseline_settings import CcaSettings, RawSettings, RidgeSettings, SemanticSettings
from xfeat.methods.cca import canonical, gather
from xfeat.methods.linear import LinearMap
from xfeat.methods.ridge_scores import ridge_scores
from xfeat.methods.semantic import posterior
from xfeat.progress import progress
from xfeat.training.baseline_data import TrainRows, all_rows, check_memory, labelled_rows, targets
from xfeat.training.baseline_match import CLASS, match_rows
from xfeat.training.resident import InputScale

FLOAT = 8  # bytes


@dataclass(frozen=True)
class Fitted:
    """What a baseline makes of one modality.

    Attributes:
        scale: of its inputs.
        made: the map; None where the scaled features are the embedding.
        rows: it was fitted on.
        similarity: what embeddings are compared by.
        note: what there is to say of it.
    """

    scale: InputScale
    made: LinearMap | None
    rows: int
    similarity: Similarity = "cosine"
    note: dict[str, Any] = field(default_factory=dict)


Fits = dict[str, Fitted]


def fit_raw(caches: Sequence[FeatureCache], classes: Sequence[str], settings: RawSettings) -> Fits:  # noqa: ARG001
    """Features as they are: they must have one width.

    Raises:
        InputError: widths that differ, or no rows to take a scale from.
    """
    dims = {cache.manifest.modality: cache.manifest.dim for cache in caches}
    if len(set(dims.values())) > 1:
        said = ", ".join(f"{name} {dim:,}" for name, dim in dims.items())
        raise InputError(
            f"features as they are must have one width to be compared: {said} dimensions; extract them with a backbone "
            "that embeds both, or train cca, semantic-matching or ridge"
        )
    if not settings.standardize:
        return {name: Fitted(InputScale(torch.zeros(dim), torch.ones(dim)), None, 0) for name, dim in dims.items()}
    rows = {cache.manifest.modality: all_rows(cache) for cache in caches}
    return {name: Fitted(one.scale(standardize=True), None, len(one)) for name, one in rows.items()}


def fit_cca(caches: Sequence[FeatureCache], classes: Sequence[str], settings: CcaSettings) -> Fits:
    """Canonical directions of all modalities; their features are read shard by shard.

    Raises:
        InputError: fewer than two modalities, nothing to match rows by, moments that do not fit, or no correlation.
    """
    names = [cache.manifest.modality for cache in caches]
    if len(names) < 2:
        raise InputError(f"CCA needs two modalities or more, got {', '.join(names) or 'none'}: give another cache")
    matched = match_rows(caches, classes, settings)
    wide = sum(cache.manifest.dim for cache in caches)
    need = FLOAT * wide * (3 * wide + 2 * len(matched.weights))
    check_memory(settings.memory, need, lambda: f"covariances of {wide:,} dimensions, and the means of every group,")
    scales, moments = {}, []
    with progress("cca", len(names)) as advance:
        for name, rows in matched.rows.items():
            scale = scales[name] = rows.scale(standardize=settings.standardize)
            pieces = ((x, matched.shares[name][part]) for part, x in rows.scaled(scale))
            moments.append(gather(pieces, matched.counts(name), matched.weights, rows.cache.manifest.dim))
            advance()
    found = canonical(moments, settings.regularisation, settings.dims, settings.power)
    if not len(found.correlations):
        raise InputError(f"no direction of {', '.join(names)} correlates across modalities: nothing to compare them by")
    common = {"match": matched.by, "correlations": [float(rho) for rho in found.correlations]}
    fits = {}
    for (name, rows), made in zip(matched.rows.items(), found.maps, strict=True):
        has = (matched.counts(name) > 0) & (matched.weights > 0)
        own: dict[str, Any] = {**common, **rows.left_out, "groups": int(has.sum())}
        used = np.asarray(matched.shares[name] @ has.astype(float)) > 0
        if matched.by == CLASS:
            own["untrained_classes"] = _without(has, settings.classes or classes)
            own["alone_rows"] = int((~used).sum())
        fits[name] = Fitted(scales[name], made, int(used.sum()), note=own)
    return fits


def fit_semantic(caches: Sequence[FeatureCache], classes: Sequence[str], settings: SemanticSettings) -> Fits:
    """A logistic regression for every modality.

    Raises:
        InputError: no labels, one class, or rows that do not fit.
    """
    several = any(cache.manifest.label_kind == "multi" for cache in caches)

    def one(x: NDArray[np.float64], labels: NDArray[Any], count: int) -> tuple[LinearMap, dict[str, Any]]:
        if several and labels.ndim == 1:
            labels = targets(labels, count).astype(np.uint8)
        made, converged = posterior(x, labels, count, settings.C)
        return made, {"converged": converged}

    return _each(caches, classes, settings, one, settings.similarity)


def fit_ridge(caches: Sequence[FeatureCache], classes: Sequence[str], settings: RidgeSettings) -> Fits:
    """A ridge regression to the labels for every modality.

    Raises:
        InputError: as ``fit_semantic``.
    """

    def one(x: NDArray[np.float64], labels: NDArray[Any], count: int) -> tuple[LinearMap, dict[str, Any]]:
        return ridge_scores(x, targets(labels, count), settings.penalty), {}

    return _each(caches, classes, settings, one, "cosine")


One = Callable[[NDArray[np.float64], NDArray[Any], int], tuple[LinearMap, dict[str, Any]]]


def _each(
    caches: Sequence[FeatureCache],
    classes: Sequence[str],
    settings: SemanticSettings | RidgeSettings,
    one: One,
    similarity: Similarity,
) -> Fits:
    chosen = settings.classes or list(classes)
    rows = {cache.manifest.modality: labelled_rows(cache, classes, chosen) for cache in caches}
    if len(chosen) < 2:
        raise InputError(f"{len(chosen)} class to train on: telling classes apart takes two or more")
    for name, found in rows.items():
        _check_table(name, found, settings.memory)
    fits = {}
    with progress(settings.method, len(rows)) as advance:
        for name, found in rows.items():
            assert found.labels is not None
            scale = found.scale(standardize=settings.standardize)
            made, note = one(found.table(scale), found.labels, len(chosen))
            has = targets(found.labels, len(chosen)).sum(axis=0) > 0
            note |= {**found.left_out, "untrained_classes": _without(has, chosen)}
            fits[name] = Fitted(scale, made, len(found), similarity, note)
            advance()
    return fits


def _check_table(name: str, rows: TrainRows, memory: str) -> None:
    need = 3 * FLOAT * len(rows) * rows.cache.manifest.dim  # the rows, and what is worked out of them
    check_memory(memory, need, lambda: f"the {len(rows):,} training rows of {name} in float64, and what they come to,")


def _without(has: NDArray[np.bool_], classes: Sequence[str]) -> list[str]:
    return [name for name, there in zip(classes, has.tolist(), strict=True) if not there]


FITS: dict[str, Callable[..., Fits]] = {
    "raw": fit_raw,
    "cca": fit_cca,
    "semantic-matching": fit_semantic,
    "ridge": fit_ridge,
}
"""By the name of the method: each takes caches in order of their modalities, the run's classes and settings."""
