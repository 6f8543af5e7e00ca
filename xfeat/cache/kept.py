"""Rows that a shard file holds already and that need not be encoded again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.columns import Columns
from xfeat.cache.datasets import Datasets
from xfeat.cache.keys import CONTENT_BYTES
from xfeat.cache.stored import Stored, encoded, opened, raw
from xfeat.cache.tokens import Tokens
from xfeat.errors import InputError


@dataclass(frozen=True)
class Kept:
    """Rows of a shard that is to be written, as they are stored now.

    Attributes:
        places: (m,) int64, ascending, counted from the shard's first row.
        features: (m, D) in the stored dtype.
        status: (m,) ``ok``, or why the sample failed.
        tokens: the m token sequences; None where the cache has none.
        content: (m, 16) the keys of the samples' bytes, zeros where unknown; None where the shard has none.
    """

    places: NDArray[np.int64]
    features: NDArray[Any]
    status: list[str]
    tokens: Tokens | None = None
    content: NDArray[np.uint8] | None = None


def kept_rows(stored: Stored, columns: Columns, source: NDArray[np.uint64] | None) -> Kept | None:
    """The rows of a shard file whose samples are those of the plan and come from where they came from.

    Args:
        stored: the file, read whole.
        columns: the samples of the shard.
        source: their source keys; None: they are not compared.

    Returns:
        None where there is no such row.
    """
    same = stored.columns["ids"] == encoded(columns.ids[: len(stored)])
    if source is not None:
        same &= stored.source == source[: len(stored)]
    places = np.flatnonzero(same)
    if not places.size:
        return None
    status, content = stored.strings("status"), stored.columns.get("content")
    tokens = Tokens(stored.rows["tokens"], stored.columns["offsets"]) if "tokens" in stored.rows else None
    return Kept(
        places,
        stored.rows["features"][places],
        [status[place] for place in places.tolist()],
        None if tokens is None else tokens.rows(places),
        None if content is None else content[places],
    )


def read_contents(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Content keys (m, 16) of a shard file, and (m,) whether the row is ok and its content known.

    Raises:
        InputError: the file cannot be read.
    """
    with opened(path) as file:
        ok = raw(file["status"]) == b"ok"
        content = raw(file["content"]) if "content" in file else np.zeros((len(ok), CONTENT_BYTES), np.uint8)
    return content, ok & content.any(axis=1)


def read_rows(
    path: Path, places: NDArray[np.int64], content: NDArray[np.uint8] | None = None
) -> tuple[NDArray[Any], Tokens | None]:
    """Features (m, D) and tokens of some rows of a shard file, not compared with their checksums.

    Args:
        path: the file.
        places: (m,) rows in any order.
        content: (m, 16) the content keys that they must have; None: whatever they have.

    Raises:
        InputError: the file cannot be read, or a row is of other content or has failed.
    """
    if content is not None:
        keys, ok = read_contents(path)
        if not (ok[places].all() and np.array_equal(keys[places], content)):
            raise InputError(f"shard {path} does not hold the rows that others are copies of: run again")
    with opened(path) as file:
        features = _picked(file, "features", places)
        if "tokens" not in file:
            return features, None
        offsets = raw(file["offsets"])
        # The tokens' own numbers as tokens tell which ones to read.
        numbers = Tokens(np.arange(offsets[-1])[:, None], offsets).rows(places)
        return features, Tokens(_picked(file, "tokens", numbers.values[:, 0]), numbers.offsets)


def _picked(file: Datasets, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
    place = file.place(name)
    return raw(file[name])[rows] if place is None else place.rows(rows)
