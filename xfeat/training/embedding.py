"""Embeddings of a run's modalities, or of raw features, with labels: what evaluation works on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xfeat.cache import Block, FeatureCache
from xfeat.errors import InputError
from xfeat.evaluation.embedded import Embedded
from xfeat.methods.drcl import embed
from xfeat.training.data import class_columns, multi_hot
from xfeat.training.run import Run
from xfeat.training.store import load_branch


@dataclass
class Embeddings:
    """Embedded rows of one split, by modality.

    Attributes:
        items: vectors and labels; labels are (n,) int64, or (n, C) uint8 when any cache is multi-label.
        ids: of the rows.
        unlabelled: rows left out because they have no label, by modality.
        multi_label: whether a sample may have several classes.
    """

    items: dict[str, Embedded] = field(default_factory=dict)
    ids: dict[str, list[str]] = field(default_factory=dict)
    unlabelled: dict[str, int] = field(default_factory=dict)
    multi_label: bool = False


def embed_run(path: Path, split: str, device: torch.device, *, allow_changed: bool = False) -> Embeddings:
    """Embed the rows of one split of every modality of a run.

    Args:
        path: the run directory.
        split: for example ``test``.
        device: where to compute.
        allow_changed: take caches whose samples or features changed since the run was trained.

    Returns:
        Vectors (n, O) float32 by modality, in the run's class order.

    Raises:
        InputError: no such run, a branch or cache that is missing or changed, or no rows in the split.
    """
    run = Run(path)
    config = run.load_config()
    opened = {
        name: run.open_cache(name, source, allow_changed=allow_changed) for name, source in config.modalities.items()
    }
    found = Embeddings(multi_label=_multi_label(opened.values()))
    for name, cache in opened.items():
        branch = load_branch(run.branch_file(name))
        block = _labelled(cache, split, found)
        vectors = embed(branch.head.to(device), branch.scale(block.features).to(device))
        found.items[name] = Embedded(vectors, _labels(cache, block, config.classes, found.multi_label))
    return found


def embed_raw(caches: Sequence[FeatureCache], split: str) -> Embeddings:
    """Features as they are, as vectors of one space; they must have one width.

    Raises:
        InputError: two caches of one modality, classes that differ, no labels, or no rows in the split.
    """
    found = Embeddings(multi_label=_multi_label(caches))
    for cache in caches:
        name = cache.manifest.modality
        if name in found.items:
            raise InputError(f"two caches hold modality {name!r}: give one per modality")
        block = _labelled(cache, split, found)
        labels = _labels(cache, block, caches[0].manifest.classes, found.multi_label)
        found.items[name] = Embedded(block.features.astype(np.float32), labels)
    return found


def _multi_label(caches: Iterable[FeatureCache]) -> bool:
    return any(cache.manifest.label_kind == "multi" for cache in caches)


def _labelled(cache: FeatureCache, split: str, found: Embeddings) -> Block:
    block = cache.load((split,))
    if not len(block):
        there = ", ".join(cache.manifest.counts.get("split", {}))
        raise InputError(f"{cache.path}: no rows in split {split!r} (splits there: {there})")
    if block.labels is None:
        raise InputError(f"{cache.path} has no labels: this protocol needs them")
    has = np.asarray(block.labels >= 0 if block.labels.ndim == 1 else block.labels.any(axis=1), dtype=bool)
    name = cache.manifest.modality
    found.unlabelled[name] = int((~has).sum())
    block = block.select(has)
    if not len(block):
        raise InputError(f"{cache.path}: no row of split {split!r} has a label")
    found.ids[name] = block.ids
    return block


def _labels(cache: FeatureCache, block: Block, classes: Sequence[str], multi: bool) -> NDArray[Any]:
    assert block.labels is not None  # checked when the rows were read
    hot = multi_hot(block.labels, class_columns(cache.manifest.classes, classes, str(cache.path)))
    return hot.astype(np.uint8) if multi else hot.argmax(axis=1).astype(np.int64)
