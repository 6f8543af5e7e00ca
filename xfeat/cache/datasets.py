"""The datasets of an open HDF5 file, each looked at once: h5py's own objects cost more than reading small columns."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xfeat.cache.rows import Place, Stamp, stamp

ATTRIBUTES = (b"fingerprint", b"columns_checksum", b"classes")


class RefusedError(Exception):
    """A link, a group or an external dataset, by its repr: reading it would read another file, or nothing."""


class Dataset:
    """One dataset of an open file.

    Attributes:
        shape: of its values.
        dtype: of its values.
        offset: where they lie in the file, in bytes; None where they do not lie there byte after byte.
    """

    def __init__(self, handle: Any, layout: int) -> None:
        self._handle = handle
        self.shape: tuple[int, ...] = handle.shape
        self.dtype: np.dtype[Any] = handle.dtype
        self.offset: int | None = handle.get_offset() if layout == h5py.h5d.CONTIGUOUS else None

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a single value where rows should be")
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of the values in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> NDArray[Any]:
        """The values."""
        values = np.empty(self.shape, self.dtype)
        if values.size:
            self._handle.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
        return values


class Datasets(dict[str, Dataset]):
    """The datasets of an open file by name: all, or those that are wanted.

    Attributes:
        path: of the file.
        attrs: of the file, those that shards have.
        size: of the file, in bytes.
        stamp: of the file, from before it was opened.

    Raises:
        KeyError: it has nothing of one of the names.
        RefusedError: a link, a group or an external or virtual dataset is among them.
    """

    def __init__(self, file: Any, path: Path, before: Stamp, names: Sequence[str] = ()) -> None:
        chosen = [name.encode() for name in names] or list(file)
        absent = [name.decode() for name in chosen if names and name not in file]
        if absent:
            raise KeyError(absent[0])
        super().__init__({name.decode(): _open_dataset(file, name) for name in chosen})
        self.path = path
        self.attrs = {name.decode(): _attribute(file, name) for name in ATTRIBUTES if h5py.h5a.exists(file, name)}
        self.size: int = file.get_filesize()
        self.stamp = before

    def place(self, name: str) -> Place | None:
        """Where the values of a dataset lie; None where they do not lie byte after byte.

        Raises:
            ValueError: the file ends before they do.
        """
        dataset = self[name]
        if dataset.offset is None:
            return None
        end = dataset.offset + dataset.nbytes
        if end > self.stamp[1]:
            raise ValueError(f"{name} ends at byte {end} of a file of {self.stamp[1]}")
        return Place(self.path, dataset.offset, dataset.shape, dataset.dtype, self.stamp)


@contextmanager
def open_datasets(path: Path, names: Sequence[str] = ()) -> Iterator[Datasets]:
    """Open a file, close it at the end.

    Args:
        path: the file.
        names: of the datasets that are wanted; the others are not looked at. Empty: all.

    Raises:
        OSError: it cannot be opened.
        KeyError: it holds nothing of one of the names.
        RefusedError: as ``Datasets``.
    """
    before = stamp(path.stat())
    with h5py.File(path, "r") as file:
        yield Datasets(file.id, path, before, names)


def _open_dataset(file: Any, name: bytes) -> Dataset:
    if file.links.get_info(name).type != h5py.h5l.TYPE_HARD:
        raise RefusedError(repr(name.decode()))
    handle = h5py.h5o.open(file, name)
    if not isinstance(handle, h5py.h5d.DatasetID):
        raise RefusedError(repr(name.decode()))
    creation = handle.get_create_plist()
    layout = creation.get_layout()
    if layout == h5py.h5d.VIRTUAL or creation.get_external_count():
        raise RefusedError(repr(name.decode()))
    return Dataset(handle, layout)


def _attribute(file: Any, name: bytes) -> Any:
    handle = h5py.h5a.open(file, name)
    value = np.empty(handle.shape, handle.dtype)
    handle.read(value)
    found: Any = value[()]
    return found.decode() if isinstance(found, bytes) else found
