"""What a writer is handed, checked and as it is going to be stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.casting import cast_features, cast_tokens
from xfeat.cache.columns import OK, Columns
from xfeat.cache.keys import CONTENT_BYTES
from xfeat.cache.manifest import Manifest
from xfeat.cache.stored import Stored, encoded
from xfeat.cache.tokens import Tokens


@dataclass(frozen=True)
class Rows:
    """The first rows of a shard, as they are going to be stored."""

    features: NDArray[Any]
    status: list[str]
    tokens: Tokens | None
    content: NDArray[np.uint8] | None
    source: NDArray[np.uint64] | None

    def __len__(self) -> int:
        return len(self.status)

    def followed_by(self, stored: Stored, columns: Columns) -> "Rows":
        """These, and what a longer shard file has behind them, with the sources it has.

        Args:
            stored: the file, read whole.
            columns: all samples of the shard; a file of others adds nothing.
        """
        n = len(self)
        if not (stored.columns["ids"] == encoded(columns.ids[: len(stored)])).all():
            return self
        tokens, content = self.tokens, self.content
        if tokens is not None:
            rest = Tokens(stored.rows["tokens"], stored.columns["offsets"]).slice(n, len(stored))
            tokens = Tokens.concatenate([tokens, rest])
        if content is not None:
            content = np.concatenate([content, stored.content[n:]])
        return Rows(
            np.concatenate([self.features, stored.rows["features"][n:]]),
            self.status + stored.strings("status")[n:],
            tokens,
            content,
            None if self.source is None else np.concatenate([self.source, stored.source[n:]]),
        )

    @property
    def failed(self) -> int:
        """The number of failed samples."""
        return len(self.status) - self.status.count(OK)


def incoming(
    manifest: Manifest,
    columns: Columns,
    features: NDArray[Any],
    status: Sequence[str],
    tokens: Tokens | None,
    content: NDArray[np.uint8] | None,
    source: NDArray[np.uint64] | None,
) -> Rows:
    """Rows as they are going to be stored.

    Args:
        manifest: of their cache.
        columns: the n samples.
        features: (n, D) of any float dtype.
        status: (n,) ``ok`` or why the sample failed.
        tokens: the n token sequences where the manifest has a ``token_dim``.
        content: (n, 16) or None.
        source: (n,) or None.

    Raises:
        ValueError: another shape than the manifest says.
        InputError: a value of an ok sample is not finite in the stored dtype, or such a sample has no tokens.
    """
    n, dim = len(columns), manifest.dim
    if features.shape != (n, dim) or len(status) != n:
        raise ValueError(f"this shard takes {(n, dim)}, got {features.shape} with {len(status)} statuses")
    if (0 if tokens is None else tokens.values.shape[1]) != manifest.token_dim:
        raise ValueError(f"this shard takes tokens of width {manifest.token_dim} (0: none)")
    if tokens is not None and len(tokens) != n:
        raise ValueError(f"this shard takes {n} token sequences, got {len(tokens)}")
    if content is not None and (content.shape != (n, CONTENT_BYTES) or content.dtype != np.uint8):
        raise ValueError(f"this shard takes content {(n, CONTENT_BYTES)} uint8, got {content.shape} {content.dtype}")
    stored = cast_features(features, columns, status, manifest.dtype)
    sequences = None if tokens is None else cast_tokens(tokens, columns, status, manifest.dtype)
    return Rows(stored, list(status), sequences, content, source)
