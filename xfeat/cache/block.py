"""Rows of a cache in memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.tokens import Tokens


@dataclass(frozen=True)
class Block:
    """Rows of a cache in memory: the columns of ``Columns``, and a few more.

    Attributes:
        features: (n, D) float16 or float32.
        status: (n,) ``ok``, or why the sample failed (its features are zeros, and it has no tokens).
        tokens: the n token sequences, of the features' dtype; None where the cache has none or they were not read.
        source: (n,) the key of where each sample comes from; None where the cache has none.
        content: (n, 16) the key of each sample's bytes, zeros where it is unknown; None where the cache has none.
    """

    features: NDArray[Any]
    ids: list[str]
    split: list[str]
    status: list[str]
    labels: NDArray[Any] | None
    pair: list[str] | None
    camera: list[str] | None
    tokens: Tokens | None = None
    source: NDArray[np.uint64] | None = None
    content: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, keep: NDArray[np.bool_]) -> "Block":
        """The rows where ``keep`` (n,) is true."""
        if keep.all():
            return self
        rows = np.flatnonzero(keep).tolist()

        def pick(column: list[str] | None) -> list[str] | None:
            return None if column is None else [column[row] for row in rows]

        return Block(
            self.features[keep],
            pick(self.ids) or [],
            pick(self.split) or [],
            pick(self.status) or [],
            None if self.labels is None else self.labels[keep],
            pick(self.pair),
            pick(self.camera),
            None if self.tokens is None else self.tokens.rows(keep),
            None if self.source is None else self.source[keep],
            None if self.content is None else self.content[keep],
        )
