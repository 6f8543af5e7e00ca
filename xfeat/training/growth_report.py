"""What a growth did to retrieval, on validation rows: old classes before and after, new classes after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xfeat.evaluation.ranking import average_precision
from xfeat.evaluation.relevance import relevance_rule
from xfeat.evaluation.similarity import Similarity

BEFORE, AFTER, AMONG_ALL = "before", "after", "after, among all"
OLD = (BEFORE, AFTER, AMONG_ALL)


@dataclass(frozen=True)
class Items:
    """Embedded rows of one modality.

    Attributes:
        vectors: (n, O) float32.
        hot: (n, C) uint8, which of the grown run's classes each row has.
        similarity: what the vectors are compared by.
    """

    vectors: Tensor
    hot: Tensor
    similarity: Similarity = "cosine"


def growth_report(
    before: Mapping[str, Items],
    after: Mapping[str, Items],
    classes: Sequence[str],
    new: Sequence[str],
    relevance: str = "any",
) -> dict[str, Any]:
    """Mean average precision (mAP@all) by ordered pair of modalities, and the means over pairs.

    Queries of old classes (rows that have one) are counted three times: before and after against a gallery of old
    classes alone, so that their difference is what the training cost, and after against everything. Queries of a new
    class search everything.

    Args:
        before: rows by modality, embedded by the branches as they were; new classes' rows may be among them.
        after: the same rows, embedded by the branches as they are.
        classes: (C,) of the grown run.
        new: those that are new to some branch.
        relevance: the run's rule for rows of several classes.

    Returns:
        ``pairs``: by ``"image->text"``, and ``mean`` over pairs: ``old`` with ``before``, ``after`` and
        ``after, among all``; ``new`` by class. None where no query has a relevant item.
    """
    fresh = torch.tensor([name in set(new) for name in classes])
    pairs: dict[str, Any] = {}
    for query in after:
        for gallery in after:
            if query != gallery:
                pairs[f"{query}->{gallery}"] = _pair(query, gallery, before, after, classes, fresh, relevance)
    numbers = list(pairs.values())
    mean = {
        "old": {key: _mean([one["old"][key] for one in numbers]) for key in OLD},
        "new": {name: _mean([one["new"][name] for one in numbers]) for name in new},
    }
    return {"pairs": pairs, "mean": mean}


def _pair(
    query: str,
    gallery: str,
    before: Mapping[str, Items],
    after: Mapping[str, Items],
    classes: Sequence[str],
    fresh: Tensor,
    relevance: str,
) -> dict[str, Any]:
    old = [_old(items, ~fresh) for items in (before[query], before[gallery], after[query], after[gallery])]
    everything = _each(after[query], after[gallery], relevance)
    hot = after[query].hot.bool().cpu()
    return {
        "old": {
            BEFORE: _mean_of(_each(old[0], old[1], relevance)),
            AFTER: _mean_of(_each(old[2], old[3], relevance)),
            AMONG_ALL: _mean_of(everything[hot[:, ~fresh].any(dim=1)]),
        },
        "new": {classes[i]: _mean_of(everything[hot[:, i]]) for i in torch.nonzero(fresh).flatten().tolist()},
    }


def _old(items: Items, old: Tensor) -> Items:
    """Rows that have an old class, with their old classes."""
    hot = items.hot[:, old.to(items.hot.device)]
    has = hot.bool().any(dim=1)
    return Items(items.vectors[has], hot[has], items.similarity)


def _each(queries: Items, gallery: Items, relevance: str) -> Tensor:
    """(Q,) float64 average precision of each query; NaN where nothing is relevant."""
    if not len(queries.hot) or not len(gallery.hot):
        return torch.full((len(queries.hot),), torch.nan, dtype=torch.float64)
    rule = relevance_rule(relevance)
    relevant = rule.relevant(queries.hot, gallery.hot)
    found = average_precision(queries.vectors, gallery.vectors, relevant, similarity=queries.similarity)
    return found.values[:, 0].cpu()


def _mean_of(values: Tensor) -> float | None:
    there = values[~values.isnan()]
    return float(there.mean()) if len(there) else None


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None
