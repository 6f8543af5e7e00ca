"""What a search found, as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from xfeat.search.index import Index
from xfeat.search.rows import Item
from xfeat.search.searching import Answer, Hit


def document(
    index: Index, answers: Sequence[Answer], k: int, *, keep_self: bool = False, seconds: float = 0.0
) -> dict[str, Any]:
    """The answers with the circumstances that give them a meaning.

    Args:
        index: what was searched.
        answers: of `search`.
        k: hits that were asked for.
        keep_self: whether a query's own row may be among them.
        seconds: how long it took.
    """
    return {
        "run": str(index.run.path),
        "method": index.run.config.method,
        "seed": index.run.config.seed,
        "similarity": index.similarity,
        "k": k,
        "keep_self": keep_self,
        "splits": index.splits or None,
        "classes": index.classes or None,
        "gallery": index.counts,
        "seconds": round(seconds, 3),
        "queries": [{"query": _query(answer), "hits": [_hit(hit) for hit in answer.hits]} for answer in answers],
    }


def row(item: Item | None) -> Mapping[str, Any]:
    """Id, split, classes and pair key of a row; all None where there is none."""
    if item is None:
        return {"id": None, "split": None, "label": None, "pair": None}
    return {
        "id": item.id,
        "split": item.split,
        "label": None if item.label is None else list(item.label),
        "pair": item.pair,
    }


def _query(answer: Answer) -> dict[str, Any]:
    query = answer.query
    own: dict[str, Any] = {} if query.form == "id" else {query.form: query.said}
    return {"modality": answer.modality, **own, **row(answer.item)}


def _hit(hit: Hit) -> dict[str, Any]:
    return {
        "rank": hit.rank,
        "score": hit.score,
        "modality": hit.item.modality,
        **row(hit.item),
        "same_pair": hit.same_pair,
        "same_class": hit.same_class,
        "itself": hit.itself,
    }
