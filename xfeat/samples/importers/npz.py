"""Arrays from .npz files."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.errors import InputError
from xfeat.samples.importers.arrays import ArrayFile
from xfeat.samples.importers.npy import explain


def open_npz(path: Path) -> ArrayFile:
    """Open a .npz; nothing in it is unpickled.

    Raises:
        InputError: not a .npz, or (on reading) an array of Python objects or a damaged one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a .npz file, or is truncated ({error})") from None

    def read(reference: str) -> NDArray[Any]:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                array = arrays[reference]
        except KeyError:
            raise InputError(f"{path} has no array {reference!r}; it has: {', '.join(names)}") from None
        except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
            raise explain(path, reference, error) from None
        if not isinstance(array, np.ndarray):
            raise InputError(f"{path}: {reference!r} is not an array")
        return array

    return ArrayFile(path, "npz", dict.fromkeys(names, ""), read)
