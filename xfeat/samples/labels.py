"""Class names and labels: from names, from numbers, from a 0/1 matrix."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.errors import InputError

SEPARATOR = "|"  # between the classes of one sample, in a text cell
UNLABELLED = -1
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_DIGITS = re.compile(r"([0-9]{1,18})")


def class_order(names: Iterable[str]) -> list[str]:
    """Distinct names: numerically if all are integers, else naturally (``c2`` before ``c10``).

    Example:
        >>> class_order(["10", "9", "10"])
        ['9', '10']
    """
    distinct = set(names)
    if all(_INTEGER.fullmatch(name) for name in distinct):
        return sorted(distinct, key=lambda name: (int(name), name))
    return sorted(distinct, key=lambda name: (_natural(name), name))


def split_cell(cell: str) -> list[str]:
    """The classes of one text cell; none if it is empty."""
    return [name for part in cell.split(SEPARATOR) if (name := part.strip())]


def are_integers(cells: Iterable[str]) -> bool:
    """Whether every cell that is not empty is an integer."""
    return all(_INTEGER.fullmatch(cell.strip()) for cell in cells if cell.strip())


def labels_from_names(
    cells: Sequence[Sequence[str]], *, multi: bool = False, classes: Sequence[str] | None = None
) -> tuple[list[str], NDArray[Any] | None]:
    """Labels from the class names of each sample.

    Args:
        cells: (n,) the classes of each sample, none or many.
        multi: multi-label even if no sample has more than one class.
        classes: the C names in label order; None takes those that occur, in ``class_order``.

    Returns:
        The class names, and (n,) int64 indices with -1 for none, or (n, C) uint8 multi-hot when a sample has several
        classes. (Empty, None) when no sample has any class and none are given.

    Raises:
        InputError: a name that is not among ``classes``.
    """
    names = class_order(name for cell in cells for name in cell) if classes is None else list(classes)
    if not names:
        return [], None
    index = {name: number for number, name in enumerate(names)}
    for row, cell in enumerate(cells):
        for name in cell:
            if name not in index:
                raise InputError(f"row {row}: class {name!r} is not one of the {len(names)} classes")
    if multi or any(len(set(cell)) > 1 for cell in cells):
        hot = np.zeros((len(cells), len(names)), np.uint8)
        for row, cell in enumerate(cells):
            hot[row, [index[name] for name in cell]] = 1
        return names, hot
    return names, np.array([index[cell[0]] if cell else UNLABELLED for cell in cells], np.int64)


def labels_from_numbers(
    values: NDArray[Any], classes: Sequence[str] | None = None, base: int | None = None, *, zero_based: bool = False
) -> tuple[list[str], NDArray[np.int64]]:
    """Labels from one number per sample; -1 is no label.

    Args:
        values: (n,) integers, or floats that are integers.
        classes: the C names in label order; None names each class by its number.
        base: number of the first of ``classes``, 0 or 1; None finds it: 0 if a label is 0, 1 if a label is C.
        zero_based: what to take when neither occurs: 0 if true, else an error.

    Returns:
        The class names, and (n,) int64 indices into them with -1 for none.

    Raises:
        InputError: a value that is no integer or not among the classes, or a base that cannot be told.
    """
    with np.errstate(invalid="ignore"):
        numbers = values.astype(np.int64)
    bad = np.flatnonzero(numbers != values)
    if bad.size:
        raise InputError(f"row {bad[0]}: label {values[bad[0]]} is not an integer")
    labelled = numbers != UNLABELLED
    if classes is None:
        found = np.unique(numbers[labelled])
        labels = np.where(labelled, np.searchsorted(found, numbers), UNLABELLED)
        return [str(number) for number in found.tolist()], labels.astype(np.int64)
    count = len(classes)
    if base is None:
        base = _base(numbers[labelled], count, zero_based)
    outside = np.flatnonzero(labelled & ((numbers < base) | (numbers >= base + count)))
    if outside.size:
        row = outside[0]
        raise InputError(
            f"row {row}: label {numbers[row]} is not one of {base} to {base + count - 1}, the {count} classes"
        )
    return list(classes), np.where(labelled, numbers - base, UNLABELLED)


def labels_from_matrix(
    matrix: NDArray[Any], classes: Sequence[str] | None = None
) -> tuple[list[str], NDArray[np.uint8]]:
    """Multi-hot labels from an (n, C) matrix of zeros and ones; without ``classes`` they are named ``0`` to ``C-1``.

    Raises:
        InputError: a value that is neither 0 nor 1, or another number of classes.
    """
    bad = np.argwhere((matrix != 0) & (matrix != 1))
    if bad.size:
        row, column = bad[0]
        raise InputError(
            f"row {row}: label matrix {matrix.shape} holds {matrix[row, column]}; multi-label rows are zeros and ones"
        )
    names = [str(number) for number in range(matrix.shape[1])] if classes is None else list(classes)
    if len(names) != matrix.shape[1]:
        raise InputError(f"the label matrix has {matrix.shape[1]} columns, but there are {len(names)} classes")
    return names, matrix.astype(np.uint8)


def _base(numbers: NDArray[np.int64], count: int, zero_based: bool) -> int:
    if zero_based or not numbers.size or (numbers == 0).any():
        one_based = zero_based and numbers.size and numbers.min() > 0 and (numbers == count).any()
        return 1 if one_based else 0
    if (numbers == count).any():
        return 1
    raise InputError(
        f"labels run from {numbers.min()} to {numbers.max()} and there are {count} classes: "
        "give --label-base 0 or --label-base 1"
    )


def _natural(name: str) -> list[str | int]:
    # Text and digits alternate, so that lists compare text with text and numbers with numbers.
    return [int(part) if place % 2 else part for place, part in enumerate(_DIGITS.split(name))]
