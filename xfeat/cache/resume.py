"""Whether a cache on disk is the one that is planned, or one that the plan grew from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.fingerprint import difference, digest
from xfeat.cache.manifest import Manifest
from xfeat.cache.stored import Stored
from xfeat.errors import InputError

# What must be the same for a write to go on, and how to say that it is not.
OTHER = {
    "modality": "another modality",
    "dtype": "another dtype",
    "dim": "another width",
    "token_dim": "another width of tokens",
    "shard_rows": "another number of rows per shard",
}
# What changes where a cache grows, and must be the same elsewhere.
OTHER_SAMPLES = {
    "rows": "another number of rows",
    "label_kind": "another kind of labels",
    "classes": "other classes",
    "samples": "other samples (ids, splits, labels, pairs or sources changed)",
}
ADVICE = "choose a new --out, or delete the folder first"


def taken_over(stored: Manifest, wanted: Manifest, path: Path, grown_from: str) -> Manifest:
    """The manifest to go on with: the stored one, or the one of the cache that it grows into.

    Args:
        stored: what is on disk.
        wanted: what is planned.
        path: the cache.
        grown_from: the samples digest that the plan grew from; empty: of none.

    Raises:
        InputError: another fingerprint (the difference is printed), other samples, or a cache that another process
            changed after the plan was made.
    """
    if stored.fingerprint_sha256 != wanted.fingerprint_sha256:
        changes = difference(stored.fingerprint, wanted.fingerprint)
        raise InputError(f"{path} was made with another fingerprint ({changes}): {ADVICE}")
    _same(stored, wanted, path, OTHER)
    if stored.samples == wanted.samples:
        return stored
    if not grown_from:
        _same(stored, wanted, path, OTHER_SAMPLES)
    if stored.samples != grown_from:
        raise InputError(f"{path} changed meanwhile: another process wrote other samples to it: run again")
    # Shards that are not written again yet keep counting their labels in the classes they were written with.
    orders = stored.orders
    if stored.classes != wanted.classes and stored.classes not in orders:
        orders = [*orders, stored.classes]
    return replace(wanted, orders=orders)


def order_of(stored: Stored, manifest: Manifest) -> list[str] | None:
    """The classes that the labels of a shard file count in; None where nothing says which they are."""
    if not stored.order:  # a shard that does not say is older than any growth
        return manifest.orders[0] if manifest.orders else manifest.classes
    orders = [manifest.classes, *manifest.orders]
    return next((order for order in orders if digest(order) == stored.order), None)


def same_classes(stored: Stored, manifest: Manifest) -> bool:
    """Whether the labels of a shard file, if it has any, count in the classes of the manifest."""
    return "labels" not in stored.columns or order_of(stored, manifest) == manifest.classes


def same_columns(stored: Stored, wanted: dict[str, NDArray[Any]]) -> bool:
    """Whether a shard file holds these columns (``stored_columns``), beside status, tokens and content."""
    found = stored.columns.keys() - {"status", "offsets", "content"}
    return found == wanted.keys() and all(np.array_equal(stored.columns[name], wanted[name]) for name in found)


def _same(stored: Manifest, wanted: Manifest, path: Path, others: dict[str, str]) -> None:
    for name, words in others.items():
        old, new = getattr(stored, name), getattr(wanted, name)
        if old != new:
            values = "" if name in ("samples", "classes") else f" ({old} instead of {new})"
            raise InputError(f"{path} holds a cache with {words}{values}: {ADVICE}")
