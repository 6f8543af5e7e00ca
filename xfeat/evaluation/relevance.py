"""Which gallery items are relevant to a query, block by block."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.errors import InputError
from xfeat.evaluation.similarity import full_precision

Relevance: TypeAlias = Callable[[slice], Tensor]
"""Takes a slice of q queries, gives a (q, N) bool tensor: True where the gallery item is relevant to the query."""

MakeRelevance: TypeAlias = Callable[[Tensor, Tensor], Relevance]
"""Takes the labels of the queries and those of the gallery."""

RULES = "any, exact, at-least:N (N = 1, 2, ...) or jaccard:T (0 < T <= 1)"
_CELLS = 1 << 20  # of the numbers that are worked out before they become relevance, of up to 24 bytes
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
    if queries.device.type != "cpu":
        return lambda rows: queries[rows, None] == gallery
    own, other = _narrow(queries.numpy(), gallery.numpy())
    return lambda rows: torch.from_numpy(own[rows, None] == other)


def shared_class(queries: Tensor, gallery: Tensor, least: int = 1) -> Relevance:
    """Relevant means that at least ``least`` classes are shared.

    Args:
        queries: (Q, C) multi-hot labels, 0 or 1.
        gallery: (N, C) multi-hot labels, 0 or 1.
        least: 1 or more. A query with fewer classes has no relevant item.
    """
    shared = shared_counts(queries, gallery)
    return _in_steps(lambda rows: shared(rows) >= least, queries, gallery)


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
    shared = shared_counts(queries, gallery)
    # In double: a quotient of counts then is the same number as ``least`` written out, and 3 of 5 reaches 0.6.
    own, other = (labels.sum(1, dtype=torch.float64) for labels in (queries, gallery))

    def relevant(rows: slice) -> Tensor:
        common = shared(rows).double()
        either = own[rows, None] + other
        return common.div_(either.sub_(common)) >= least

    return _in_steps(relevant, queries, gallery)


def _narrow(one: NDArray[Any], other: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The same integers in fewer bytes, which compare faster; and NumPy compares faster than torch on a CPU."""
    most = max((int(abs(part).max()) for part in (one, other) if part.size), default=0)
    for dtype in (np.int16, np.int32):
        if most <= np.iinfo(dtype).max and one.dtype.kind == other.dtype.kind == "i":
            return one.astype(dtype), other.astype(dtype)
    return one, other


def _sharing(least: int) -> MakeRelevance:
    return lambda queries, gallery: shared_class(queries, gallery, least)


def _overlapping(least: float) -> MakeRelevance:
    return lambda queries, gallery: jaccard(queries, gallery, least)


def _in_steps(relevant: Relevance, queries: Tensor, gallery: Tensor) -> Relevance:
    """The same a few queries at a time: numbers on the way take many times the memory of the result."""

    def whole(rows: slice) -> Tensor:
        first, last, _ = rows.indices(len(queries))
        found = torch.empty(last - first, len(gallery), dtype=torch.bool, device=queries.device)
        step = max(1, _CELLS // len(gallery))
        for at in range(first, last, step):
            some = slice(at, min(at + step, last))
            found[some.start - first : some.stop - first] = relevant(some)
        return found

    return whole


def shared_counts(queries: Tensor, gallery: Tensor) -> Callable[[slice], Tensor]:
    """How many classes a query and a gallery item share.

    Args:
        queries: (Q, C) multi-hot labels, 0 or 1.
        gallery: (N, C) multi-hot labels, 0 or 1.

    Returns:
        Takes a slice of q queries, gives a fresh (q, N) float32; exact, as sums of zeros and ones are below 2**24.
    """
    columns = gallery.T.float()

    def counts(rows: slice) -> Tensor:
        with full_precision(queries.device.type):
            return torch.mm(queries[rows].float(), columns)

    return counts
