"""The modality gap of a run, stage by stage: of the features, of what a branch says of its inside, of embeddings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xfeat.cache import Block, FeatureCache
from xfeat.errors import InputError
from xfeat.evaluation.embedded import Array, Embedded
from xfeat.evaluation.gap import NO_GAP, ROWS, Gap, measure_gap, sample_rows
from xfeat.progress import progress
from xfeat.training.asked import Asked
from xfeat.training.embedded_rows import Blocks, Embeddings, Part
from xfeat.training.group import is_group, members
from xfeat.training.loading import Embedder, Staged, load_branch
from xfeat.training.run import Run

FEATURES, EMBEDDING = "features", "embedding"


@dataclass(frozen=True, eq=False)
class Looked:
    """The rows of one modality that are looked at.

    Attributes:
        cache: where they are from.
        block: the rows.
        labels: as they were evaluated; None where the protocol needs none.
        keys: of their instances; None where the cache has none.
    """

    cache: FeatureCache
    block: Block
    labels: Array | None
    keys: list[str] | None

    @property
    def ids(self) -> list[str]:
        """Of the rows."""
        return self.block.ids

    @property
    def classes(self) -> list[list[str]]:
        """Names of each row's classes, whatever the protocol; none for a row without a label."""
        names, labels = self.cache.manifest.classes, self.block.labels
        if labels is None:
            return [[] for _ in self.block.ids]
        if labels.ndim == 1:
            return [[names[label]] if label >= 0 else [] for label in labels.tolist()]
        return [[names[place] for place in np.flatnonzero(row)] for row in labels]


@dataclass(frozen=True)
class StageGaps:
    """The gap at one stage by seed; features are the same for all seeds and have one."""

    members: Mapping[int, Gap]

    def to_json(self) -> dict[str, Any]:
        """Means over seeds in ``mean`` and ``pairs``; sample standard deviations in ``spread``, of several seeds."""
        documents = [one.to_json() for one in self.members.values()]
        document = _over_seeds(documents, fmean)
        for pair, numbers in documents[0]["pairs"].items():
            document["pairs"][pair] |= {name: numbers[name] for name in ("rows", "classes", "neighbours")}
        if len(documents) > 1:
            document["spread"] = _over_seeds(documents, stdev)
        return document


@dataclass(frozen=True)
class Gaps:
    """The gap of a run, of a group of seeds, or of raw features.

    Attributes:
        split: of the rows.
        stages: by name, first to last.
        notes: what a reader should know, a line each.
    """

    split: str
    stages: Mapping[str, StageGaps]
    notes: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        seeds = max((list(one.members) for one in self.stages.values()), key=len)
        stated = next(iter(next(iter(self.stages.values())).members.values())).stated
        document = {
            "protocol": {**stated, "split": self.split},
            "stages": {name: one.to_json() for name, one in self.stages.items()},
            "notes": list(self.notes),
        }
        return document if len(seeds) == 1 else {**document, "seeds": seeds}


def run_gaps(path: Path, asked: Asked, found: Embeddings, device: torch.device, blocks: Blocks | None = None) -> Gaps:
    """Measure the gap of a run, or of every run of a group, on rows that were evaluated.

    Args:
        path: of the run or the group.
        asked: what was evaluated.
        found: its rows; 2,000 of each modality are looked at where there are more.
        device: where to embed.
        blocks: rows that were read for it.

    Raises:
        InputError: fewer than two modalities, or none that share a class.
    """
    blocks = blocks or Blocks()
    runs = members(path) if is_group(path) else {Run(path).load_config().seed: path}
    if found.held_out and len(runs) > 1:
        raise InputError(f"{path}: every seed held out rows of its own: measure the gap of one run")
    looked = rows_of_run(next(iter(runs.values())), asked, found, blocks)
    by_seed: dict[str, dict[int, Gap]] = {}
    with progress(f"gap {path.name}", len(runs)) as advance:
        for seed, member in runs.items():
            for name, vectors in run_stages(member, asked, looked, device).items():
                stage = by_seed.setdefault(name, {})
                if name != FEATURES or not stage:
                    stage[seed] = _measured(vectors, looked)
            advance()
    return _gaps(by_seed, asked.split)


def raw_gaps(caches: Sequence[FeatureCache], asked: Asked, found: Embeddings) -> Gaps:
    """Measure the gap of features as they are, on rows that were evaluated.

    Raises:
        InputError: as `run_gaps`.
    """
    looked = _looked({cache.manifest.modality: cache for cache in caches}, {}, asked, found, Blocks())
    vectors = {name: one.block.features for name, one in looked.items()}
    return _gaps({FEATURES: {0: _measured(vectors, looked)}}, asked.split)


def rows_of_run(path: Path, asked: Asked, found: Embeddings, blocks: Blocks, count: int = ROWS) -> dict[str, Looked]:
    """The rows of a run to look at, by modality: a sample of those that were evaluated.

    Args:
        path: of the run, not of a group.
        asked: what was evaluated.
        found: its rows.
        blocks: rows that were read.
        count: of each modality at most.
    """
    run = Run(path)
    config = run.load_config()
    if asked.on:
        caches = {cache.manifest.modality: cache for cache in asked.on}
    else:
        caches = {
            name: run.open_cache(name, source, allow_changed=asked.allow_changed)
            for name, source in config.modalities.items()
            if name in found.ids
        }
    branches = {name: load_branch(run.branch_file(name), asked.weights) for name in caches}
    return _looked(caches, branches, asked, found, blocks, count)


def run_stages(
    path: Path, asked: Asked, looked: Mapping[str, Looked], device: torch.device
) -> dict[str, dict[str, Array]]:
    """Vectors of the rows by stage and modality, first to last.

    The first stage is the features as they are, where all have one width; the others are what the branches name, or
    the embedding alone.
    """
    stages: dict[str, dict[str, Array]] = {}
    if len({one.block.features.shape[1] for one in looked.values()}) == 1:
        stages[FEATURES] = {name: one.block.features for name, one in looked.items()}
    branches = {name: load_branch(Run(path).branch_file(name), asked.weights) for name in looked}
    staged = all(isinstance(branch, Staged) for branch in branches.values())
    for name, branch in branches.items():
        one = looked[name]
        if staged and isinstance(branch, Staged):
            inside: Mapping[str, Array] = branch.stages(one.block.features, device)
        else:
            inside = {EMBEDDING: Part(one.cache, branch).embed(one.block, device)}
        for stage, vectors in inside.items():
            stages.setdefault(stage, {})[name] = vectors
    return stages


def _looked(
    caches: Mapping[str, FeatureCache],
    branches: Mapping[str, Embedder],
    asked: Asked,
    found: Embeddings,
    blocks: Blocks,
    count: int = ROWS,
) -> dict[str, Looked]:
    looked = {}
    for name, ids in found.ids.items():
        cache = caches[name]
        split = "train" if name in found.held_out else asked.split
        block = blocks.load(cache, split, tokens=Part(cache, branches.get(name)).wants_tokens)
        place = {own: row for row, own in enumerate(block.ids)}
        keys = None if block.pair is None else [block.pair[place[own]] for own in ids]
        rows = sorted(sample_rows(ids, keys or [""] * len(ids), count))
        kept = np.zeros(len(block), dtype=bool)
        kept[[place[ids[row]] for row in rows]] = True
        looked[name] = Looked(
            cache,
            block.select(kept),  # in the order of ``found``, which is that of the block
            _some(found.items[name].labels, rows),
            None if keys is None else [keys[row] for row in rows],
        )
    return looked


def _some(labels: Array | None, rows: list[int]) -> Array | None:
    return None if labels is None else labels[torch.tensor(rows)] if isinstance(labels, torch.Tensor) else labels[rows]


def _measured(vectors: Mapping[str, Array | NDArray[Any]], looked: Mapping[str, Looked]) -> Gap:
    items = {name: Embedded(vectors[name], one.labels, keys=one.keys) for name, one in looked.items()}
    return measure_gap(items, {name: one.ids for name, one in looked.items()})


def _gaps(by_seed: Mapping[str, Mapping[int, Gap]], split: str) -> Gaps:
    stages = {name: StageGaps(gaps) for name, gaps in by_seed.items()}
    first = next(iter(next(iter(by_seed.values())).values()))
    notes = [f"{pair.replace('|', ' and ')} share no class: no gap is measured between them" for pair in first.apart]
    return Gaps(split, stages, notes)


def _over_seeds(documents: list[dict[str, Any]], statistic: Callable[[list[float]], float]) -> dict[str, Any]:
    names = (*NO_GAP, "relative_distance")
    return {
        "mean": _each([one["mean"] for one in documents], tuple(NO_GAP), statistic),
        "pairs": {
            pair: _each([one["pairs"][pair] for one in documents], names, statistic) for pair in documents[0]["pairs"]
        },
    }


def _each(
    numbers: list[dict[str, Any]], names: Sequence[str], statistic: Callable[[list[float]], float]
) -> dict[str, float | None]:
    return {
        name: None if any(one[name] is None for one in numbers) else statistic([one[name] for one in numbers])
        for name in names
    }
