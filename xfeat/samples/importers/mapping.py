"""From arrays under any names to the samples and features of one cache."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.columns import Columns
from xfeat.errors import InputError
from xfeat.samples.importers.arrays import ArrayFile, open_arrays
from xfeat.samples.importers.features import Features
from xfeat.samples.importers.names import FEATURES, NONE, ROWS, Names
from xfeat.samples.importers.references import References, read_runs, strings
from xfeat.samples.importers.token_references import find_tokens
from xfeat.samples.importers.tokens import TokenRows
from xfeat.samples.labels import (
    UNLABELLED,
    are_integers,
    labels_from_matrix,
    labels_from_names,
    labels_from_numbers,
    split_cell,
)
from xfeat.samples.tables import read_text

MEANS = "mean of the tokens"
KNOWN_SPLITS = frozenset({"train", "val", "test"})


@dataclass(frozen=True)
class Imported:
    """Samples and features, checked against each other and not yet read through.

    Attributes:
        columns: the n samples.
        features: (n, D).
        format: of the file, as ``ArrayFile`` names it.
        notes: what a reader should know, one line each.
        tokens: the n token sequences; None where there are none.
        pooled: the features are the means of the tokens.
    """

    columns: Columns
    features: Features
    format: str
    notes: list[str]
    tokens: TokenRows | None = None
    pooled: bool = False


def read_arrays(path: Path, names: Names | None = None, modality: str = "") -> Imported:
    """Assemble one modality from a file of arrays, a table or a folder of embeddings, as ``open_arrays`` opens them.

    Args:
        path: the file or folder.
        names: where each column comes from.
        modality: its name; of a folder of embeddings it chooses the kind where ``names`` does not.

    Raises:
        InputError: something is missing, cannot be read, or does not fit the features.
    """
    return _Assembly(open_arrays(path, modality), names or Names()).run()


class _Assembly:
    def __init__(self, file: ArrayFile, names: Names) -> None:
        self.file, self.names = file, (names := _with_usual(names, file))
        self.refs = References(file)
        given = names.features != FEATURES or (FEATURES in self.file.names and names.tokens.tokens != FEATURES)
        self.tokens, notes = find_tokens(self.refs, names.tokens, needed=not given)
        self.notes = [*file.notes, *notes]
        self.source = self.given_features() if given or self.tokens is None else self.tokens
        self.rows = len(self.source)

    def given_features(self) -> Features:
        parts = self.refs.arrays("--features", self.names.features)
        features = Features([(name, array.T if self.names.transpose else array) for name, array in parts])
        if self.tokens is not None and len(self.tokens) != len(features):
            raise InputError(
                f"--tokens {self.tokens.name} has {len(self.tokens)} samples, the features have {len(features)} rows"
            )
        return features

    def run(self) -> Imported:
        numbers = self.row_numbers()
        ids = self.ids(numbers)
        split = self.split()
        classes, labels = self.labels()
        pair = numbers if self.names.pair == ROWS else self.text("pair", self.names.pair)
        columns = Columns(ids, split, classes, labels, pair, self.text("camera", self.names.camera))
        unused = [name for name in self.file.names if name not in self.refs.used]
        if unused:
            self.notes.append(f"not used: {', '.join(unused)}")
        if self.tokens is not None:
            self.tokens.check_lengths(ids)
        if isinstance(self.source, Features):
            return Imported(columns, self.source, self.file.format, self.notes, self.tokens)
        means = Features([(MEANS, self.source.means())])
        return Imported(columns, means, self.file.format, self.notes, self.tokens, pooled=True)

    def row_numbers(self) -> list[str]:
        width = max(6, len(str(self.rows - 1)))
        return [f"{row:0{width}d}" for row in range(self.rows)]

    def reference(self, name: str, asked: str | None) -> str | None:
        if asked is None:
            return name if name in self.file.names else None
        return None if asked == NONE else asked

    def text(self, name: str, asked: str | None) -> list[str] | None:
        reference = self.reference(name, asked)
        if reference is None:
            return None
        option = f"--{name} {reference}"
        values = strings(option, self.fitting(option, self.refs.column(f"--{name}", reference)))
        empty = next((row for row, value in enumerate(values) if not value), None)
        if empty is not None:
            raise InputError(f"{option}: row {empty} is empty")
        return values

    def ids(self, numbers: list[str]) -> list[str]:
        ids = None if self.names.ids == ROWS else self.text("ids", self.names.ids)
        if ids is None:
            return numbers
        first: dict[str, int] = {}
        for row, name in enumerate(ids):
            if first.setdefault(name, row) != row:
                raise InputError(
                    f"--ids: {name!r} is in rows {first[name]} and {row}, but ids are unique: "
                    "leave --ids out (row numbers) and give these values as --pair"
                )
        return ids

    def split(self) -> list[str]:
        runs = read_runs(self.names.split) if self.names.split else None
        if runs is not None:
            total = sum(count for _, count in runs)
            if total != self.rows:
                raise InputError(f"--split {self.names.split} counts {total} rows, the features have {self.rows}")
            return [name for name, count in runs for _ in range(count)]
        split = self.text("split", self.names.split)
        if split is None:
            self.notes.append("no split given: every row is train (--split train:N,test:M counts rows)")
            return ["train"] * self.rows
        unknown = sorted(set(split) - KNOWN_SPLITS)
        if unknown:
            self.notes.append(f"kept, but used by nothing: rows of split {', '.join(unknown)}")
        return split

    def labels(self) -> tuple[Sequence[str], NDArray[Any] | None]:
        reference = self.reference("labels", self.names.labels)
        if reference is None:
            if self.names.classes is not None:
                raise InputError("--classes is given, but there are no labels: name them with --labels")
            return (), None
        classes = self.classes()
        # The `classes` array beside `labels` is what `xfeat cache export` writes: its labels count from 0.
        own = classes is not None and self.names.classes is None
        option = f"--labels {reference}"
        values = self.refs.column("--labels", reference, hot=len(classes) if own and classes else None)
        if values.ndim == 2 and self.names.transpose and len(values) != self.rows == values.shape[1]:
            values = values.T
        values = self.fitting(option, values)
        try:
            names, labels = _labels(values, classes, self.names.label_base, own)
        except InputError as error:
            raise InputError(f"{option}: {error}") from None
        if labels is not None:
            self.note_labels(labels)
        return names, labels

    def note_labels(self, labels: NDArray[Any]) -> None:
        without = (labels == UNLABELLED).sum() if labels.ndim == 1 else (labels.sum(axis=1) == 0).sum()
        if without:
            self.notes.append(f"{without} rows have no label")
        if labels.ndim == 2 and (labels.sum(axis=1) == 1).all():
            self.notes.append("the label matrix has one class per row; it is kept as multi-label")

    def classes(self) -> list[str] | None:
        reference = self.reference("classes", self.names.classes)
        if reference is None:
            return None
        if self.file.has(reference) or "#" in reference:
            return strings("--classes", self.refs.column("--classes", reference))
        if Path(reference).is_file():
            names = [line.strip() for line in read_text(Path(reference)).strip().split("\n")]
        elif "," in reference:
            names = [name.strip() for name in reference.split(",")]
        else:
            raise InputError(f"--classes {reference}: no such file, and no names separated by commas")
        if "" in names:
            raise InputError(f"--classes {reference}: class {names.index('')} (from 0) has no name")
        return names

    def fitting(self, option: str, values: NDArray[Any]) -> NDArray[Any]:
        if len(values) == self.rows:
            return values
        what = "features" if isinstance(self.source, Features) else "tokens"
        line = f"{option} has {len(values)} rows, the {what} have {self.rows}"
        if isinstance(self.source, Features) and len(values) == self.source.shape[1]:
            other = "leave --transpose out" if self.names.transpose else "give --transpose"
            line += f" and {len(values)} columns: if the samples are the columns, {other}"
        raise InputError(line)


def _with_usual(names: Names, file: ArrayFile) -> Names:
    """What the user named, and otherwise what stands for it in this file."""
    usual: dict[str, Any] = {column: name for column, name in file.usual.items() if getattr(names, column) is None}
    if names.features == FEATURES and FEATURES in file.usual and FEATURES not in file.names:
        usual[FEATURES] = file.usual[FEATURES]
    return replace(names, **usual)


def _labels(
    values: NDArray[Any], classes: Sequence[str] | None, base: int | None, zero_based: bool
) -> tuple[list[str], NDArray[Any] | None]:
    if values.ndim > 2 or values.dtype.kind not in "USiufb":
        raise InputError(f"shape {values.shape}, type {values.dtype}: labels are numbers, names or a matrix")
    if values.ndim == 2:
        if values.dtype.kind in "US":
            raise InputError(f"a {values.shape} matrix of text: one cell per sample; several classes as 'a|b'")
        return labels_from_matrix(values, classes)
    if values.dtype.kind not in "US":
        return labels_from_numbers(values, classes, base, zero_based=zero_based)
    cells = strings("--labels", values)
    named = classes is not None and set(map(str.strip, cells)) <= {"", *classes}
    if cells and are_integers(cells) and not named:
        numbers = np.array([int(cell) if cell.strip() else UNLABELLED for cell in cells], np.int64)
        return labels_from_numbers(numbers, classes, base, zero_based=zero_based)
    return labels_from_names([split_cell(cell) for cell in cells], classes=classes)
