"""The instance protocol: retrieval of the items that belong to the query's own instance, by pair keys."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from xfeat.errors import InputError
from xfeat.evaluation.embedded import Embedded, checked_vectors, common_similarity, key_codes
from xfeat.evaluation.first_hit import FirstHit, chance, first_hits
from xfeat.evaluation.relevance import same_class
from xfeat.evaluation.results import Evaluation, PairResult

INSTANCE = "instance"
Missing: TypeAlias = Literal["skip", "miss"]
CUTS = (1, 5, 10, 50)
RECALL = "probability that a relevant item is among the first K (hit rate, success)"
"""What R@K is, to be printed with the numbers."""
GMEAN = (1, 5, 10)
MISSING: Mapping[str, str] = {
    "skip": "queries without an item of their key in the gallery are left out",
    "miss": "misses of rank gallery + 1: queries without an item of their key in the gallery, and one query for each "
    "key of the evaluated rows that the query's modality lacks",
}
"""What becomes of missing items, to be printed with the numbers."""


def evaluate_instances(
    embeddings: Mapping[str, Embedded],
    cuts: Sequence[int] = CUTS,
    *,
    missing: Missing = "skip",
    dtype: torch.dtype = torch.float32,
    memory: int = 256 << 20,
    device: torch.device | str | None = None,
) -> Evaluation:
    """Recall and rank of the best item of the query's instance, from every modality to every other one.

    Relevant to a query are the gallery items of the same key; there may be several, and several queries of one key.
    By query, over uniformly random orders of equally scored items (see `xfeat.evaluation.first_hit`): R@K is the
    probability that a relevant item is among the first K, its rank the expected rank of the first relevant item.
    A pair's R@K is the mean over queries, MeanR the mean of their ranks, MedR the median of their ranks (the mean of
    the middle two of an even number), ``gmean`` the geometric mean of R@1, R@5 and R@10 (a habit of the field, one
    number to compare runs by). Chance levels are the same statistics of a random ranking, exactly.

    Missing items, for a pair of query modality A and gallery modality B, of which B has N items:

    - ``skip``: an item of A whose key B lacks is left out and counted (``without_relevant``).
    - ``miss``: it is a miss instead: it adds 0 to every R@K and counts with rank N + 1. Besides, each key that any
      evaluated modality has and A lacks is one missed query, with the same value. ``missed`` counts both.

    Args:
        embeddings: two modalities or more in one common space, by name, with keys.
        cuts: the K, different whole numbers of 1 or more.
        missing: ``skip`` or ``miss``.
        dtype: of the scores, torch.float32 or torch.float64.
        memory: bytes that a block of queries may take, see `first_hits`.
        device: to compute on; None computes where the vectors are.

    Raises:
        InputError: embeddings or keys that do not fit each other, an unknown setting, or no key that two modalities
            share.
    """
    started = time.perf_counter()
    _check_settings(cuts, missing, dtype)
    similarity = common_similarity(embeddings) if embeddings else "cosine"
    vectors = checked_vectors(embeddings, device)
    codes = key_codes(embeddings, next(iter(vectors.values())).device)
    total = 1 + max(int(own.max()) for own in codes.values())
    pairs: dict[str, PairResult] = {}
    for query in vectors:
        lacking = total - len(codes[query].unique())
        for gallery in vectors:
            if query == gallery:
                continue
            relevance = same_class(codes[query], codes[gallery])
            hit = first_hits(
                vectors[query], vectors[gallery], relevance, similarity=similarity, dtype=dtype, memory=memory
            )
            without = int((hit.relevant == 0).sum())
            missed = without + lacking if missing == "miss" else 0
            pairs[f"{query}->{gallery}"] = _pair(hit, len(vectors[gallery]), cuts, missed)
    if all(one.without_relevant == one.queries for one in pairs.values()):
        raise InputError(
            "no two modalities share an instance key: give items that belong together the same key (the `pair` column)"
        )
    stated: dict[str, Any] = {
        "name": INSTANCE,
        "relevance": "same instance key",
        "similarity": similarity,
        "ties": "expected value under a uniformly random order",
        "missing": missing,
        "missing_means": MISSING[missing],
        "cuts": list(cuts),
        "recall": RECALL,
        "gmean": "geometric mean of " + ", ".join(f"R@{cut}" for cut in GMEAN),
        "dtype": str(dtype).removeprefix("torch."),
    }
    return Evaluation(stated, time.perf_counter() - started, pairs)


def _pair(hit: FirstHit, gallery: int, cuts: Sequence[int], missed: int) -> PairResult:
    found = hit[hit.relevant > 0]
    return PairResult(
        _statistics(found, gallery, cuts, missed),
        _statistics(chance(found.relevant, gallery), gallery, cuts, missed),
        len(hit.relevant),
        gallery,
        len(hit.relevant) - len(found.relevant),
        missed,
        by_query=_by_query(hit, cuts),
    )


def _by_query(hit: FirstHit, cuts: Sequence[int]) -> dict[str, Tensor]:
    values = {f"R@{cut}": hit.within(cut) for cut in cuts} | {"rank": hit.rank()}
    return {name: one.where(hit.relevant > 0, torch.nan).cpu() for name, one in values.items()}


def _statistics(hit: FirstHit, gallery: int, cuts: Sequence[int], missed: int) -> dict[str, float]:
    rank = hit.rank()
    ranks = torch.cat([rank, rank.new_full((missed,), gallery + 1)])
    if not len(ranks):
        return dict.fromkeys([*(f"R@{cut}" for cut in cuts), "MedR", "MeanR", "gmean"], float("nan"))
    recall = {cut: float(hit.within(cut).sum()) / len(ranks) for cut in dict.fromkeys((*cuts, *GMEAN))}
    product = 1.0
    for cut in GMEAN:
        product *= recall[cut]
    return {
        **{f"R@{cut}": recall[cut] for cut in cuts},
        "MedR": median(ranks),
        "MeanR": float(ranks.mean()),
        "gmean": product ** (1 / len(GMEAN)),
    }


def median(values: Tensor) -> float:
    """The middle of one value or more, or the mean of the middle two; torch's own takes the lower."""
    ordered = values.sort().values
    return float((ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2)


def _check_settings(cuts: Sequence[int], missing: str, dtype: torch.dtype) -> None:
    whole = all(isinstance(cut, int) and not isinstance(cut, bool) and cut >= 1 for cut in cuts)
    if not cuts or not whole or len(set(cuts)) < len(cuts):
        raise InputError(f"cuts must be different whole numbers of 1 or more, got {list(cuts)}")
    if missing not in get_args(Missing):
        raise InputError(f"unknown missing {missing!r}: choose {' or '.join(get_args(Missing))}")
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"scores are computed in float32 or float64, not {dtype}")
