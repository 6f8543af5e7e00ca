"""Named evaluation protocols: which items are relevant, over which pairs of modalities, reported how."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from xfeat.errors import InputError
from xfeat.evaluation.embedded import (
    Embedded,
    checked_classes,
    checked_multi_hot,
    checked_vectors,
    common_similarity,
)
from xfeat.evaluation.gain import GAINS, Gain, graded
from xfeat.evaluation.instance import RECALL
from xfeat.evaluation.relevance import RelevanceRule, relevance_rule, same_class, shared_counts
from xfeat.evaluation.results import Evaluation, PairResult, across
from xfeat.evaluation.retrieval import PRECISION, RECALL_CUTS, Gains, Measures, retrieve
from xfeat.evaluation.ties import Cut, Denominator

CATEGORY, MULTI_LABEL = "category", "multi-label"
PROTOCOLS: Mapping[str, Callable[[str, Embedded, torch.device], Tensor]] = {
    CATEGORY: checked_classes,
    MULTI_LABEL: checked_multi_hot,
}
"""The labels that each protocol works on."""
MOST_SHARED = 127  # 2^128 is beyond float32


def evaluate(
    embeddings: Mapping[str, Embedded],
    protocol: str = "category",
    cuts: Sequence[Cut] = (None, 50),
    denominator: Denominator = "hits",
    *,
    relevance: str = "any",
    gain: Gain = "exponential",
    within: bool = False,
    dtype: torch.dtype = torch.float32,
    memory: int = 256 << 20,
    device: torch.device | str | None = None,
) -> Evaluation:
    """Retrieval by class from every modality to every other one, by the similarity of the embeddings.

    A pair's numbers are means over the queries with a relevant item; by query, expected values over uniformly random
    orders of equally scored items:

    - ``mAP@K``: average precision within the first K, see `expected_average_precision`; ``mAP@all``: of all ranks;
    - ``R@1``, ``R@5``, ``R@10``: the probability that a relevant item is among the first K, which other fields call
      hit rate or success; it is not the share of relevant items found;
    - ``P@K``: relevant items within the first K, divided by K however small the gallery;
    - ``nDCG@K``: discounted cumulative gain over that of the best ranking there is, see `xfeat.evaluation.gain`; an
      item's gain is 1 where it is relevant, and under ``"multi-label"`` 2^g - 1 or g, g classes being shared, whatever
      makes an item relevant;
    - ``MedR``: the median over queries of the expected rank of the first relevant item.

    Chance levels are the same statistics of a random ranking, exactly.

    Args:
        embeddings: two modalities or more in one common space, by name.
        protocol: ``"category"`` (labels (N,), relevant: same class) or ``"multi-label"`` (labels (N, C) multi-hot,
            relevant: what ``relevance`` says).
        cuts: ranks that count, each an int >= 1 or None for all of them: "mAP@50", "P@50", "nDCG@50", "mAP@all".
        denominator: of average precision at a cut: ``"hits"`` within the cut, or ``"min"`` of cut and relevant items.
        relevance: of the multi-label protocol: ``any`` (a class in common), ``exact``, ``at-least:N`` or ``jaccard:T``,
            see `relevance_rule`.
        gain: of the multi-label protocol: ``exponential``, 2^g - 1, or ``linear``, g.
        within: also retrieve inside each modality, the query itself left out; such pairs stay out of the mean.
        dtype: of the scores, torch.float32 or torch.float64.
        memory: bytes that a block of queries may take, see `score_blocks`.
        device: to compute on; None computes where the vectors are.

    Returns:
        Metrics, chance levels and counts by pair.

    Raises:
        InputError: embeddings or labels that do not fit each other or the protocol, an unknown setting, or no query
            that has a relevant item in another modality.
    """
    started = time.perf_counter()
    if protocol not in PROTOCOLS:
        raise InputError(f"unknown protocol {protocol}: choose one of {', '.join(PROTOCOLS)}")
    _check_settings(cuts, denominator, gain, dtype)
    similarity = common_similarity(embeddings) if embeddings else "cosine"
    rule = _rule(protocol, relevance)
    vectors = checked_vectors(embeddings, device)
    labels = {name: PROTOCOLS[protocol](name, item, vectors[name].device) for name, item in embeddings.items()}
    if len({rows.shape[1:] for rows in labels.values()}) > 1:
        listed = ", ".join(f"{name} {rows.shape[1]}" for name, rows in labels.items())
        raise InputError(f"numbers of classes differ ({listed}): multi-hot labels need the same columns everywhere")

    if protocol == MULTI_LABEL and gain == "exponential":
        _check_gains(labels, within=within)
    measures = Measures(cuts, denominator, similarity, dtype, memory)
    pairs: dict[str, PairResult] = {}
    for query in vectors:
        for gallery in vectors:
            if query == gallery and not within:
                continue
            if query == gallery and len(vectors[query]) == 1:
                raise InputError(f"{query}->{gallery}: a single item has nothing to be compared with")
            pairs[f"{query}->{gallery}"] = retrieve(
                vectors[query],
                vectors[gallery],
                rule.relevant(labels[query], labels[gallery]),
                measures,
                gains=_gains(labels[query], labels[gallery], gain) if protocol == MULTI_LABEL else None,
                exclude_self=query == gallery,
            )
    if not any(one.measured for pair, one in pairs.items() if across(pair)):
        raise InputError(
            f"{next(filter(across, pairs))}: no query has a relevant item in the gallery ({rule.statement}), "
            "nor in any other pair: check that all use the same classes"
        )
    whole = [cut for cut in cuts if cut is not None]
    stated: dict[str, Any] = {
        "name": protocol,
        "relevance": rule.statement,
        "relevance_rule": rule.word,
        "similarity": similarity,
        "ties": "expected value under a uniformly random order",
        "denominator": denominator,
        "cuts": ["all" if cut is None else cut for cut in cuts],
        "recall": RECALL,
        "recall_cuts": list(RECALL_CUTS),
        **({"precision": PRECISION, "precision_cuts": whole} if whole else {}),
        "gain": GAINS[gain] if protocol == MULTI_LABEL else "1 where relevant",
        "discount": "1/log2(rank + 1)",
        "within": within,
        "dtype": str(dtype).removeprefix("torch."),
    }
    return Evaluation(stated, time.perf_counter() - started, pairs)


def _gains(queries: Tensor, gallery: Tensor, gain: Gain) -> Gains:
    shared = shared_counts(queries, gallery)
    return lambda rows: graded(shared(rows), gain)


def _check_gains(labels: Mapping[str, Tensor], *, within: bool) -> None:
    """Refuse gains that float32 does not hold: nDCG would be no number."""
    counts = sorted(int(rows.sum(1, dtype=torch.int64).max()) for rows in labels.values())
    most = counts[-1 if within else -2]
    if most > MOST_SHARED:
        raise InputError(
            f"items may share {most} classes, more than the {MOST_SHARED} that a gain of 2^g - 1 can count: choose "
            "gain linear"
        )


def _rule(protocol: str, relevance: str) -> RelevanceRule:
    rule = relevance_rule(relevance)
    return rule if protocol == MULTI_LABEL else RelevanceRule("same-class", "same class", same_class)


def _check_settings(cuts: Sequence[Cut], denominator: str, gain: str, dtype: torch.dtype) -> None:
    whole = all(cut is None or (isinstance(cut, int) and not isinstance(cut, bool) and cut >= 1) for cut in cuts)
    if not cuts or not whole or len(set(cuts)) < len(cuts):
        raise InputError(f"cuts must be different whole numbers of 1 or more, or None for all ranks, got {list(cuts)}")
    if denominator not in get_args(Denominator):
        raise InputError(f"unknown denominator {denominator}: choose hits or min")
    if gain not in get_args(Gain):
        raise InputError(f"unknown gain {gain}: choose exponential or linear")
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"scores are computed in float32 or float64, not {dtype}")
