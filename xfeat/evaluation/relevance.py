"""Which gallery items are relevant to a query, block by block."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from xfeat.errors import InputError
from xfeat.evaluation.similarity import full_precision

Relevance: TypeAlias = Callable[[slice], Tensor]
"""Takes a slice of q queries, gives a (q, N) bool tensor: True where the gallery item is relevant to the query."""

MakeRelevance: TypeAlias = Callable[[Tensor, Tensor], Relevance]
"""Takes the labels of the queries and those of the gallery."""

RULES = "any, exact, at-least:N (N = 1, 2, ...) or jaccard:T (0 < T <= 1)"
_COUNT = re.compile(r"[0-9]{1,9}")
_SHARE = re.compile(r"[0-9]*\.?[0-9]+|[0-9]+\.")


@dataclass(frozen=True)
class RelevanceRule:
    """What makes a multi-label item relevant.

    Attributes:
        word: as it is asked for, for example ``jaccard:0.5``.
        statement: what it means, to be printed with the numbers.
        relevant: makes the relevance of (Q, C) and (N, C) multi-hot labels, 0 or 1.
    """

    word: str
    statement: str
    relevant: MakeRelevance


def relevance_rule(word: str) -> RelevanceRule:
    """The rule of a word: ``any``, ``exact``, ``at-least:N`` or ``jaccard:T``.

    Raises:
        InputError: another word, N below 1, or T outside of (0, 1].
    """
    name, _, value = word.partition(":")
    if word == "any":
        return RelevanceRule(word, "at least one class shared", shared_class)
    if word == "exact":
        return RelevanceRule(word, "exactly the same classes", same_classes)
    if name == "at-least" and _COUNT.fullmatch(value) and int(value) >= 1:
        many = f"{int(value)} classes" if int(value) > 1 else "one class"
        return RelevanceRule(word, f"at least {many} shared", _sharing(int(value)))
    if name == "jaccard" and _SHARE.fullmatch(value) and 0 < float(value) <= 1:
        return RelevanceRule(word, f"Jaccard index >= {value}", _overlapping(float(value)))
    raise InputError(f"unknown relevance {word!r}: choose {RULES}")


def same_class(queries: Tensor, gallery: Tensor) -> Relevance:
    """Relevant means of the same class.

    Args:
        queries: (Q,) int64 class labels.
        gallery: (N,) int64 class labels.
    """
    return lambda rows: queries[rows, None] == gallery


def shared_class(queries: Tensor, gallery: Tensor, least: int = 1) -> Relevance:
    """Relevant means that at least ``least`` classes are shared.

    Args:
        queries: (Q, C) multi-hot labels, 0 or 1.
        gallery: (N, C) multi-hot labels, 0 or 1.
        least: 1 or more. A query with fewer classes has no relevant item.
    """
    shared = _shared_counts(queries, gallery)
    return lambda rows: shared(rows) >= least


def same_classes(queries: Tensor, gallery: Tensor) -> Relevance:
    """Relevant means of the same set of classes.

    Args:
        queries: (Q, C) multi-hot labels, 0 or 1.
        gallery: (N, C) multi-hot labels, 0 or 1.
    """
    return jaccard(queries, gallery, 1.0)


def jaccard(queries: Tensor, gallery: Tensor, least: float) -> Relevance:
    """Relevant means that the classes shared, divided by all classes of the two, are at least ``least``.

    Args:
        queries: (Q, C) multi-hot labels, 0 or 1, with a class in every row.
        gallery: (N, C) multi-hot labels, 0 or 1, with a class in every row.
        least: in (0, 1].
    """
    shared = _shared_counts(queries, gallery)
    # In double: a quotient of counts then is the same number as ``least`` written out, and 3 of 5 reaches 0.6.
    own, other = (labels.sum(1, dtype=torch.float64) for labels in (queries, gallery))

    def relevant(rows: slice) -> Tensor:
        common = shared(rows).double()
        either = own[rows, None] + other
        return common.div_(either.sub_(common)) >= least

    return relevant


def _sharing(least: int) -> MakeRelevance:
    return lambda queries, gallery: shared_class(queries, gallery, least)


def _overlapping(least: float) -> MakeRelevance:
    return lambda queries, gallery: jaccard(queries, gallery, least)


def _shared_counts(queries: Tensor, gallery: Tensor) -> Relevance:
    """(q, N) float32 numbers of shared classes; exact, as sums of zeros and ones are below 2**24."""
    columns = gallery.T.float()

    def counts(rows: slice) -> Tensor:
        with full_precision(queries.device.type):
            return torch.mm(queries[rows].float(), columns)

    return counts
