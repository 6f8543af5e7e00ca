"""Datasets of an HDF5 file, by name."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xfeat.errors import InputError
from xfeat.samples.importers.arrays import USUAL, ArrayFile


def open_hdf5(path: Path) -> ArrayFile:
    """Open a .h5 or .hdf5; ``group/name`` is a dataset in a group.

    Links are not followed, and external and virtual datasets are not read: reading this file reads no other one. Large
    uncompressed datasets are mapped into memory rather than read.

    Raises:
        InputError: not an HDF5 file, or (on reading) a dataset that is damaged or holds neither numbers nor strings.
    """
    names: dict[str, str] = {}

    def visit(name: str, item: Any) -> None:  # called for hard links only
        if isinstance(item, h5py.Dataset):
            names[name] = "x".join(map(str, item.shape or ())) or "a single value"

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not an HDF5 file, or is damaged ({_first_line(error)})") from None

    def read(reference: str) -> NDArray[Any]:
        if reference not in names:
            raise InputError(
                f"{path} has no dataset {reference!r} (links are not followed); it has: {', '.join(names)}"
            )
        try:
            with h5py.File(path, "r") as file:
                return _read(path, reference, file[reference])
        except (OSError, RuntimeError, KeyError, ValueError, MemoryError) as error:
            raise InputError(
                f"{path}: {reference!r} cannot be read, the file is damaged ({_first_line(error)})"
            ) from None

    usual = {column: name for column, name in USUAL.items() if name in names and column not in names}
    return ArrayFile(path, "h5", names, read, usual=usual)


def _read(path: Path, name: str, item: h5py.Dataset) -> NDArray[Any]:
    if item.external or item.is_virtual:
        raise InputError(f"{path}: {name!r} lies in another file: refused")
    if item.shape is None or item.ndim == 0:
        raise InputError(f"{path}: {name!r} is a single value, not an array")
    if h5py.check_string_dtype(item.dtype) is not None:
        try:
            return np.array(item.asstr()[...], dtype=np.str_)
        except UnicodeDecodeError:
            raise InputError(f"{path}: {name!r} holds bytes that are not UTF-8") from None
    if item.dtype.kind not in "fiubS":
        raise InputError(f"{path}: {name!r} is of type {item.dtype}: numbers and strings are read, nothing else")
    if item.nbytes > path.stat().st_size and item.chunks is None:
        raise InputError(f"{path}: {name!r} has {item.nbytes} bytes, more than the file: it is damaged")
    place = item.id.get_offset() if item.chunks is None and item.file.userblock_size == 0 else None
    if place is not None and item.ndim == 2 and item.size:
        return np.memmap(path, item.dtype, "r", place, item.shape)
    array: NDArray[Any] = item[...]
    return array


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
