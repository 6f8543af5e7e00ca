"""The zero-shot retrieval protocol: find items of the query's class, when training saw no item of that class."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from xfeat.errors import InputError
from xfeat.evaluation.embedded import Embedded, checked_classes, checked_vectors, common_similarity
from xfeat.evaluation.ranking import average_precision
from xfeat.evaluation.relevance import same_class
from xfeat.evaluation.results import Evaluation, PairResult
from xfeat.evaluation.similarity import Similarity
from xfeat.evaluation.ties import Cut, Denominator, chance_average_precision

ZERO_SHOT_RETRIEVAL = "zero-shot-retrieval"
GalleryClasses: TypeAlias = Literal["unseen", "all"]
CUTS: tuple[Cut, ...] = (None, 200)
PRECISION_CUTS = (100, 200)
GALLERIES: Mapping[str, str] = {
    "unseen": "items of unseen classes alone",
    "all": "items of every class; those of seen classes are distractors",
}
"""What is ranked, to be printed with the numbers."""


@dataclass(frozen=True)
class _Ranking:
    """What is measured, and how scores are computed, see `average_precision`."""

    denominator: Denominator
    similarity: Similarity
    dtype: torch.dtype
    memory: int


def evaluate_unseen(
    embeddings: Mapping[str, Embedded],
    unseen: Sequence[int],
    *,
    gallery: GalleryClasses = "unseen",
    denominator: Denominator = "hits",
    dtype: torch.dtype = torch.float32,
    memory: int = 256 << 20,
    device: torch.device | str | None = None,
) -> Evaluation:
    """Average precision and precision of retrieval of unseen classes, from every modality to every other one.

    Queries are the items of unseen classes, relevant to them the gallery items of their class. By query, the expected
    value over uniformly random orders of equally scored items:

    - ``mAP@all``, ``mAP@200``: average precision over the whole ranking and within its first 200, as of
      `expected_average_precision` with the ``denominator``;
    - ``P@100``, ``P@200``: expected relevant items within the first K, divided by K. The divisor stays K where the
      gallery, or the class, is smaller, as in trec_eval: then 1 is out of reach.

    These are the metrics of zero-shot sketch-based image retrieval (cut at 200: Yelamarthi et al., ECCV 2018; at 100
    and over the whole ranking: Dutta and Akata, CVPR 2019). A pair's numbers are means over the queries with a relevant
    item; chance levels are those of a random ranking.

    Args:
        embeddings: two modalities or more in one common space, by name, with labels (N,).
        unseen: the labels that training did not see.
        gallery: ``unseen`` ranks items of these classes alone; ``all`` (generalised zero-shot retrieval) ranks every
            item.
        denominator: of average precision at a cut, see `evaluate`.
        dtype: of the scores, torch.float32 or torch.float64.
        memory: bytes that a block of queries may take, see `average_precision`.
        device: to compute on; None computes where the vectors are.

    Raises:
        InputError: embeddings or labels that do not fit each other, an unknown setting, or no query of an unseen class
            that has a relevant item in another modality.
    """
    started = time.perf_counter()
    if gallery not in get_args(GalleryClasses):
        raise InputError(f"unknown gallery classes {gallery!r}: choose {' or '.join(get_args(GalleryClasses))}")
    if denominator not in get_args(Denominator):
        raise InputError(f"unknown denominator {denominator}: choose {' or '.join(get_args(Denominator))}")
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"scores are computed in float32 or float64, not {dtype}")
    similarity = common_similarity(embeddings) if embeddings else "cosine"
    vectors = checked_vectors(embeddings, device)
    labels = {n: checked_classes(n, embeddings[n], rows.device, ZERO_SHOT_RETRIEVAL) for n, rows in vectors.items()}
    asked = {n: torch.isin(own, torch.tensor(list(unseen), device=own.device)) for n, own in labels.items()}
    ranking = _Ranking(denominator, similarity, dtype, memory)
    pairs: dict[str, PairResult] = {}
    for query in vectors:
        for other in vectors:
            if query != other:
                ranked = asked[other] if gallery == "unseen" else torch.ones_like(asked[other])
                pairs[f"{query}->{other}"] = _pair(
                    (vectors[query][asked[query]], labels[query][asked[query]]),
                    (vectors[other][ranked], labels[other][ranked]),
                    asked[query],
                    ranking,
                )
    if not any(one.measured for one in pairs.values()):
        raise InputError(
            f"{next(iter(pairs))}: no query of an unseen class has an item of its class in the gallery, nor in any "
            "other pair: two modalities need rows of the same unseen class"
        )
    stated: dict[str, Any] = {
        "name": ZERO_SHOT_RETRIEVAL,
        "relevance": "same class",
        "similarity": similarity,
        "ties": "expected value under a uniformly random order",
        "gallery_classes": gallery,
        "gallery_means": GALLERIES[gallery],
        "denominator": denominator,
        "cuts": ["all" if cut is None else cut for cut in CUTS],
        "precision": "relevant items within K over K, however small the gallery",
        "precision_cuts": list(PRECISION_CUTS),
        "dtype": str(dtype).removeprefix("torch."),
    }
    return Evaluation(stated, time.perf_counter() - started, pairs)


def _pair(
    queries: tuple[Tensor, Tensor], gallery: tuple[Tensor, Tensor], rows: Tensor, ranking: _Ranking
) -> PairResult:
    """The numbers of queries and gallery, each vectors and labels, either perhaps without rows.

    ``rows`` is (n,) bool, which of the modality's rows are queries.
    """
    ranked = len(gallery[0])
    if not len(queries[0]) or not ranked:
        nothing = {name: float("nan") for name in (*map(_mean_name, CUTS), *map(_precision_name, PRECISION_CUTS))}
        return PairResult(nothing, nothing, len(queries[0]), ranked, len(queries[0]))
    cuts = list(dict.fromkeys((*CUTS, *PRECISION_CUTS)))
    result = average_precision(
        queries[0],
        gallery[0],
        same_class(queries[1], gallery[1]),
        cuts,
        ranking.denominator,
        similarity=ranking.similarity,
        dtype=ranking.dtype,
        memory=ranking.memory,
    )
    asked = result.relevant > 0
    relevant = result.relevant[asked]
    metrics: dict[str, float] = {}
    chance: dict[str, float] = {}
    for cut in CUTS:
        # Means over no query are NaN.
        metrics[_mean_name(cut)] = float(result.values[asked, cuts.index(cut)].mean())
        chance[_mean_name(cut)] = float(chance_average_precision(relevant, ranked, cut, ranking.denominator).mean())
    for places in PRECISION_CUTS:
        metrics[_precision_name(places)] = float(result.hits[asked, cuts.index(places)].mean()) / places
        expected = relevant.double() * min(places, ranked) / ranked
        chance[_precision_name(places)] = float(expected.mean()) / places
    by_query = {_mean_name(cut): result.values[:, cuts.index(cut)] for cut in CUTS}
    by_query |= {
        _precision_name(places): (result.hits[:, cuts.index(places)] / places).where(asked, torch.nan)
        for places in PRECISION_CUTS
    }
    whole = {name: _scattered(values, rows) for name, values in by_query.items()}
    return PairResult(metrics, chance, len(queries[0]), ranked, len(queries[0]) - len(relevant), by_query=whole)


def _scattered(values: Tensor, rows: Tensor) -> Tensor:
    """Values of the queries among all rows of their modality, NaN elsewhere, on the CPU."""
    whole = values.new_full(rows.shape, torch.nan)
    whole[rows] = values
    return whole.cpu()


def _mean_name(cut: Cut) -> str:
    return "mAP@all" if cut is None else f"mAP@{cut}"


def _precision_name(cut: int) -> str:
    return f"P@{cut}"
