"""The rows of split ``train`` that a training held out, found again from its run: they stand for a split ``val``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from xfeat.cache import FeatureCache
from xfeat.cache.columns import OK
from xfeat.errors import InputError
from xfeat.methods.registry import find_method
from xfeat.methods.settings import validated
from xfeat.training.checkpoint import read_tensors
from xfeat.training.grown_rows import ROWS, held_out_file
from xfeat.training.growth import classes_then
from xfeat.training.run import CIIM, DRCL, ORTHOGONAL, Run, RunConfig
from xfeat.training.selection import Selection, select_rows

VAL = "val"
HOLDS_OUT = {DRCL: "select=loss", ORTHOGONAL: "select=loss", CIIM: "select=best"}
"""Settings that make a training hold rows out, by method."""


def has_val(cache: FeatureCache) -> bool:
    """Whether a cache has rows of split ``val``."""
    return VAL in cache.manifest.counts["split"]


def holds_out(settings: BaseModel) -> bool:
    """Whether a training with these settings holds rows out where a cache has no split ``val``."""
    return bool(getattr(settings, "holds_out", False))


def no_val(cache: FeatureCache, method: str) -> InputError:
    """The error to raise where neither the cache nor the training has rows to validate on."""
    setting = f"train with {HOLDS_OUT[method]}, which holds rows out, or " if method in HOLDS_OUT else ""
    return InputError(
        f"{cache.path}: no rows in split 'val', and training held none out: {setting}give the cache a val split"
    )


def held_out_mask(
    run: Run, config: RunConfig, cache: FeatureCache, note: Mapping[str, Any]
) -> NDArray[np.bool_] | None:
    """Which rows of split ``train`` a branch was not trained on.

    They follow from the cache, the settings and the seed of the training; of a branch that grew they are on file.

    Args:
        run: of the branch.
        config: of the run.
        cache: of one of its modalities.
        note: of that modality's branch.

    Returns:
        (n,) true for the rows that were held out, among those of split ``train`` that did not fail, in the cache's
        order; None where rows of split ``val`` took their part.

    Raises:
        InputError: there are neither, or the cache is not as it was.
    """
    method, file = str(note.get("method", config.method)), held_out_file(run, cache.manifest.modality)
    settings = validated(find_method(method).settings, note.get("settings", {}))
    if not file.is_file() and (has_val(cache) or not holds_out(settings)):
        if not has_val(cache):
            raise no_val(cache, method)
        return None
    if cache.manifest.content != note.get("content"):
        raise InputError(
            f"{cache.path} changed since {run.path} was trained: which of its rows were held out is no longer known"
        )
    rows = read_tensors(file)[0][ROWS].numpy() if file.is_file() else _drawn(run, config, cache, note, settings)
    if len(rows) != note.get("val_rows"):
        raise InputError(
            f"{run.branch_file(cache.manifest.modality)} held out {note.get('val_rows')} rows, {len(rows)} are found: "
            "train again"
        )
    usable = [
        (np.array(block.split) == "train") & (np.array(block.status) == OK)
        for block in cache.blocks(check=False, with_features=False)
    ]
    return np.isin(np.flatnonzero(np.concatenate(usable)), rows)


def _drawn(
    run: Run, config: RunConfig, cache: FeatureCache, note: Mapping[str, Any], settings: BaseModel
) -> NDArray[np.int64]:
    """Places in the cache of the rows that a seed holds out."""
    classes = classes_then(run, config.classes, note)
    found = _of_classes(select_rows(cache, classes), classes, getattr(settings, "classes", []))
    found = found.held_out(getattr(settings, "val_fraction", 0.0), cache.manifest.modality, note["seed"])
    return found.rows[found.val]


def _of_classes(found: Selection, classes: Sequence[str], chosen: Sequence[str]) -> Selection:
    """The rows of the classes that were trained on; all where no choice was made."""
    if not chosen:
        return found
    number = {name: place for place, name in enumerate(chosen)}
    labels = np.array([number.get(name, -1) for name in classes], dtype=np.int64)[found.labels]
    there = labels >= 0
    return replace(found, rows=found.rows[there], labels=labels[there], val=found.val[there], classes=len(chosen))
