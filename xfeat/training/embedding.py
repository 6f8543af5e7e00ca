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
from xfeat.training.classes import class_columns, class_indices, multi_hot, places, similarity_notes, union_of_classes
from xfeat.training.growth import untrained_classes
from xfeat.training.run import Run
from xfeat.training.store import load_branch


@dataclass
class Embeddings:
    """Embedded rows of one split, by modality.

    Attributes:
        items: vectors and labels; labels are (n,) int64, or (n, C) uint8 when any cache is multi-label.
        ids: of the rows.
        unlabelled: rows left out because they have no label, by modality.
        unknown: rows left out because the run knows none of their classes, by modality.
        unknown_classes: classes of those rows, by modality.
        untrained: classes that a branch never trained on, by modality; empty for raw features.
        notes: class names that look like one name written in two ways.
        multi_label: whether a sample may have several classes.
        relevance: the run's rule of what is relevant among samples of several classes.
    """

    items: dict[str, Embedded] = field(default_factory=dict)
    ids: dict[str, list[str]] = field(default_factory=dict)
    unlabelled: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    unknown_classes: dict[str, list[str]] = field(default_factory=dict)
    untrained: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    multi_label: bool = False
    relevance: str = "any"


class Blocks:
    """Rows of caches, read once however many runs ask for them."""

    def __init__(self) -> None:
        self._read: dict[tuple[Path, str, str], Block] = {}

    def load(self, cache: FeatureCache, split: str) -> Block:
        """The rows of one split, those of failed samples left out."""
        key = cache.path.resolve(), cache.manifest.content, split
        if key not in self._read:
            self._read[key] = cache.load((split,))
        return self._read[key]


def embed_run(
    path: Path, split: str, device: torch.device, *, allow_changed: bool = False, blocks: Blocks | None = None
) -> Embeddings:
    """Embed the rows of one split of every modality of a run.

    A row of several classes keeps those that the run knows.

    Args:
        path: the run directory.
        split: for example ``test``.
        device: where to compute.
        allow_changed: take caches whose samples or features changed since the run was trained.
        blocks: rows that were read for other runs.

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
    found = Embeddings(
        multi_label=_multi_label(opened.values()), relevance=str(config.settings.get("relevance") or "any")
    )
    for name, cache in opened.items():
        branch = load_branch(run.branch_file(name))
        block = _rows(cache, split, blocks)
        block, labels = _known(cache, block, split, config.classes, found)
        found.items[name] = Embedded(branch.embed(block.features, device), labels, branch.similarity)
        found.untrained[name] = untrained_classes(run, config.classes, branch.note)
    return found


def embed_raw(caches: Sequence[FeatureCache], split: str) -> Embeddings:
    """Features as they are, as vectors of one space; they must have one width.

    Raises:
        InputError: two caches of one modality, caches that share no class, no labels, or no rows in the split.
    """
    names = [cache.manifest.modality for cache in caches]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two caches hold modality {twice[0]!r}: give one per modality")
    classes = union_of_classes(caches)
    found = Embeddings(multi_label=_multi_label(caches), notes=similarity_notes(caches))
    for name, cache in zip(names, caches, strict=True):
        block, labels = _known(cache, _rows(cache, split), split, classes, found)
        found.items[name] = Embedded(block.features.astype(np.float32), labels)
    return found


def _multi_label(caches: Iterable[FeatureCache]) -> bool:
    return any(cache.manifest.label_kind == "multi" for cache in caches)


def _rows(cache: FeatureCache, split: str, blocks: Blocks | None = None) -> Block:
    block = (blocks or Blocks()).load(cache, split)
    if not len(block):
        there = ", ".join(cache.manifest.counts.get("split", {}))
        raise InputError(f"{cache.path}: no rows in split {split!r} (splits there: {there})")
    return block


def _known(
    cache: FeatureCache, block: Block, split: str, classes: Sequence[str], found: Embeddings
) -> tuple[Block, NDArray[Any]]:
    """The rows with a class that is one of ``classes``, and their labels; the others are counted."""
    name, have = cache.manifest.modality, cache.manifest.classes
    if block.labels is None:
        raise InputError(f"{cache.path} has no labels: this protocol needs them")
    if set(have).isdisjoint(classes):
        class_columns(have, classes, str(cache.path))  # says so
    columns = places(have, classes)
    labels: NDArray[Any] = (
        multi_hot(block.labels, columns).astype(np.uint8) if found.multi_label else class_indices(block.labels, columns)
    )
    labelled, known = _has_label(block.labels), _has_label(labels)
    stray = block.labels[labelled & ~known]
    found.unlabelled[name] = int((~labelled).sum())
    found.unknown[name] = len(stray)
    strange = np.flatnonzero(stray.any(axis=0)) if stray.ndim == 2 else np.unique(stray)
    found.unknown_classes[name] = [have[place] for place in strange]
    if not known.any():
        what = "a class that the run knows" if len(stray) else "a label"
        raise InputError(f"{cache.path}: no row of split {split!r} has {what}")
    block = block.select(known)
    found.ids[name] = block.ids
    return block, labels[known]


def _has_label(labels: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(labels.any(axis=1) if labels.ndim == 2 else labels >= 0, dtype=bool)
