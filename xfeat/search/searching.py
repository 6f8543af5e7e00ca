"""Queries of any form against an index: what is found, and whether it is right."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xfeat.errors import InputError
from xfeat.search.encoding import Encoders
from xfeat.search.index import Index
from xfeat.search.queries import Query, branch_of
from xfeat.search.rows import Item


@dataclass(frozen=True)
class Hit:
    """One row that was found.

    Attributes:
        rank: from 1.
        score: similarity to the query, a cosine or an inner product.
        item: the row.
        same_pair: whether it has the query's pair key; None where one of the two has none.
        same_class: whether it has a class of the query's; None where one of the two has no label.
        itself: it is the query's own row.
    """

    rank: int
    score: float
    item: Item
    same_pair: bool | None
    same_class: bool | None
    itself: bool = False


@dataclass(frozen=True)
class Answer:
    """A query and what was found.

    Attributes:
        query: as it was asked.
        modality: whose branch took it.
        item: its row; None where it is raw.
        hits: best first.
    """

    query: Query
    modality: str
    item: Item | None
    hits: list[Hit]


def search(
    index: Index, queries: Sequence[Query], k: int, *, encoders: Encoders | None = None, keep_self: bool = False
) -> list[Answer]:
    """Find the rows nearest to each query.

    Args:
        index: what is searched.
        queries: Q ids, texts and files.
        k: hits for each; fewer where the index has fewer rows.
        encoders: for texts and files; None opens those of the run.
        keep_self: keep a query's own row among its hits.

    Returns:
        An answer for each query, in order.

    Raises:
        InputError: k below 1, a query that is no row, cannot be read, or that no branch or several could take.
    """
    if k < 1:
        raise InputError(f"k is {k}: ask for 1 nearest row or more")
    run = index.run
    branches = [branch_of(query, run) for query in queries]
    for modality in dict.fromkeys(branches):
        index.check(modality)
    items = [_item(index, query) for query in queries]
    own = [-1 if item is None else index.place(item.modality, item.id) for item in items]
    vectors = _embed(index, queries, branches, encoders or Encoders(run, device=str(run.device)))
    top = index.search(vectors, k, without=None if keep_self else own)
    found = []
    for number, (places, scores) in enumerate(zip(top.items.tolist(), top.scores.tolist(), strict=True)):
        hits = list(_hits(index, items[number], own[number], places, scores))
        found.append(Answer(queries[number], branches[number], items[number], hits))
    return found


def _item(index: Index, query: Query) -> Item | None:
    if query.form != "id":
        return None
    rows = index.run[query.modality].rows
    return rows.item(rows.row(query.value))


def _embed(index: Index, queries: Sequence[Query], branches: Sequence[str], encoders: Encoders) -> Tensor:
    vectors = torch.empty(len(queries), index.vectors.shape[1], device=index.run.device)
    for modality in dict.fromkeys(branches):
        raw = [place for place, query in enumerate(queries) if branches[place] == modality and query.form != "id"]
        if raw:
            vectors[raw] = encoders.embed(modality, [queries[place] for place in raw])
    rows = [place for place, query in enumerate(queries) if query.form == "id"]
    if rows:
        vectors[rows] = index.embed_rows([(queries[place].modality, queries[place].value) for place in rows])
    return vectors


def _hits(index: Index, query: Item | None, own: int, places: Sequence[int], scores: Sequence[float]) -> Iterator[Hit]:
    for rank, (place, score) in enumerate(zip(places, scores, strict=True), start=1):
        if place < 0:
            return
        item = index.item(place)
        pair = query.pair == item.pair if query and query.pair and item.pair else None
        label = bool(set(query.label) & set(item.label)) if query and query.label and item.label else None
        yield Hit(rank, score, item, pair, label, place == own)
