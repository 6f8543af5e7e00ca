"""One immutable HDF5 shard: written whole, read whole, every byte of its columns under a checksum."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.block import Block
from xfeat.cache.checksums import columns_checksum, row_checksums, summary
from xfeat.cache.columns import Columns
from xfeat.cache.files import whole_file
from xfeat.cache.fingerprint import digest
from xfeat.cache.image import image
from xfeat.cache.layout import check_features, check_layout
from xfeat.cache.manifest import SCHEMA, Manifest
from xfeat.cache.rows import Place
from xfeat.cache.stored import (
    CHECKSUMS,
    Stored,
    check_fingerprint,
    compare,
    encoded,
    opened,
    raw,
    read_stored,
    stored_columns,
)
from xfeat.cache.tokens import Tokens
from xfeat.errors import InputError


@dataclass(frozen=True)
class Composed:
    """A shard's file in memory.

    Attributes:
        pieces: its bytes, to be written one after another.
        checksums: the shard's checksums as bytes.
    """

    pieces: list[memoryview]
    checksums: bytes


def compose_shard(
    features: NDArray[Any],
    columns: Columns,
    status: Sequence[str],
    fingerprint: str,
    tokens: Tokens | None = None,
    source: NDArray[np.uint64] | None = None,
    content: NDArray[np.uint8] | None = None,
) -> Composed:
    """Compose the file of one shard.

    Args:
        features: (n, D) float16 or float32, finite.
        columns: the n samples.
        status: (n,) ``ok`` or the reason of a failure.
        fingerprint: sha256 of the cache's fingerprint.
        tokens: the n token sequences, of the same type and finite; None where the cache has none.
        source: (n,) the key of where each sample comes from; None: not known.
        content: (n, 16) the key of each sample's bytes, zeros where it is unknown; None: of none.
    """
    columns_of = stored_columns(columns, source) | {"status": encoded(status)}
    rows = {"features": np.ascontiguousarray(features)}
    if content is not None:
        columns_of["content"] = np.ascontiguousarray(content, np.uint8)
    if tokens is not None:
        columns_of["offsets"] = tokens.offsets
        rows["tokens"] = np.ascontiguousarray(tokens.values)
    sums = {name: row_checksums(array) for name, array in rows.items()}
    checksum = columns_checksum(columns_of)
    attributes = {"schema": SCHEMA, "fingerprint": fingerprint, "columns_checksum": checksum}
    if columns.labels is not None:
        attributes["classes"] = digest(list(columns.classes))
    small = {CHECKSUMS[name]: array for name, array in sums.items()} | columns_of
    return Composed(image(rows, small, attributes), summary(*sums.values(), columns=checksum))


def put_shard(path: Path, shard: Composed) -> None:
    """Write a shard's file whole: temporary name, close, fsync, replace.

    Raises:
        InputError: the disk is full, or takes the file for another reason not.
    """
    try:
        # The manifest, which calls the cache complete, syncs the folder: a lost name is a shard that is written again.
        with whole_file(path, lasting=False) as tmp, tmp.open("wb") as file:
            file.writelines(shard.pieces)
    except OSError as error:
        raise InputError(
            f"shard {path} cannot be written ({error.strerror}): finished shards are kept, run again to resume"
        ) from None


def read_shard(
    path: Path,
    manifest: Manifest,
    shard: int,
    *,
    check: bool = True,
    with_features: bool = True,
    with_tokens: bool = False,
) -> Block:
    """Read one shard and close it.

    Args:
        path: its file.
        manifest: of its cache.
        shard: its number.
        check: compare features and tokens with their checksums (the other columns are always compared).
        with_features: read the features; otherwise they are (n, 0).
        with_tokens: read the tokens, where the cache has any.

    Returns:
        All rows of the shard.

    Raises:
        InputError: truncated, damaged, not what the manifest says, of another cache, or holding links.
    """
    stored = read_stored(path, manifest, shard, check=check, with_features=with_features, with_tokens=with_tokens)
    return _block(stored, manifest)


def read_features(path: Path, manifest: Manifest, shard: int, *, check: bool = True) -> NDArray[Any]:
    """The features of one shard alone, (n, D): what a pass over a cache larger than memory reads.

    Args:
        path: its file.
        manifest: of its cache.
        shard: its number.
        check: compare them with their checksums.

    Raises:
        InputError: as ``read_shard``.
    """
    with opened(path) as file:
        check_layout(file, manifest, shard)
        features = raw(file["features"])
        checksums, stored = raw(file["checksums"]), str(file.attrs["fingerprint"])
    check_fingerprint(path, stored, manifest)
    if check:
        compare("features", features, checksums, path)
    return features


def read_columns(
    path: Path, manifest: Manifest, shard: int, *, check: bool = True, with_tokens: bool = False
) -> tuple[Block, Stored]:
    """One shard without its features, (n, 0), and as it is stored: with where the features lie and their checksums.

    Raises:
        InputError: as ``read_shard``.
    """
    stored = read_stored(path, manifest, shard, check=check, with_features=False, with_tokens=with_tokens)
    return _block(stored, manifest), stored


def locate_features(path: Path, manifest: Manifest, shard: int) -> tuple[Place | None, NDArray[np.uint64]]:
    """Where the features of a shard lie, None if they can be read through HDF5 only, and their checksums.

    Nothing else of the shard is looked at.

    Raises:
        InputError: as ``read_shard``.
    """
    with opened(path, ("features", "checksums")) as file:
        check_features(file, manifest, shard)
        place, sums = file.place("features"), raw(file["checksums"])
        fingerprint = str(file.attrs["fingerprint"])
    check_fingerprint(path, fingerprint, manifest)
    return place, sums


def shard_checksums(path: Path, manifest: Manifest, shard: int) -> tuple[Block, bytes]:
    """Read and check a shard; all it holds and its checksums as bytes.

    Raises:
        InputError: as ``read_shard``.
    """
    stored = read_stored(path, manifest, shard)
    return _block(stored, manifest), stored.checksums


def _block(stored: Stored, manifest: Manifest) -> Block:
    columns, rows = stored.columns, stored.rows
    return Block(
        rows["features"] if "features" in rows else np.empty((len(stored), 0), manifest.dtype),
        stored.strings("ids"),
        stored.strings("split"),
        stored.strings("status"),
        columns.get("labels"),
        stored.strings("pair") if "pair" in columns else None,
        stored.strings("camera") if "camera" in columns else None,
        Tokens(rows["tokens"], columns["offsets"]) if "tokens" in rows else None,
        columns.get("source"),
        columns.get("content"),
    )
