"""The rows that an evaluation is on, embedded: which are read, which are left out and why, and what makes vectors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.cache import Block, FeatureCache
from xfeat.errors import InputError
from xfeat.evaluation.domain import rows_of_classes
from xfeat.evaluation.embedded import Embedded
from xfeat.evaluation.instance import INSTANCE
from xfeat.evaluation.protocols import CATEGORY
from xfeat.evaluation.reid import RE_ID
from xfeat.evaluation.similarity import Similarity
from xfeat.training.classes import class_columns, class_indices, multi_hot, places
from xfeat.training.loading import Embedder


@dataclass
class Embeddings:
    """Embedded rows of one split, by modality.

    Attributes:
        items: vectors with labels, (n,) int64, or (n, C) uint8 when any cache is multi-label; under the instance
            protocol with pair keys instead, under the re-id protocol with ids too, and cameras where there are any.
        ids: of the rows.
        keys: pair keys of the rows, of modalities whose cache has them.
        protocol: what they are fit for; the one that was asked for, or the one that the run or the labels suggest.
        classes: names of the classes that labels stand for.
        chosen: names of the classes that rows were kept of; None where no choice was made.
        unseen: names of the classes that queries are of, under the zero-shot-retrieval protocol.
        unlabelled: rows left out because they have no label, by modality.
        unkeyed: rows left out because their pair key is empty, by modality.
        others: rows left out because they are not of the chosen classes, by modality.
        unknown: rows left out because the run knows none of their classes, by modality.
        unknown_classes: classes of those rows, by modality.
        untrained: classes that a branch never trained on, by modality; empty for raw features.
        held_out: rows of split ``train`` that training held out and that stand for split ``val``, by modality.
        notes: what looks wrong or is not as asked for, such as names of classes written in two ways.
        multi_label: whether a sample may have several classes.
        relevance: the run's rule of what is relevant among samples of several classes.
        weights: which weights made the vectors, ``raw`` or ``ema``, where a run has such; else empty.
        both_weights: whether the run has both.
    """

    items: dict[str, Embedded] = field(default_factory=dict)
    ids: dict[str, list[str]] = field(default_factory=dict)
    keys: dict[str, list[str]] = field(default_factory=dict)
    protocol: str = CATEGORY
    classes: list[str] = field(default_factory=list)
    chosen: list[str] | None = None
    unseen: list[str] = field(default_factory=list)
    unlabelled: dict[str, int] = field(default_factory=dict)
    unkeyed: dict[str, int] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    unknown_classes: dict[str, list[str]] = field(default_factory=dict)
    untrained: dict[str, list[str]] = field(default_factory=dict)
    held_out: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    multi_label: bool = False
    relevance: str = "any"
    weights: str = ""
    both_weights: bool = False


class Blocks:
    """Rows of caches, read once however many runs ask for them."""

    def __init__(self) -> None:
        self._read: dict[tuple[Path, str, str | None, bool], Block] = {}

    def load(self, cache: FeatureCache, split: str | None, *, tokens: bool = False) -> Block:
        """The rows of one split (None: of all), those of failed samples left out."""
        key = cache.path.resolve(), cache.manifest.content, split, tokens
        if key not in self._read:
            self._read[key] = cache.load(None if split is None else (split,), with_tokens=tokens)
        return self._read[key]


@dataclass(frozen=True)
class Part:
    """One modality: its rows, and what embeds them; None where features are taken as they are.

    ``held`` (n,) marks rows of split ``train`` that stand for those of the split that is asked for; None for none.
    """

    cache: FeatureCache
    branch: Embedder | None
    held: NDArray[np.bool_] | None = None

    @property
    def similarity(self) -> Similarity:
        """What its vectors are compared by."""
        return self.branch.similarity if self.branch else "cosine"

    @property
    def wants_tokens(self) -> bool:
        """Whether token sequences must be read."""
        return self.branch is not None and self.branch.wants_tokens

    def embed(self, block: Block, device: torch.device) -> Tensor | NDArray[Any]:
        """Vectors (n, O) float32 of rows of the cache."""
        if self.branch is None:
            return block.features.astype(np.float32)
        if self.wants_tokens:
            return self.branch.embed(block.features, device, tokens=block.tokens)
        return self.branch.embed(block.features, device)


def embed_parts(
    parts: Mapping[str, Part], split: str | None, device: torch.device, found: Embeddings, blocks: Blocks
) -> Embeddings:
    """Fill in the items of ``found``, by its protocol, classes and chosen classes."""
    rows = {name: _rows(part, split, blocks) for name, part in parts.items()}
    if found.protocol == INSTANCE:
        rows = {name: _keyed(parts[name].cache, block, found) for name, block in rows.items()}
    if found.chosen is not None:
        rows = _of_chosen_classes(parts, rows, split, found)
    for name, part in parts.items():
        block, labels = rows[name], None
        if found.protocol != INSTANCE:
            block, labels = _known(part.cache, block, split, found)
        found.ids[name] = block.ids
        if block.pair is not None:
            found.keys[name] = list(block.pair)
        keys = block.pair if found.protocol == INSTANCE else None
        cameras, ids = (block.camera, block.ids) if found.protocol == RE_ID else (None, None)
        found.items[name] = Embedded(part.embed(block, device), labels, part.similarity, keys, cameras, ids)
    return found


def _rows(part: Part, split: str | None, blocks: Blocks) -> Block:
    if part.held is not None:
        return blocks.load(part.cache, "train", tokens=part.wants_tokens).select(part.held)
    block = blocks.load(part.cache, split, tokens=part.wants_tokens)
    if not len(block):
        there = ", ".join(part.cache.manifest.counts.get("split", {}))
        where = "" if split is None else f" in split {split!r} (splits there: {there})"
        raise InputError(f"{part.cache.path}: no rows{where}")
    return block


def _keyed(cache: FeatureCache, block: Block, found: Embeddings) -> Block:
    """The rows with a pair key; the others are counted."""
    if block.pair is None:
        raise InputError(
            f"{cache.path} has no pair keys: protocol instance needs them (a `pair` column in the manifest, or "
            "`--pair` of `xfeat import`), or leave it out (--modalities)"
        )
    keyed = np.array([bool(key) for key in block.pair], dtype=bool)
    found.unkeyed[cache.manifest.modality] = int((~keyed).sum())
    if not keyed.any():
        raise InputError(f"{cache.path}: every pair key is empty: fill in the `pair` column")
    return block.select(keyed)


def _of_chosen_classes(
    parts: Mapping[str, Part], rows: Mapping[str, Block], split: str | None, found: Embeddings
) -> dict[str, Block]:
    chosen, by_instance = found.chosen or [], found.protocol == INSTANCE
    have = {name: part.cache.manifest.classes for name, part in parts.items()}
    if not by_instance:  # rows without a label are told apart later
        for name, part in parts.items():
            if rows[name].labels is None:
                raise InputError(f"{part.cache.path} has no labels: this protocol needs them")
    keep = rows_of_classes(rows, have, chosen, by_instance=by_instance)
    kept = {}
    for name, block in rows.items():
        mask = keep[name] if by_instance or block.labels is None else keep[name] | ~_has_label(block.labels)
        found.others[name] = int((~mask).sum())
        if not mask.any():
            where = "" if split is None else f" of split {split!r}"
            raise InputError(f"{parts[name].cache.path}: no row{where} is of the {len(chosen)} chosen classes")
        kept[name] = block.select(mask)
    return kept


def _known(cache: FeatureCache, block: Block, split: str | None, found: Embeddings) -> tuple[Block, NDArray[Any]]:
    """The rows with a class that is one of ``found.classes``, and their labels; the others are counted."""
    name, have, classes = cache.manifest.modality, cache.manifest.classes, found.classes
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
    return block.select(known), labels[known]


def _has_label(labels: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(labels.any(axis=1) if labels.ndim == 2 else labels >= 0, dtype=bool)
