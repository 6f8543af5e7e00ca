"""The modality gap: how far apart, how separable and how unmixed the embeddings of different modalities lie.

Centroid distance is that of Liang et al., "Mind the Gap: Understanding the Modality Gap in Multi-modal Contrastive
Representation Learning", NeurIPS 2022; whether a linear classifier tells the modalities apart is looked at there too.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.errors import InputError
from xfeat.evaluation.embedded import Embedded, checked_classes, checked_multi_hot, checked_vectors
from xfeat.evaluation.gap_measures import Balance, centroids, overlap, separability
from xfeat.evaluation.similarity import unit_rows

NO_GAP: Mapping[str, float] = {"centroid_distance": 0.0, "separability": 0.5, "auc": 0.5, "overlap": 1.0}
"""The measures, and what they are where the modality makes no difference."""
ROWS, NEIGHBOURS, FOLDS = 2000, 10, 5


@dataclass(frozen=True)
class PairGap:
    """The gap between two modalities; a number that could not be measured is NaN.

    Attributes:
        centroid_distance: Euclidean distance of the mean unit vectors, 0 to 2.
        relative_distance: that, in units of the rows' own root mean square distance from their centroid.
        separability: cross-validated accuracy of telling the modality, 0.5 (not separable) to 1; less where partners
            coincide whose keys are not known: each is held out while the other is learnt as the other modality's.
        auc: area under the ROC curve of the same, 0.5 to 1.
        overlap: neighbours of the other modality, as a multiple of what perfect mixing gives: 0 apart, 1 mixed; more
            where rows lie nearer to the other modality than to their own, as partners that meet do.
        rows: of the two modalities.
        classes: that both have; 0 where no labels are known.
        neighbours: looked at for each row.
    """

    centroid_distance: float
    relative_distance: float
    separability: float
    auc: float
    overlap: float
    rows: tuple[int, int]
    classes: int
    neighbours: int


@dataclass(frozen=True)
class Gap:
    """The gap of every unordered pair of modalities, named "image|text".

    Attributes:
        pairs: by name, in the order of the modalities.
        apart: pairs that share no class, so that nothing about them is the modality's alone.
        stated: how it was measured.
    """

    pairs: Mapping[str, PairGap]
    apart: Sequence[str]
    stated: Mapping[str, Any]

    @property
    def mean(self) -> dict[str, float]:
        """Of each measure over the pairs that have it; NaN where none does."""
        found = {name: [getattr(one, name) for one in self.pairs.values()] for name in NO_GAP}
        finite = {name: [value for value in values if math.isfinite(value)] for name, values in found.items()}
        return {name: sum(values) / len(values) if values else math.nan for name, values in finite.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; a number that could not be measured is None."""
        return {
            "protocol": dict(self.stated),
            "pairs": {name: _plain(asdict(one)) for name, one in self.pairs.items()},
            "mean": _plain(self.mean),
            "apart": list(self.apart),
        }


def measure_gap(
    embeddings: Mapping[str, Embedded],
    ids: Mapping[str, Sequence[str]] | None = None,
    *,
    rows: int = ROWS,
    neighbours: int = NEIGHBOURS,
    folds: int = FOLDS,
    seed: int = 0,
) -> Gap:
    """Measure the gap on unit rows, for every unordered pair of modalities.

    Where every modality has labels, a pair is measured on the rows of the classes that both have, and each of those
    weighs the same in either: what comes of class distributions that differ is not a gap. A row of several classes
    counts for each in equal parts.

    - centroid distance: of the (class-balanced) mean unit vectors;
    - separability: a logistic regression (L2, C = 1) on rows centred and scaled by one factor, stratified folds; all
      rows of an instance are in one fold;
    - overlap: the share of the nearest rows by cosine, the row itself aside, that are of the other modality, over what
      it would be if modalities were dealt out anew within each class. Ties count with their expected value.

    A common rotation of all rows changes nothing, nor does their order where ``ids`` are given.

    Args:
        embeddings: two modalities or more in one common space; labels and keys may be missing.
        ids: (n,) by modality, different within it; they decide which rows are sampled and in which fold they are.
            None: their places do.
        rows: at most so many of each modality, sampled by key and id; rows of one instance go together.
        neighbours: of each row; fewer where a modality has no more rows.
        folds: of the cross-validation; fewer where a modality has fewer instances.
        seed: of the sample and the folds.

    Raises:
        InputError: embeddings, labels, ids or keys that do not fit each other, or no two modalities that share a class.
    """
    if min(rows, neighbours) < 1 or folds < 2:
        raise InputError(f"rows {rows}, neighbours {neighbours}: 1 or more of each; folds {folds}: 2 or more")
    named = {name: _identified(name, item, ids) for name, item in embeddings.items()}
    chosen = {name: sample_rows(*named[name], rows, seed) for name in embeddings}
    items = {name: _taken(item, chosen[name]) for name, item in embeddings.items()}
    units = {name: unit_rows(vectors, torch.float64) for name, vectors in checked_vectors(items, "cpu").items()}
    members = _memberships(items)
    groups = {name: _groups(name, *named[name], chosen[name]) for name in units}
    pairs, apart = {}, []
    for one, other in combinations(units, 2):
        sides = Balance.of(members[one], members[other])
        if sides is None:
            apart.append(f"{one}|{other}")
            continue
        x = torch.cat([units[one], units[other]])[sides.kept]
        own = [(groups[one] + groups[other])[row] for row in sides.kept.tolist()]
        near = max(1, min(neighbours, min(sides.rows) - 1))
        pairs[f"{one}|{other}"] = PairGap(
            *centroids(x, sides),
            *separability(x, sides, own, folds),
            overlap(x, sides, near),
            sides.rows,
            sides.classes if _labelled(items) else 0,
            near,
        )
    if not pairs:
        raise InputError("no two modalities share a class: a gap between them cannot be told from that of the classes")
    stated = {"rows": rows, "neighbours": neighbours, "folds": folds, "seed": seed, "no_gap": dict(NO_GAP)}
    return Gap(pairs, apart, {**stated, "class_balanced": _labelled(items)})


def sample_rows(ids: Sequence[str], keys: Sequence[str], count: int, seed: int = 0) -> list[int]:
    """Places of ``count`` rows, or of all, in an order that depends on their keys and ids and the seed alone.

    Args:
        ids: (n,) of the rows.
        keys: (n,) of the instances; empty where there is none. Rows of one key follow each other, and modalities that
            share keys tend to get the same instances.
        count: at most so many.
        seed: another one gives another sample.
    """
    digests = [(_digest(key or name, seed), _digest(name, seed)) for name, key in zip(ids, keys, strict=True)]
    return sorted(range(len(ids)), key=digests.__getitem__)[:count]


def _digest(word: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{word}".encode("utf-8", "surrogatepass")).digest()


def _identified(
    name: str, item: Embedded, ids: Mapping[str, Sequence[str]] | None
) -> tuple[Sequence[str], Sequence[str]]:
    """Ids and keys of a modality's rows, as text."""
    count = len(item.vectors)
    own = [str(row) for row in range(count)] if ids is None else ids[name]
    keys = [""] * count if item.keys is None else [str(key) for key in _listed(item.keys)]
    if len(own) != count or len(keys) != count:
        raise InputError(f"{name} has {count} embeddings but {len(own)} ids and {len(keys)} instance keys")
    return own, keys


def _groups(name: str, ids: Sequence[str], keys: Sequence[str], rows: list[int]) -> list[str]:
    """What is never divided: an instance, or a row without a key."""
    return [f"key {keys[row]}" if keys[row] else f"row {name} {ids[row]}" for row in rows]


def _listed(values: Any) -> Iterable[Any]:
    return values.tolist() if isinstance(values, Tensor | np.ndarray) else values


def _taken(item: Embedded, rows: list[int]) -> Embedded:
    return Embedded(_rows(item.vectors, rows), _rows(item.labels, rows))


def _rows(array: Tensor | NDArray[Any] | None, rows: list[int]) -> Any:
    if array is None:
        return None
    return array[torch.tensor(rows, device=array.device)] if isinstance(array, Tensor) else array[rows]


def _labelled(items: Mapping[str, Embedded]) -> bool:
    return all(item.labels is not None for item in items.values())


def _memberships(items: Mapping[str, Embedded]) -> dict[str, Tensor]:
    """(n, C) float64 by modality: parts of each row in the classes, of sum 1; one class of all where none is known."""
    if not _labelled(items):
        return {name: torch.ones(len(item.vectors), 1, dtype=torch.float64) for name, item in items.items()}
    cpu = torch.device("cpu")
    if any(getattr(item.labels, "ndim", 1) == 2 for item in items.values()):
        hot = {name: checked_multi_hot(name, item, cpu).double() for name, item in items.items()}
        if len({rows.shape[1] for rows in hot.values()}) > 1:
            raise InputError("multi-hot labels have different numbers of classes: give those of one list of classes")
        return {name: rows / rows.sum(1, keepdim=True) for name, rows in hot.items()}
    classes = {name: checked_classes(name, item, cpu, "modality gap") for name, item in items.items()}
    count = 1 + max(int(own.max()) for own in classes.values())
    return {name: torch.nn.functional.one_hot(own, count).double() for name, own in classes.items()}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
