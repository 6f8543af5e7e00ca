"""Columns of a Parquet table as arrays."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.arrow import import_pyarrow
from xfeat.errors import InputError
from xfeat.samples.importers.arrays import USUAL, ArrayFile
from xfeat.samples.labels import SEPARATOR, UNLABELLED, class_order

BATCH = 4096  # rows in memory beside the array they go to
ABOUT = b"xfeat"  # of the schema's metadata: written by `xfeat cache export`


def open_parquet(path: Path) -> ArrayFile:
    """Open a .parquet; columns of numbers or strings are (n,), of lists of numbers (n, D).

    ``prefix*`` is all columns of numbers whose names start alike, side by side in natural order (``f_2`` before
    ``f_10``). A list of strings is a cell of several classes. A missing string or whole number is an empty cell.

    Raises:
        InputError: pyarrow is missing, not a Parquet file, or (on reading) a damaged column, one of another type, lists
            of different lengths, or a missing value among numbers; file and row are named.
    """
    with _opened(path) as file:
        fields = {field.name: field.type for field in file.schema_arrow}
        if len(fields) != len(file.schema_arrow.names):
            raise InputError(f"{path}: two columns have the same name: rename one")
        about = _about(path, (file.schema_arrow.metadata or {}).get(ABOUT))
    names = {name: str(kind) for name, kind in fields.items()}
    usual = {column: name for column, name in USUAL.items() if name in names and column not in names}
    exported = about if "label" in names and "classes" not in names else None
    if exported is not None:
        names["classes"] = f"{len(exported['classes'])} names"

    def read(reference: str) -> NDArray[Any]:
        if exported is not None and reference == "classes":
            return np.array(exported["classes"], dtype=np.str_)
        if reference.endswith("*") and reference not in fields:
            return _side_by_side(path, class_order(name for name in fields if name.startswith(reference[:-1])))
        if reference not in fields:
            raise InputError(f"{path} has no column {reference!r}; it has: {', '.join(fields)}")
        if exported is not None and reference == "label":
            return _Column(path, reference).labels(exported["classes"])
        return _Column(path, reference).array()

    return ArrayFile(path, "parquet", names, read, usual=usual, wild=True)


def count_rows(path: Path) -> int:
    """Rows of a Parquet file, by its footer.

    Raises:
        InputError: as ``open_parquet``.
    """
    with _opened(path) as file:
        return int(file.metadata.num_rows)


def count_filled(path: Path, name: str) -> int:
    """Rows of a column that are neither missing nor empty, without holding them all in memory.

    Raises:
        InputError: as ``open_parquet``.
    """
    return sum(1 for value in _Column(path, name).values() if value) if count_rows(path) else 0


class _Column:
    """One column, read a batch at a time."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        with _opened(path) as file:
            self.type = file.schema_arrow.field(name).type
            self.rows = int(file.metadata.num_rows)
        if not self.rows:
            raise InputError(f"{path} is empty: it has no rows")

    def array(self) -> NDArray[Any]:
        import pyarrow.types as kinds

        kind = self.type.value_type if kinds.is_dictionary(self.type) else self.type
        if kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
            if _numeric(kind.value_type):
                return self._matrix()
            if _textual(kind.value_type):
                return np.array([SEPARATOR.join(cell) for cell in self._name_lists()], dtype=np.str_)
        elif kinds.is_null(kind) or _textual(kind):
            return np.array([value or "" for value in self.values()], dtype=np.str_)
        elif kinds.is_integer(kind) or _numeric(kind):
            return self._numbers(cells=kinds.is_integer(kind))
        raise self._problem(f"is of type {self.type}: numbers, strings and lists of them are read")

    def labels(self, classes: list[str]) -> NDArray[Any]:
        """Numbers of classes (n,), or (n, C) uint8 where a cell is a list; exact whatever the names hold."""
        import pyarrow.types as kinds

        index = {name: number for number, name in enumerate(classes)}
        several = kinds.is_list(self.type)
        hot = np.zeros((self.rows, len(classes)), np.uint8)
        single = np.full(self.rows, UNLABELLED, np.int64)
        found = self._name_lists() if several else ([] if value is None else [value] for value in self.values())
        for row, cell in enumerate(found):
            for name in cell:
                if name not in index:
                    raise self._problem(f"row {row} is {name!r}, not one of the classes that the file names")
                if several:
                    hot[row, index[name]] = 1
                else:
                    single[row] = index[name]
        return hot if several else single

    def _batches(self) -> Iterator[tuple[int, Any]]:
        start = 0
        with _opened(self.path) as file:
            for batch in file.iter_batches(batch_size=BATCH, columns=[self.name]):
                column = batch.column(0)
                if hasattr(column, "dictionary_decode"):
                    column = column.dictionary_decode()
                yield start, column
                start += len(column)

    def values(self) -> Iterator[Any]:
        """The values as Python objects, None where one is missing."""
        return (value for _, column in self._batches() for value in column.to_pylist())

    def _name_lists(self) -> Iterator[list[str]]:
        for row, cell in enumerate(self.values()):
            if cell is not None and None in cell:
                raise self._problem(f"row {row} holds a null in its list")
            yield cell or []

    def _numbers(self, *, cells: bool) -> NDArray[Any]:
        """A column of numbers; whole ones with gaps as digits in cells, of which the missing ones are empty."""
        parts: list[NDArray[Any]] = []
        gaps = False
        for start, column in self._batches():
            if column.null_count and not cells:
                raise self._problem(f"row {start + _first_null(column)} is null: fill it in, or drop the row")
            if column.null_count:
                gaps = True
                parts.append(np.array(["" if v is None else str(v) for v in column.to_pylist()], dtype=np.str_))
            else:
                parts.append(column.to_numpy(zero_copy_only=False))
        return np.concatenate([part.astype(np.str_) if gaps else part for part in parts])

    def _matrix(self) -> NDArray[Any]:
        out: NDArray[Any] | None = None
        for start, column in self._batches():
            if column.null_count:
                raise self._problem(f"row {start + _first_null(column)} is null: drop the row, it has no features")
            lengths = column.value_lengths().to_numpy(zero_copy_only=False)
            flat = column.flatten()
            width = int(lengths[0]) if out is None else out.shape[1]
            ragged = np.flatnonzero(lengths != width)
            if ragged.size:
                row = int(ragged[0])
                raise self._problem(f"row {start + row} has {lengths[row]} values, row 0 has {width}")
            if flat.null_count:
                raise self._problem(f"row {start + _first_null(flat) // width} holds a null among its values")
            values = flat.to_numpy(zero_copy_only=False)
            if out is None:
                out = np.empty((self.rows, width), values.dtype)
            out[start : start + len(column)] = values.reshape(-1, width)
        if out is None:
            raise self._problem("cannot be read, the file is damaged")
        return out

    def _problem(self, what: str) -> InputError:
        return InputError(f"{self.path}: column {self.name!r} {what}")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    pa, pq = import_pyarrow()
    try:
        # Not memory-mapped: a damaged length must be an error, not a page fault.
        with pq.ParquetFile(path) as file:
            yield file
    except InputError:
        raise
    except (pa.ArrowException, OSError, MemoryError, OverflowError) as error:
        words = str(error).splitlines()
        why = words[0][:160] if words else type(error).__name__
        raise InputError(f"{path} is not a Parquet file, or is damaged ({why})") from None


def _about(path: Path, metadata: bytes | None) -> dict[str, list[str]] | None:
    """The classes in label order, where an export of a cache names them."""
    if metadata is None:
        return None
    try:
        classes = json.loads(metadata)["classes"]
        if isinstance(classes, list) and all(isinstance(name, str) for name in classes):
            return {"classes": classes}
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{path}: its metadata of xfeat are damaged: export it again")


def _side_by_side(path: Path, names: list[str]) -> NDArray[Any]:
    """Columns of one number per row as a matrix."""
    out: NDArray[Any] | None = None
    for place, name in enumerate(names):
        column = _Column(path, name)
        if not _numeric(column.type):
            raise InputError(f"{path}: column {name!r} is of type {column.type}: * takes columns of numbers together")
        values = column.array()
        if values.dtype.kind == "U":
            row = int(np.flatnonzero(values == "")[0])
            raise InputError(f"{path}: column {name!r} row {row} is null: fill it in, or drop the row")
        if out is None:
            out = np.empty((len(values), len(names)), np.float32 if values.dtype.itemsize <= 4 else np.float64)
        out[:, place] = values
    if out is None:
        raise InputError(f"{path}: no column starts like that")
    return out


def _numeric(kind: Any) -> bool:
    import pyarrow.types as kinds

    tests: tuple[Callable[[Any], bool], ...] = (kinds.is_floating, kinds.is_integer, kinds.is_boolean)
    return any(test(kind) for test in tests)


def _textual(kind: Any) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind))


def _first_null(column: Any) -> int:
    return int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
