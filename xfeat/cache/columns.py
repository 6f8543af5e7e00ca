"""Everything a cache holds about its samples beside their features."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.errors import InputError

OK = "ok"
MAX_ID_BYTES = 1024  # strings are stored at fixed width: one absurd id must not make every row as wide


@dataclass(frozen=True)
class Columns:
    """The samples of one cache, row by row. Construction checks lengths, ids and labels.

    Attributes:
        ids: (n,) unique, non-empty.
        split: (n,) for example ``train``, ``val``, ``test``; other names are kept and used by nothing.
        classes: names of the C classes, in label order; empty where there are no labels.
        labels: (n,) int64 class indices with -1 for none, or (n, C) uint8 multi-hot; None where there are no labels.
        pair: (n,) the key that ties the modalities of one instance; None in unpaired data.
        camera: (n,) the camera of each sample, for re-identification; None elsewhere.

    Raises:
        InputError: a duplicate, empty or overlong id, columns of different lengths, or a label outside the classes.
    """

    ids: Sequence[str]
    split: Sequence[str]
    classes: Sequence[str] = ()
    labels: NDArray[Any] | None = None
    pair: Sequence[str] | None = None
    camera: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            column = getattr(self, field.name)
            if field.name != "classes" and column is not None and len(column) != len(self.ids):
                raise InputError(f"{field.name} has {len(column)} rows, ids has {len(self.ids)}: they must match")
        _check_ids(self.ids)
        if self.labels is not None:
            _check_labels(self.labels, self.classes, self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, start: int, stop: int) -> "Columns":
        """The rows from ``start`` to ``stop``, without checking them again."""
        part = object.__new__(Columns)
        for field in fields(self):
            column = getattr(self, field.name)
            object.__setattr__(
                part, field.name, column if field.name == "classes" or column is None else column[start:stop]
            )
        return part


def _check_ids(ids: Sequence[str]) -> None:
    # No character takes more than four bytes: a million good ids are passed without a loop over them.
    short = 4 * max(map(len, ids), default=0) <= MAX_ID_BYTES
    if short and all(ids) and len(set(ids)) == len(ids) and "\0" not in "".join(ids):
        return
    seen: dict[str, int] = {}
    for row, name in enumerate(ids):
        if not name:
            raise InputError(f"row {row} has an empty id: give every sample an id")
        if "\0" in name or len(name.encode()) > MAX_ID_BYTES:
            raise InputError(
                f"row {row}: the id starting {name[:40]!r} is longer than {MAX_ID_BYTES} bytes or holds NUL"
            )
        if name in seen:
            raise InputError(f"duplicate id {name!r} in rows {seen[name]} and {row}: ids must be unique within a cache")
        seen[name] = row


def _check_labels(labels: NDArray[Any], classes: Sequence[str], ids: Sequence[str]) -> None:
    if len(set(classes)) != len(classes):
        twice = next(name for name in classes if list(classes).count(name) > 1)
        raise InputError(f"class name {twice!r} appears twice: class names must be unique")
    if labels.ndim == 1 and labels.dtype == np.int64:
        bad = np.flatnonzero((labels < -1) | (labels >= len(classes)))
        if bad.size:
            row = int(bad[0])
            raise InputError(
                f"row {row} (id {ids[row]!r}) has label {labels[row]}, but there are {len(classes)} classes"
            )
    elif labels.ndim == 2 and labels.dtype == np.uint8:
        if labels.shape[1] != len(classes):
            raise InputError(f"multi-hot labels have {labels.shape[1]} columns, but there are {len(classes)} classes")
        bad = np.flatnonzero(labels.max(axis=1, initial=0) > 1)
        if bad.size:
            raise InputError(f"row {bad[0]} (id {ids[int(bad[0])]!r}): multi-hot labels must be 0 or 1")
    else:
        raise InputError(f"labels must be (n,) int64 or (n, C) uint8, got {labels.shape} {labels.dtype}")
