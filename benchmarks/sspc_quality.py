"""What SSPC's consistency does for retrieval in and out of domain: against contrastive only, and each of its parts."""

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from omniglot import SEEN, omniglot_caches
from torch import Tensor

from xfeat.cache import Block, FeatureCache
from xfeat.evaluation.domain import chosen_classes, rows_of_classes
from xfeat.evaluation.embedded import Embedded
from xfeat.evaluation.instance import evaluate_instances
from xfeat.evaluation.protocols import evaluate
from xfeat.extraction.importing import import_features
from xfeat.methods.sspc_settings import SspcSettings
from xfeat.samples.importers import Names, read_arrays
from xfeat.training.embedding import embed_run
from xfeat.training.sspc import train
from xfeat.training.sspc_store import Weights

METRICS = ("R@1", "R@5", "R@10", "gmean", "mAP@all")
DOMAINS = {"seen": "in domain", "unseen": "out of domain"}
BASE = "contrastive only"
# The paper's temperature, eps and input anchors; sizes and schedule stay.
PAPER: dict[str, Any] = {"temperature": 0.05, "eps": 0.07, "input_anchors": "projected"}
VARIANTS: dict[str, dict[str, Any]] = {
    BASE: {"beta": 0.0},
    "single assignment": {"assignment": "single"},
    "full": {},
    "paper's: contrastive only": {**PAPER, "beta": 0.0},
    "paper's: single assignment": {**PAPER, "assignment": "single"},
    "paper's: full": PAPER,
}
ABLATIONS: dict[str, dict[str, Any]] = {
    "K = 16": {"anchors": 16},
    "K = 128": {"anchors": 128},
    "required = 1": {"required": 1},
    "required = K / 8": {"required": 8},
    "eps = 0.015": {"eps": 0.015},
    "eps = 0.07": {"eps": 0.07},
    "beta = 0.3": {"beta": 0.3},
    "beta = 3": {"beta": 3.0},
    "projected: contrastive only": {"input_anchors": "projected", "beta": 0.0},
    "projected: full": {"input_anchors": "projected"},
}
RIDGES = (0.03, 0.3, 3.0)  # of a feature's variance
COMPONENTS = (16, 32, 64, 128)

Scores = dict[str, dict[str, float]]
"""Metrics by domain."""


@dataclass(frozen=True)
class Found:
    """Scores of every seed, by weights, and the seconds of each training."""

    by_weights: dict[str, list[Scores]]
    seconds: list[float] = field(default_factory=list)


def mfeat_pairs(data: Path, work: Path) -> list[FeatureCache]:
    """Six views of a digit are one instance: the rows of one number."""
    folder, caches = data / "mfeat", []
    for view in range(6):
        names = Names(features=f"X[{view}]", labels="Y", split=f"{folder / 'split.csv'}#split", pair="rows")
        import_features(read_arrays(folder / "handwritten.mat", names), work / f"view{view}", f"view{view}")
        caches.append(FeatureCache(work / f"view{view}"))
    return caches


# Caches, and the classes that are trained on.
SETS: dict[str, tuple[Callable[[Path, Path], list[FeatureCache]], Sequence[str]]] = {
    "omniglot": (omniglot_caches, SEEN),
    "mfeat": (mfeat_pairs, [str(digit) for digit in range(7)]),
}


def scores(run: Path, weights: Weights) -> Scores:
    """Retrieval of instances, and of classes, among the test rows of each domain."""
    cpu = torch.device("cpu")
    return {
        domain: retrieval(
            embed_run(run, "test", cpu, weights=weights, classes=domain, protocol="instance").items,
            embed_run(run, "test", cpu, weights=weights, classes=domain, protocol="category").items,
        )
        for domain in DOMAINS
    }


def retrieval(keyed: Mapping[str, Embedded], labelled: Mapping[str, Embedded]) -> dict[str, float]:
    """Metrics of the instance protocol, and mAP@all of the category protocol; chance levels among them."""
    return {**evaluate_instances(keyed).mean, **evaluate(labelled, cuts=(None,)).mean}


def trained(
    caches: Sequence[FeatureCache],
    given: Mapping[str, Any],
    seeds: Sequence[int],
    kinds: Sequence[Weights],
    work: Path,
) -> Found:
    """Train every seed, one after another, and read its test scores by every kind of weights."""
    found = Found({kind: [] for kind in kinds})
    for seed in seeds:
        started = time.perf_counter()
        train(caches, work / f"seed{seed}", SspcSettings(**given), seed=seed)
        found.seconds.append(time.perf_counter() - started)
        for kind in kinds:
            found.by_weights[kind].append(scores(work / f"seed{seed}", kind))
    return found


Rows = dict[str, tuple[Tensor, list[str], Tensor]]
"""Features (n, D) float64, pair keys and labels (n,) by modality."""


@dataclass(frozen=True)
class Canonical:
    """Linear CCA of two modalities: by name what is taken off, and the projection (D, c) of what is left."""

    means: dict[str, Tensor]
    maps: dict[str, Tensor]

    def scores(self, rows: Rows) -> dict[str, float]:
        """Retrieval of instances among rows."""
        items = {
            name: Embedded((rows[name][0] - mean) @ self.maps[name], rows[name][2], keys=rows[name][1])
            for name, mean in self.means.items()
        }
        return retrieval(items, items)


def canonical(rows: Rows, pair: Sequence[str], ridge: float, components: int) -> Canonical:
    """Fit rows that are paired in order; features are standardised, ``ridge`` is added to their variances."""
    means, whiten, white = {}, {}, {}
    for name in pair:
        x = rows[name][0]
        means[name], scale = x.mean(0), x.std(0, correction=0).clamp_min(1e-8)
        x = (x - means[name]) / scale
        value, vector = torch.linalg.eigh(x.T @ x / len(x) + ridge * torch.eye(x.shape[1], dtype=x.dtype))
        half = vector * value.rsqrt() @ vector.T
        white[name], whiten[name] = x @ half, half / scale[:, None]
    one, other = pair
    u, _, vt = torch.linalg.svd(white[one].T @ white[other], full_matrices=False)
    maps = {one: whiten[one] @ u[:, :components], other: whiten[other] @ vt[:components].T}
    return Canonical(means, maps)


def plain_scores(caches: Sequence[FeatureCache], classes: Sequence[str]) -> dict[str, Scores]:
    """Test scores of linear CCA, fitted to each pair of modalities on its own, and of chance.

    Ridge and number of components are those with the best gmean among the val rows in domain.
    """
    every = caches[0].manifest.classes
    seen = chosen_classes(list(classes), every, [])
    fitted, val = _rows(caches, "train", seen), _rows(caches, "val", seen)
    unseen = [name for name in every if name not in seen]
    test = {"seen": _rows(caches, "test", seen), "unseen": _rows(caches, "test", unseen)}
    found = []
    for pair in combinations(fitted, 2):
        tried = [canonical(fitted, pair, ridge, components) for ridge in RIDGES for components in COMPONENTS]
        best = max(tried, key=lambda one: one.scores(val)["gmean"])
        found.append({domain: best.scores(rows) for domain, rows in test.items()})
    return {"linear CCA": _average(found), "chance": _average(found, "chance ")}


def _rows(caches: Sequence[FeatureCache], split: str, names: Sequence[str]) -> Rows:
    blocks = {cache.manifest.modality: cache.load((split,)) for cache in caches}
    have = {cache.manifest.modality: cache.manifest.classes for cache in caches}
    kept = rows_of_classes(blocks, have, names, by_instance=True)
    return {name: _table(block, kept[name].nonzero()[0].tolist()) for name, block in blocks.items()}


def _table(block: Block, kept: Sequence[int]) -> tuple[Tensor, list[str], Tensor]:
    keys = block.pair or []
    order = sorted(kept, key=lambda row: keys[row])  # the same in every modality
    labels = torch.from_numpy(block.labels[order])
    return torch.from_numpy(block.features[order]).double(), [keys[row] for row in order], labels


def _average(found: Sequence[Scores], prefix: str = "") -> Scores:
    return {d: {m: statistics.mean(one[d][prefix + m] for one in found) for m in METRICS} for d in DOMAINS}


def print_quality(
    data: Path,
    sets: Sequence[str],
    seeds: Sequence[int],
    kinds: Sequence[Weights],
    given: Mapping[str, Any],
    *,
    ablations: bool = False,
) -> None:
    """Tables of each set, for each kind of weights: in domain and out of it, and what the consistency adds."""
    variants = {**VARIANTS, **(ABLATIONS if ablations else {})}
    for name in sets:
        make, classes = SETS[name]
        with tempfile.TemporaryDirectory() as scratch:
            work = Path(scratch)
            caches = make(data, work / "cache")
            found = {}
            for number, (variant, change) in enumerate(variants.items()):
                settings = {**given, **change, "classes": list(classes)}
                found[variant] = trained(caches, settings, seeds, kinds, work / f"run{number}")
            plain = plain_scores(caches, classes)
        for kind in kinds:
            for domain in DOMAINS:
                print(f"\n{name}, {DOMAINS[domain]}, weights {kind}\n")
                _print_table(domain, {row: one.by_weights[kind] for row, one in found.items()}, plain, found)


def _print_table(
    domain: str, rows: Mapping[str, Sequence[Scores]], plain: Mapping[str, Scores], found: Mapping[str, Found]
) -> None:
    print(f"| variant | {' | '.join(METRICS)} | gmean, against {BASE} | seeds above | s |")
    print("| --- |" + " --- |" * (len(METRICS) + 3))
    for row, one in plain.items():
        print(f"| {row} | {' | '.join(f'{one[domain][metric]:.3f}' for metric in METRICS)} | | | |")
    for row, seeds in rows.items():
        cells = [_cell([one[domain][metric] for one in seeds]) for metric in METRICS]
        base = _base(row)
        gains = [a[domain]["gmean"] - b[domain]["gmean"] for a, b in zip(seeds, rows[base], strict=True)]
        against = " | " if row == base else f"{_cell(gains, '+')} | {sum(gain > 0 for gain in gains)} of {len(gains)}"
        print(f"| {row} | {' | '.join(cells)} | {against} | {statistics.median(found[row].seconds):.0f} |", flush=True)


def _base(row: str) -> str:
    """What a row is held against: contrastive only, of its own group, so that both start from the same weights."""
    group, colon, _ = row.rpartition(": ")
    own = f"{group}{colon}{BASE}"
    return own if own in {**VARIANTS, **ABLATIONS} else BASE


def _cell(values: Sequence[float], sign: str = "") -> str:
    spread = statistics.stdev(values) if len(values) > 1 else math.nan
    return f"{statistics.mean(values):{sign}.3f} +- {spread:.3f}"
