"""Arrays from MATLAB files, v4 to v7."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.errors import InputError
from xfeat.samples.importers.arrays import ArrayFile, root_name
from xfeat.samples.importers.mat73 import open_mat73

_STEP = re.compile(r"\[([0-9]+)\]|\.([A-Za-z]\w*)")
_SAVE = "save it as a plain numeric array"


def open_mat(path: Path) -> ArrayFile:
    """Open a .mat file.

    References reach into cell arrays by flat index from 0 in MATLAB's order (``X[0]``) and into structs by field
    (``data.view``); both may be chained. In v7.3 files only plain numeric arrays are read.

    Raises:
        InputError: not a MATLAB file, or (on reading) an object, function, missing field or empty array.
    """
    import h5py
    from scipy.io import loadmat, whosmat

    if h5py.is_hdf5(path):
        return open_mat73(path)

    found = _guarded(path, lambda: whosmat(path))
    names = {name: f"{'x'.join(map(str, shape))} {kind}" for name, shape, kind in found}

    def read(reference: str) -> NDArray[Any]:
        root = root_name(reference)
        values = _guarded(path, lambda: loadmat(path, variable_names=[root], chars_as_strings=True))
        if root not in values:
            raise InputError(f"{path} has no array {root!r}; it has: {', '.join(names)}")
        return _plain(path, reference, _follow(path, reference, values[root], reference[len(root) :]))

    return ArrayFile(path, "mat", names, read)


def _guarded(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:  # scipy's parser fails in many ways on damaged files
        words = str(error).splitlines()
        why = words[0] if words else type(error).__name__
        raise InputError(f"{path} is not a MATLAB file, or is damaged ({why})") from None


def _follow(path: Path, reference: str, value: Any, steps: str) -> Any:
    place = 0
    for step in _STEP.finditer(steps):
        if step.start() != place:
            break
        place = step.end()
        _refuse_objects(path, reference, value)
        index, field = step.groups()
        value = _cell(path, reference, value, int(index)) if index else _field(path, reference, value, field)
    if place != len(steps):
        raise InputError(f"{path}: cannot read {reference!r}: write NAME, NAME[0] (a cell) or NAME.field (a struct)")
    return value


def _cell(path: Path, reference: str, value: Any, index: int) -> Any:
    if value.dtype != object and value.dtype.names is None:
        raise InputError(f"{path}: {reference!r}: {_words(value)} is not a cell array: give its name without [{index}]")
    flat = value.ravel(order="F")
    if index >= flat.size:
        raise InputError(f"{path}: {reference!r}: the cell array has {flat.size} cells, from [0] to [{flat.size - 1}]")
    return flat[index] if value.dtype == object else flat[index : index + 1]


def _field(path: Path, reference: str, value: Any, field: str) -> Any:
    fields = value.dtype.names or ()
    if field not in fields:
        has = f"its fields are {', '.join(fields)}" if fields else f"{_words(value)} is not a struct"
        raise InputError(f"{path}: {reference!r}: no field {field!r}; {has}")
    inner = value[field]
    return inner.item() if inner.size == 1 else inner


def _plain(path: Path, reference: str, value: Any) -> NDArray[Any]:
    _refuse_objects(path, reference, value)
    if hasattr(value, "toarray"):  # a sparse matrix
        value = value.toarray()
    if value.dtype.names is not None:
        field = value.dtype.names[0] if value.dtype.names else "field"
        raise InputError(f"{path}: {reference!r} is a struct: name one of its fields, for example {reference}.{field}")
    if value.dtype != object:
        return np.char.rstrip(value) if value.dtype.kind == "U" else np.asarray(value)
    cells = value.ravel(order="F")
    if all(isinstance(cell, np.ndarray) and cell.dtype.kind == "U" and cell.size <= 1 for cell in cells):
        return np.array([str(cell.item()) if cell.size else "" for cell in cells], dtype=np.str_)
    last = cells.size - 1
    raise InputError(
        f"{path}: {reference!r} is a cell array: name one of its cells, {reference}[0] to {reference}[{last}]"
    )


def _refuse_objects(path: Path, reference: str, value: Any) -> None:
    from scipy.io.matlab import MatlabFunction, MatlabObject, MatlabOpaque

    if isinstance(value, MatlabFunction | MatlabObject | MatlabOpaque):
        raise InputError(f"{path}: {reference!r} is a MATLAB object (table, string, class, ...): {_SAVE}")


def _words(value: Any) -> str:
    return f"a {'x'.join(map(str, value.shape))} {value.dtype} array"
