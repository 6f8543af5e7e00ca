"""Zero-shot classification: a query takes the class whose prototype is nearest."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from xfeat.errors import InputError
from xfeat.evaluation.embedded import Embedded, checked_classes, checked_vectors, common_similarity
from xfeat.evaluation.first_hit import FirstHit, chance, first_hits
from xfeat.evaluation.relevance import same_class
from xfeat.evaluation.results import Evaluation, PairResult
from xfeat.evaluation.similarity import unit_rows
from xfeat.evaluation.ties import segment_sums

ZERO_SHOT = "zero-shot"
TOP = (1, 5)
PER_CLASS = "per-class"


def class_prototypes(vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """One unit vector per class: the mean of its rows' unit vectors, scaled to length 1.

    Args:
        vectors: (N, d) finite embeddings of any length, of class prompts or of samples.
        labels: (N,) int64, their classes.

    Returns:
        Prototypes (C, d) float64 of the C classes that there are, and those classes (C,) int64, ascending. A class
        whose rows cancel has a prototype of zeros.
    """
    classes, place = labels.unique(return_inverse=True)
    units = unit_rows(vectors, torch.float64)
    return unit_rows(_means(units, place, len(classes)), torch.float64), classes


def evaluate_zero_shot(
    queries: Mapping[str, Embedded],
    sources: Mapping[str, Embedded],
    *,
    dtype: torch.dtype = torch.float32,
    memory: int = 256 << 20,
    device: torch.device | str | None = None,
) -> Evaluation:
    """Accuracy of the nearest class prototype, by cosine, from every modality to the prototypes of every other one.

    The classes that have a prototype are the candidates; a query of another class is left out and counted. Equal
    scores count with their expected value over random orders. ``top-1`` and ``top-5`` are means over queries,
    ``per-class`` is the mean over the queries' classes of their top-1 accuracy. The length of a query plays no part
    in the order of its classes, so embeddings that are compared by inner product are compared by it here too.

    Args:
        queries: items with the class of each, (N,), by modality.
        sources: what prototypes are made of (class prompts, or samples), with the same classes' numbers, by modality.
        dtype: of the scores, torch.float32 or torch.float64.
        memory: bytes that a block of queries may take, see `first_hits`.
        device: to compute on; None computes where the vectors are.

    Returns:
        Pairs "image->text": queries of images, prototypes of text; ``gallery`` counts the candidate classes.

    Raises:
        InputError: embeddings or labels that do not fit each other, no pair of different modalities, or no query of a
            class with a prototype.
    """
    started = time.perf_counter()
    both = {**{f"{name} (prototypes)": item for name, item in sources.items()}, **queries}
    if not any(query != source for query in queries for source in sources):
        raise InputError(
            f"zero-shot needs queries and class prototypes of different modalities, got {', '.join(queries) or 'none'} "
            f"and {', '.join(sources) or 'none'}: give another cache"
        )
    common_similarity(both)
    vectors = checked_vectors(both, device)
    labels = {name: checked_classes(name, item, vectors[name].device, ZERO_SHOT) for name, item in both.items()}
    pairs: dict[str, PairResult] = {}
    for source in sources:
        name = f"{source} (prototypes)"
        prototypes, classes = class_prototypes(vectors[name], labels[name])
        for query in queries:
            if query != source:
                truth = labels[query]
                relevance = same_class(truth, classes.to(truth.device))
                hit = first_hits(vectors[query], prototypes.to(truth.device), relevance, dtype=dtype, memory=memory)
                pairs[f"{query}->{source}"] = _pair(hit, truth, len(classes))
    ordered = {f"{q}->{s}": pairs[f"{q}->{s}"] for q in queries for s in sources if q != s}
    if not any(one.measured for one in ordered.values()):
        raise InputError(
            f"{next(iter(ordered))}: no query is of a class that has a prototype: use the same class names"
        )
    stated: dict[str, Any] = {
        "name": ZERO_SHOT,
        "relevance": "the class of the nearest prototype",
        "similarity": "cosine",
        "prototype": "normalised mean of the normalised embeddings of a class",
        "ties": "expected value under a uniformly random order",
        "top": "probability that the query's class is among the K nearest",
        PER_CLASS: "mean over the queries' classes of top-1",
        "dtype": str(dtype).removeprefix("torch."),
    }
    return Evaluation(stated, time.perf_counter() - started, ordered)


def _pair(hit: FirstHit, labels: Tensor, candidates: int) -> PairResult:
    asked = hit.relevant > 0
    found, classes = hit[asked], labels[asked]
    return PairResult(
        _accuracies(found, classes),
        _accuracies(chance(found.relevant, candidates), classes),
        len(labels),
        candidates,
        len(labels) - len(classes),
        by_query={f"top-{cut}": hit.within(cut).where(asked, torch.nan).cpu() for cut in TOP},
    )


def _accuracies(hit: FirstHit, labels: Tensor) -> dict[str, float]:
    # Means over no query are NaN.
    accuracies = {f"top-{cut}": float(hit.within(cut).mean()) for cut in TOP}
    classes, place = labels.unique(return_inverse=True)
    return {**accuracies, PER_CLASS: float(_means(hit.within(1), place, len(classes)).mean())}


def _means(values: Tensor, place: Tensor, places: int) -> Tensor:
    """Means of the values (N, ...) at each place, added up in the same order on every run."""
    ordered, order = place.sort(stable=True)
    offsets = torch.searchsorted(ordered, torch.arange(places + 1, device=place.device))
    sums = segment_sums(values[order], offsets)
    return sums / offsets.diff().view(-1, *[1] * (values.ndim - 1))
