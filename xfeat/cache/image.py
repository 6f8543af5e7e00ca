"""The bytes of a shard file, composed in memory: on a full disk HDF5 would neither fail cleanly nor close."""

import io
from collections.abc import Mapping
from typing import Any

import h5py
from numpy.typing import NDArray


def image(
    large: Mapping[str, NDArray[Any]], small: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]
) -> list[memoryview]:
    """An HDF5 file that holds arrays contiguously, as pieces to be written one after another.

    Args:
        large: arrays by name, C-contiguous; they become pieces as they are, without being copied.
        small: arrays by name; bytes are UTF-8.
        attributes: of the file.
    """
    buffer = io.BytesIO()
    places: list[tuple[int, NDArray[Any]]] = []
    with h5py.File(buffer, "w") as file:
        for name, array in small.items():
            utf8 = array.dtype.kind == "S"  # numpy's bytes say nothing of their encoding; the file does
            kind = h5py.string_dtype("utf-8", array.dtype.itemsize) if utf8 else array.dtype
            file.create_dataset(name, data=array.astype(kind), dtype=kind)
        file.attrs.update(attributes)
        for name, array in large.items():  # last: what comes before is all the buffer has to hold
            if array.size:
                places.append((_reserve(file, name, array), array))
            else:
                file.create_dataset(name, data=array)
    return _pieces(buffer.getbuffer(), places)


def _reserve(file: h5py.File, name: str, array: NDArray[Any]) -> int:
    """Make a dataset of the array's shape and type, write nothing into it, and return where its bytes belong."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_obj_track_times(False)  # equal arrays make equal bytes
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    kind, space = h5py.h5t.py_create(array.dtype), h5py.h5s.create_simple(array.shape)
    offset: int = h5py.h5d.create(file.id, name.encode(), kind, space, dcpl=creation).get_offset()
    return offset


def _pieces(composed: memoryview, places: list[tuple[int, NDArray[Any]]]) -> list[memoryview]:
    pieces, at = [], 0
    for offset, array in sorted(places, key=lambda place: place[0]):
        gap = composed[at:offset]
        pieces += [gap, memoryview(bytes(offset - at - len(gap))), array.data.cast("B")]
        at = offset + array.nbytes
    return [*pieces, composed[at:]]
