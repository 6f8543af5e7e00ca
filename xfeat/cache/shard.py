"""One immutable HDF5 shard: written whole, read whole, every byte of its columns under a checksum."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xfeat.cache.block import Block
from xfeat.cache.checksums import columns_checksum, damaged_rows, row_checksums, summary
from xfeat.cache.columns import Columns
from xfeat.cache.files import whole_file
from xfeat.cache.layout import check_layout
from xfeat.cache.manifest import SCHEMA, Manifest
from xfeat.cache.tokens import Tokens
from xfeat.errors import InputError

AGAIN = "delete this shard and run the command that wrote the cache again"
STRINGS = ("ids", "split", "status", "pair", "camera")
CHECKSUMS = {"features": "checksums", "tokens": "token_checksums"}


def write_shard(
    path: Path,
    features: NDArray[Any],
    columns: Columns,
    status: Sequence[str],
    fingerprint: str,
    tokens: Tokens | None = None,
) -> bytes:
    """Write one shard whole: temporary name, close, fsync, replace.

    Args:
        path: where the shard goes.
        features: (n, D) float16 or float32, finite.
        columns: the n samples.
        status: (n,) ``ok`` or the reason of a failure.
        fingerprint: sha256 of the cache's fingerprint.
        tokens: the n token sequences, of the same type and finite; None where the cache has none.

    Returns:
        The shard's checksums as bytes.
    """
    columns_of = _stored(columns, status)
    rows = {"features": features}
    if tokens is not None:
        columns_of["offsets"] = tokens.offsets
        rows["tokens"] = tokens.values
    sums = {name: row_checksums(array) for name, array in rows.items()}
    # HDF5 composes the file in memory: on a full disk it would neither fail cleanly nor close.
    image = _image(rows, sums, columns_of, fingerprint)
    try:
        with whole_file(path) as tmp:
            tmp.write_bytes(image)
    except OSError as error:
        raise InputError(
            f"shard {path} cannot be written ({error.strerror}): finished shards are kept, run again to resume"
        ) from None
    return summary(*sums.values(), columns=columns_checksum(columns_of))


def _image(
    rows: Mapping[str, NDArray[Any]],
    sums: Mapping[str, NDArray[Any]],
    columns: Mapping[str, NDArray[Any]],
    fingerprint: str,
) -> memoryview:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in rows.items():
            file.create_dataset(name, data=array)
            file.create_dataset(CHECKSUMS[name], data=sums[name])
        for name, array in columns.items():
            utf8 = array.dtype.kind == "S"  # numpy's bytes say nothing of their encoding; the file does
            kind = h5py.string_dtype("utf-8", array.dtype.itemsize) if utf8 else array.dtype
            file.create_dataset(name, data=array.astype(kind), dtype=kind)
        file.attrs["schema"] = SCHEMA
        file.attrs["fingerprint"] = fingerprint
        file.attrs["columns_checksum"] = columns_checksum(columns)
    return buffer.getbuffer()


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
    return _read(path, manifest, shard, check, with_features, with_tokens)[0]


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
    with _opened(path) as file:
        check_layout(file, manifest, shard)
        features = _raw(file["features"])
        checksums, stored = _raw(file["checksums"]), str(file.attrs["fingerprint"])
    _check_fingerprint(path, stored, manifest)
    if check:
        _compare("features", features, checksums, path)
    return features


def shard_checksums(path: Path, manifest: Manifest, shard: int) -> tuple[Block, bytes]:
    """Read and check a shard; all it holds and its checksums as bytes.

    Raises:
        InputError: as ``read_shard``.
    """
    return _read(path, manifest, shard, True, True, True)


def _read(
    path: Path, manifest: Manifest, shard: int, check: bool, with_features: bool, with_tokens: bool
) -> tuple[Block, bytes]:
    wanted = {"features": with_features, "tokens": with_tokens}
    with _opened(path) as file:
        stored = str(file.attrs["fingerprint"])
        checksum = int(file.attrs["columns_checksum"])
        check_layout(file, manifest, shard)
        columns = {name: _raw(file[name]) for name in (*STRINGS, "labels", "offsets") if name in file}
        sums = {name: _raw(file[CHECKSUMS[name]]) for name in CHECKSUMS if name in file}
        rows = {name: _raw(file[name]) for name in sums if wanted[name]}
    _check_fingerprint(path, stored, manifest)
    if checksum != columns_checksum(columns):
        raise InputError(f"shard {path}: ids, labels or another column differ from their checksum: {AGAIN}")
    if check:
        for name, array in rows.items():
            _compare(name, array, sums[name], path)
    if not _labels_fit(columns.get("labels"), manifest):
        raise InputError(f"shard {path}: its labels do not fit the {len(manifest.classes)} classes of the manifest")
    strings = {name: [text.decode() for text in columns[name].tolist()] for name in STRINGS if name in columns}
    block = Block(
        rows["features"] if with_features else np.empty((len(strings["ids"]), 0), manifest.dtype),
        strings["ids"],
        strings["split"],
        strings["status"],
        columns.get("labels"),
        strings.get("pair"),
        strings.get("camera"),
        Tokens(rows["tokens"], columns["offsets"]) if "tokens" in rows else None,
    )
    return block, summary(*sums.values(), columns=checksum)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """The file, closed at the end; whatever is wrong with it inside the block is one line."""
    if not path.is_file():
        raise InputError(f"shard {path} is missing: run the command that wrote the cache again")
    try:
        with h5py.File(path, "r") as file:
            _refuse_links(file, path)
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"shard {path} is truncated or damaged ({_first_line(error)}): {AGAIN}") from None


def _check_fingerprint(path: Path, stored: str, manifest: Manifest) -> None:
    wanted = manifest.fingerprint_sha256
    if stored != wanted:
        raise InputError(f"shard {path} has another fingerprint ({stored[:12]}) than its manifest ({wanted[:12]})")


def _labels_fit(labels: NDArray[Any] | None, manifest: Manifest) -> bool:
    if labels is None:
        return manifest.label_kind == "none"
    if labels.ndim == 1:
        return manifest.label_kind == "single" and bool((labels < len(manifest.classes)).all())
    return manifest.label_kind == "multi" and labels.shape[1:] == (len(manifest.classes),)


def _raw(dataset: h5py.Dataset) -> NDArray[Any]:
    array: NDArray[Any] = dataset[...]
    return array


def _refuse_links(file: h5py.File, path: Path) -> None:
    # A link or an external dataset would make reading this file read another one.
    for name in file:
        hard = isinstance(file.get(name, getlink=True), h5py.HardLink)
        item = file[name] if hard else None
        if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
            raise InputError(f"shard {path}: {name!r} is a link, a group or an external dataset: refused")


def _stored(columns: Columns, status: Sequence[str]) -> dict[str, NDArray[Any]]:
    arrays = {}
    for name in STRINGS:
        strings = status if name == "status" else getattr(columns, name)
        if strings is not None:
            encoded = [text.encode() for text in strings]
            arrays[name] = np.array(encoded, dtype=f"S{max(1, max(map(len, encoded), default=1))}")
    if columns.labels is not None:
        arrays["labels"] = np.ascontiguousarray(columns.labels)
    return arrays


def _compare(name: str, rows: NDArray[Any], checksums: NDArray[np.uint64], path: Path) -> None:
    damaged = damaged_rows(rows, checksums)
    if damaged is not None:
        first, last = damaged
        raise InputError(f"shard {path}: {name} of rows {first} to {last} differ from their checksum: {AGAIN}")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
