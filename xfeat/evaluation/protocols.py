"""Named evaluation protocols: which items are relevant, over which pairs of modalities, reported how."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import cast

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
from xfeat.evaluation.ranking import average_precision
from xfeat.evaluation.relevance import Relevance, RelevanceRule, relevance_rule, same_class
from xfeat.evaluation.results import Evaluation, PairResult, across
from xfeat.evaluation.similarity import Similarity
from xfeat.evaluation.ties import Cut, Denominator, chance_average_precision

CATEGORY, MULTI_LABEL = "category", "multi-label"
PROTOCOLS: Mapping[str, Callable[[str, Embedded, torch.device], Tensor]] = {
    CATEGORY: checked_classes,
    MULTI_LABEL: checked_multi_hot,
}
"""The labels that each protocol works on."""


def evaluate(
    embeddings: Mapping[str, Embedded],
    protocol: str = "category",
    cuts: Sequence[Cut] = (None, 50),
    denominator: Denominator = "hits",
    *,
    relevance: str = "any",
    within: bool = False,
    dtype: torch.dtype = torch.float32,
    memory: int = 256 << 20,
    device: torch.device | str | None = None,
) -> Evaluation:
    """Mean average precision of retrieval from every modality to every other one, by the similarity of the embeddings.

    Args:
        embeddings: two modalities or more in one common space, by name.
        protocol: ``"category"`` (labels (N,), relevant: same class) or ``"multi-label"`` (labels (N, C) multi-hot,
            relevant: what ``relevance`` says).
        cuts: ranks that count, each an int >= 1 or None for all of them: "mAP@50", "mAP@all".
        denominator: of average precision at a cut: ``"hits"`` within the cut, or ``"min"`` of cut and relevant items.
        relevance: of the multi-label protocol: ``any`` (a class in common), ``exact``, ``at-least:N`` or ``jaccard:T``,
            see `relevance_rule`.
        within: also retrieve inside each modality, the query itself left out; such pairs stay out of the mean.
        dtype: of the scores, torch.float32 or torch.float64.
        memory: bytes that a block of queries may take, see `average_precision`.
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
    _check_settings(cuts, denominator, dtype)
    similarity = common_similarity(embeddings) if embeddings else "cosine"
    rule = _rule(protocol, relevance)
    vectors = checked_vectors(embeddings, device)
    labels = {name: PROTOCOLS[protocol](name, item, vectors[name].device) for name, item in embeddings.items()}
    if len({rows.shape[1:] for rows in labels.values()}) > 1:
        listed = ", ".join(f"{name} {rows.shape[1]}" for name, rows in labels.items())
        raise InputError(f"numbers of classes differ ({listed}): multi-hot labels need the same columns everywhere")

    pairs: dict[str, PairResult] = {}
    for query in vectors:
        for gallery in vectors:
            if query == gallery and not within:
                continue
            pairs[f"{query}->{gallery}"] = _pair(
                f"{query}->{gallery}",
                vectors[query],
                vectors[gallery],
                rule.relevant(labels[query], labels[gallery]),
                cuts,
                denominator,
                similarity=similarity,
                exclude_self=query == gallery,
                dtype=dtype,
                memory=memory,
            )
    if not any(one.measured for pair, one in pairs.items() if across(pair)):
        raise InputError(
            f"{next(filter(across, pairs))}: no query has a relevant item in the gallery ({rule.statement}), "
            "nor in any other pair: check that all use the same classes"
        )
    stated = {
        "name": protocol,
        "relevance": rule.statement,
        "relevance_rule": rule.word,
        "similarity": similarity,
        "ties": "expected value under a uniformly random order",
        "denominator": denominator,
        "cuts": ["all" if cut is None else cut for cut in cuts],
        "within": within,
        "dtype": str(dtype).removeprefix("torch."),
    }
    return Evaluation(stated, time.perf_counter() - started, pairs)


def _pair(
    name: str,
    queries: Tensor,
    gallery: Tensor,
    relevance: Relevance,
    cuts: Sequence[Cut],
    denominator: Denominator,
    *,
    similarity: Similarity,
    exclude_self: bool,
    dtype: torch.dtype,
    memory: int,
) -> PairResult:
    ranked = len(gallery) - exclude_self
    if ranked == 0:
        raise InputError(f"{name}: a single item has nothing to be compared with")
    result = average_precision(
        queries,
        gallery,
        relevance,
        cuts,
        denominator,
        similarity=similarity,
        exclude_self=exclude_self,
        dtype=dtype,
        memory=memory,
    )
    asked = result.relevant > 0
    # Means over no query are NaN.
    means = cast("list[float]", result.values[asked].mean(0).tolist())
    relevant = result.relevant[asked]
    names = ["mAP@all" if cut is None else f"mAP@{cut}" for cut in cuts]
    chance = {
        metric: float(chance_average_precision(relevant, ranked, cut, denominator).mean())
        for metric, cut in zip(names, cuts, strict=True)
    }
    return PairResult(
        dict(zip(names, means, strict=True)),
        chance,
        len(queries),
        ranked,
        len(queries) - int(asked.sum()),
        by_query=dict(zip(names, result.values.cpu().unbind(1), strict=True)),
    )


def _rule(protocol: str, relevance: str) -> RelevanceRule:
    rule = relevance_rule(relevance)
    return rule if protocol == MULTI_LABEL else RelevanceRule("same-class", "same class", same_class)


def _check_settings(cuts: Sequence[Cut], denominator: str, dtype: torch.dtype) -> None:
    whole = all(cut is None or (isinstance(cut, int) and not isinstance(cut, bool) and cut >= 1) for cut in cuts)
    if not cuts or not whole or len(set(cuts)) < len(cuts):
        raise InputError(f"cuts must be different whole numbers of 1 or more, or None for all ranks, got {list(cuts)}")
    if denominator not in ("hits", "min"):
        raise InputError(f"unknown denominator {denominator}: choose hits or min")
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"scores are computed in float32 or float64, not {dtype}")
