"""Finds the token sequences of an imported file: end to end with offsets, or padded with lengths or a mask."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.tokens import offsets_of, offsets_problem
from xfeat.errors import InputError
from xfeat.samples.importers.names import NONE, TokenNames
from xfeat.samples.importers.references import References
from xfeat.samples.importers.tokens import TokenRows

PLACES = ("offsets", "lengths", "mask")


def find_tokens(refs: References, names: TokenNames, *, needed: bool) -> tuple[TokenRows | None, list[str]]:
    """The token sequences that a file holds, and notes for the reader.

    Args:
        refs: of the file.
        names: where they are; what is not named is taken by its own name.
        needed: there are no other features. Otherwise an array that nobody named and nothing cuts into sequences is no
            token sequence: it may be the token numbers of a text.

    Raises:
        InputError: what was asked for does not exist or does not fit together.
    """
    if names.tokens == NONE:
        return None, []
    asked = {name: value for name, value in vars(names).items() if value is not None}
    if names.tokens is None and "tokens" not in refs.file.names:
        if asked:
            raise InputError(f"--{next(iter(asked))} is given, but there are no tokens: name them with --tokens")
        return None, []
    placed = any(name in refs.file.names for name in PLACES)
    return _Finder(refs, names).run() if asked or placed or needed else (None, [])


class _Finder:
    def __init__(self, refs: References, names: TokenNames) -> None:
        self.refs, self.names = refs, names
        self.option = f"--tokens {names.tokens or 'tokens'}"
        self.asked = [name for name in PLACES if getattr(names, name) is not None]

    def run(self) -> tuple[TokenRows | None, list[str]]:
        if len(self.asked) > 1:
            raise InputError(f"--{self.asked[0]} and --{self.asked[1]} say the same: give one of them")
        parts = self.refs.arrays("--tokens", self.names.tokens or "tokens")
        if len(parts) > 1:
            raise InputError(f"{self.option}: name one array")
        name, array = parts[0]
        self.check(array)
        if array.ndim == 2:
            return TokenRows(name, array, self.offsets(len(array)), None), []
        mask, note = self.mask(array.shape[:2])
        return TokenRows(name, array, offsets_of(mask.sum(axis=1)), mask), note

    def check(self, array: NDArray[Any]) -> None:
        shape = "x".join(map(str, array.shape)) or "a single value"
        if array.ndim not in (2, 3):
            raise InputError(f"{self.option} is {shape}: tokens are tokens x width, or samples x tokens x width")
        if array.dtype.kind not in "fiub":
            raise InputError(f"{self.option} is of type {array.dtype}: tokens are real numbers")
        if not array.size:
            raise InputError(f"{self.option} is empty ({shape})")

    def reference(self, name: str) -> str | None:
        """What an option names, or the array of that name unless another option says where the tokens lie."""
        if self.asked:
            reference: str | None = getattr(self.names, name)
            return reference
        return name if name in self.refs.file.names else None

    def offsets(self, total: int) -> NDArray[np.int64]:
        if self.names.mask is not None:
            raise InputError(f"--mask is for padded tokens, {self.option} is tokens x width: give --offsets")
        reference = self.reference("offsets")
        if reference is not None:
            offsets = self.whole("offsets", reference)
        else:
            reference = self.reference("lengths")
            if reference is None:
                raise InputError(f"{self.option} is tokens x width: give --offsets, where each sample's begin")
            offsets = offsets_of(self.lengths(reference))
        if problem := offsets_problem(offsets, total):
            raise InputError(f"{self.option}: {problem}")
        return offsets

    def lengths(self, reference: str) -> NDArray[np.int64]:
        lengths = self.whole("lengths", reference)
        if (lengths < 0).any():
            raise InputError(f"--lengths {reference}: sample {int(np.argmax(lengths < 0))} has {lengths.min()} tokens")
        return lengths

    def mask(self, shape: tuple[int, int]) -> tuple[NDArray[np.bool_], list[str]]:
        if self.names.offsets is not None:
            raise InputError(f"--offsets are for tokens x width, {self.option} is padded: give --lengths or --mask")
        reference = self.reference("mask")
        if reference is not None:
            return self.stored_mask(reference, shape), []
        reference = self.reference("lengths")
        if reference is None:
            return np.ones(shape, dtype=bool), ["no lengths or mask of the tokens: every one counts"]
        lengths = self.lengths(reference)
        if len(lengths) != shape[0]:
            raise InputError(f"--lengths {reference} has {len(lengths)} rows, the tokens have {shape[0]} samples")
        if lengths.max() > shape[1]:
            row = int(np.argmax(lengths))
            raise InputError(f"--lengths {reference}: sample {row} has {lengths[row]} tokens of {shape[1]}")
        return np.arange(shape[1]) < lengths[:, None], []

    def stored_mask(self, reference: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
        array = self.refs.arrays("--mask", reference)[0][1]
        if array.shape != shape:
            raise InputError(f"--mask {reference} is {array.shape}, the tokens are {shape} (samples, tokens)")
        if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
            raise InputError(f"--mask {reference} holds something besides true and false (1 and 0)")
        return array.astype(bool)

    def whole(self, name: str, reference: str) -> NDArray[np.int64]:
        values = self.refs.column(f"--{name}", reference)
        with np.errstate(invalid="ignore"):
            numbers = values.astype(np.int64) if values.ndim == 1 and values.dtype.kind in "iuf" else None
        if numbers is None or not (numbers == values).all():
            raise InputError(f"--{name} {reference} is {values.shape} {values.dtype}: it needs whole numbers in a row")
        return numbers
