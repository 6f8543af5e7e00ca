"""One immutable HDF5 shard: written whole, read whole, every byte of its columns under a checksum."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from xfeat.cache.columns import Columns
from xfeat.cache.files import whole_file
from xfeat.cache.manifest import SCHEMA, Manifest
from xfeat.errors import InputError

CHECK_ROWS = 1024
AGAIN = "delete this shard and run the command that wrote the cache again"
STRINGS = ("ids", "split", "status", "pair", "camera")


@dataclass(frozen=True)
class Block:
    """Rows of a cache in memory: the columns of ``Columns``, and two more.

    Attributes:
        features: (n, D) float16 or float32.
        status: (n,) ``ok``, or why the sample failed (its features are zeros).
    """

    features: NDArray[Any]
    ids: list[str]
    split: list[str]
    status: list[str]
    labels: NDArray[Any] | None
    pair: list[str] | None
    camera: list[str] | None

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
        )


def write_shard(path: Path, features: NDArray[Any], columns: Columns, status: Sequence[str], fingerprint: str) -> bytes:
    """Write one shard whole: temporary name, close, fsync, replace.

    Args:
        path: where the shard goes.
        features: (n, D) float16 or float32, finite.
        columns: the n samples.
        status: (n,) ``ok`` or the reason of a failure.
        fingerprint: sha256 of the cache's fingerprint.

    Returns:
        The shard's checksums as bytes.
    """
    arrays = _stored(columns, status)
    checksums = _checksums(features)
    # HDF5 composes the file in memory: on a full disk it would neither fail cleanly nor close.
    image = _image(features, checksums, arrays, fingerprint)
    try:
        with whole_file(path) as tmp:
            tmp.write_bytes(image)
    except OSError as error:
        raise InputError(
            f"shard {path} cannot be written ({error.strerror}): finished shards are kept, run again to resume"
        ) from None
    return _summary(checksums, _columns_checksum(arrays))


def _image(
    features: NDArray[Any], checksums: NDArray[Any], arrays: dict[str, NDArray[Any]], fingerprint: str
) -> memoryview:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("features", data=features)
        file.create_dataset("checksums", data=checksums)
        for name, array in arrays.items():
            utf8 = array.dtype.kind == "S"  # numpy's bytes say nothing of their encoding; the file does
            kind = h5py.string_dtype("utf-8", array.dtype.itemsize) if utf8 else array.dtype
            file.create_dataset(name, data=array.astype(kind), dtype=kind)
        file.attrs["schema"] = SCHEMA
        file.attrs["fingerprint"] = fingerprint
        file.attrs["columns_checksum"] = _columns_checksum(arrays)
    return buffer.getbuffer()


def read_shard(
    path: Path, manifest: Manifest, shard: int, *, check: bool = True, with_features: bool = True
) -> Block:
    """Read one shard and close it.

    Args:
        path: its file.
        manifest: of its cache.
        shard: its number.
        check: compare the features with their checksums (the other columns are always compared).
        with_features: read the features; otherwise they are (n, 0).

    Returns:
        All rows of the shard.

    Raises:
        InputError: truncated, damaged, not what the manifest says, of another cache, or holding links.
    """
    return _read(path, manifest, shard, check, with_features)[0]


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
    start, stop = manifest.span(shard)
    with _opened(path) as file:
        _check_layout(file, (stop - start, manifest.dim), manifest.dtype)
        features: NDArray[Any] = file["features"][...]
        checksums, stored = file["checksums"][...], str(file.attrs["fingerprint"])
    _check_fingerprint(path, stored, manifest)
    if check:
        _compare(features, checksums, path)
    return features


def shard_checksums(path: Path, manifest: Manifest, shard: int) -> tuple[Block, bytes]:
    """Read and check a shard; its rows and its checksums as bytes.

    Raises:
        InputError: as ``read_shard``.
    """
    return _read(path, manifest, shard, True, True)


def _read(path: Path, manifest: Manifest, shard: int, check: bool, with_features: bool) -> tuple[Block, bytes]:
    start, stop = manifest.span(shard)
    with _opened(path) as file:
        stored = str(file.attrs["fingerprint"])
        columns_checksum = int(file.attrs["columns_checksum"])
        checksums = file["checksums"][...]
        _check_layout(file, (stop - start, manifest.dim), manifest.dtype)
        features = file["features"][:, : manifest.dim if with_features else 0]
        arrays = {name: _raw(file[name]) for name in (*STRINGS, "labels") if name in file}
    _check_fingerprint(path, stored, manifest)
    if columns_checksum != _columns_checksum(arrays):
        raise InputError(f"shard {path}: ids, labels or another column differ from their checksum: {AGAIN}")
    if check and with_features:
        _compare(features, checksums, path)
    if not _labels_fit(arrays.get("labels"), manifest):
        raise InputError(f"shard {path}: its labels do not fit the {len(manifest.classes)} classes of the manifest")
    strings = {name: [text.decode() for text in arrays[name].tolist()] for name in STRINGS if name in arrays}
    block = Block(
        features,
        strings["ids"],
        strings["split"],
        strings["status"],
        arrays.get("labels"),
        strings.get("pair"),
        strings.get("camera"),
    )
    return block, _summary(checksums, columns_checksum)


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


def _check_layout(file: h5py.File, shape: tuple[int, int], dtype: str) -> None:
    # Before anything is allocated: a damaged header can claim any size.
    features = file["features"]
    if features.shape != shape or features.dtype != dtype:
        raise ValueError(f"features are {features.shape} {features.dtype}, the manifest says {shape} {dtype}")
    for name in (*STRINGS, "labels"):
        if name in file and file[name].shape[:1] != shape[:1]:
            raise ValueError(f"{name} has {file[name].shape} rows for {shape[0]} samples")


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


def _checksums(features: NDArray[Any]) -> NDArray[np.uint64]:
    rows = np.ascontiguousarray(features)
    sums = [xxhash.xxh3_64_intdigest(rows[i : i + CHECK_ROWS].data) for i in range(0, len(rows), CHECK_ROWS)]
    return np.array(sums, dtype=np.uint64)


def _columns_checksum(arrays: dict[str, NDArray[Any]]) -> int:
    total = xxhash.xxh3_64()
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"{name} {array.shape} {array.dtype.str}".encode())
        total.update(array.tobytes())
    return total.intdigest()


def _compare(features: NDArray[Any], checksums: NDArray[Any], path: Path) -> None:
    found = _checksums(features)
    if found.shape != checksums.shape:
        raise InputError(f"shard {path}: {len(checksums)} checksums for {len(found)} blocks of rows: {AGAIN}")
    bad = np.flatnonzero(found != checksums)
    if bad.size:
        first = int(bad[0]) * CHECK_ROWS
        last = min(first + CHECK_ROWS, len(features)) - 1
        raise InputError(f"shard {path}: features of rows {first} to {last} differ from their checksum: {AGAIN}")


def _summary(checksums: NDArray[np.uint64], columns_checksum: int) -> bytes:
    return checksums.astype("<u8").tobytes() + columns_checksum.to_bytes(8, "little")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
