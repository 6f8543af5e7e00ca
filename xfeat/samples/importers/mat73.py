"""Plain numeric arrays from MATLAB v7.3 files, which are HDF5."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xfeat.errors import InputError
from xfeat.samples.importers.arrays import ArrayFile

NUMBERS = ("double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))


def open_mat73(path: Path) -> ArrayFile:
    """Open a v7.3 file.

    Raises:
        InputError: damaged, or (on reading) anything but a plain numeric array.
    """
    try:
        with h5py.File(path, "r") as file:
            names = {name: _shape(file, name) for name in file if _own(file, name)}
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(f"{path} is a damaged v7.3 file ({error})") from None

    def read(reference: str) -> NDArray[Any]:
        if reference not in names:
            raise InputError(f"{path} (v7.3) has no plain array {reference!r}; it has: {', '.join(names)}")
        try:
            with h5py.File(path, "r") as file:
                return _read(path, reference, file[reference])
        except (OSError, RuntimeError, KeyError, MemoryError) as error:
            raise InputError(f"{path}: {reference!r} cannot be read, the file is damaged ({error})") from None

    return ArrayFile(path, "mat", names, read)


def _own(file: h5py.File, name: str) -> bool:
    # A link could make reading this file read another one; '#refs#' holds the insides of cells and objects.
    return isinstance(file.get(name, getlink=True), h5py.HardLink) and not name.startswith("#")


def _shape(file: h5py.File, name: str) -> str:
    item = file[name]
    return "x".join(map(str, reversed(item.shape))) if isinstance(item, h5py.Dataset) else ""


def _read(path: Path, name: str, item: Any) -> NDArray[Any]:
    kind = item.attrs.get("MATLAB_class", b"double")
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    plain = isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu" and kind in NUMBERS
    if not plain or item.external or item.is_virtual or "MATLAB_empty" in item.attrs:
        raise InputError(f"{path}: {name!r} is no plain array of numbers, all that is read of v7.3: save it with -v7")
    return np.transpose(item[...])  # MATLAB stores columns first
