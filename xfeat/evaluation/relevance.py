"""Which gallery items are relevant to a query, block by block."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Relevance: TypeAlias = Callable[[slice], Tensor]
"""Takes a slice of q queries, gives a (q, N) bool tensor: True where the gallery item is relevant to the query."""


def same_class(queries: Tensor, gallery: Tensor) -> Relevance:
    """Relevant means of the same class.

    Args:
        queries: (Q,) int64 class labels.
        gallery: (N,) int64 class labels.
    """
    return lambda rows: queries[rows, None] == gallery


def shared_class(queries: Tensor, gallery: Tensor) -> Relevance:
    """Relevant means that at least one class is shared.

    Args:
        queries: (Q, C) multi-hot labels, 0 or 1.
        gallery: (N, C) multi-hot labels, 0 or 1.
    """
    columns = gallery.T.float()
    return lambda rows: torch.mm(queries[rows].float(), columns) > 0
