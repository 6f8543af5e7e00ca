"""A folder of embeddings in numbered parts, as clip-retrieval and img2dataset's users write it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.columns import MAX_ID_BYTES
from xfeat.errors import InputError
from xfeat.samples.importers.arrays import ArrayFile
from xfeat.samples.importers.npy import open_npy
from xfeat.samples.importers.parquet import count_filled, count_rows, open_parquet
from xfeat.samples.importers.references import strings

PART = re.compile(r"([A-Za-z]\w*_emb)_([0-9]{1,9})\.npy")
METADATA = re.compile(r"metadata_([0-9]{1,9})\.parquet")
ID_COLUMNS = ("image_path", "url", "key")  # in order: the first whose values are unique names the rows
CAPTIONS = "caption"
WORDS = {"img_emb": ("img", "image", "picture", "photo"), "text_emb": ("text", "txt", "caption", "sentence")}


def open_embeddings(folder: Path, modality: str = "") -> ArrayFile:
    """Open a folder with ``img_emb/img_emb_0.npy``, ``text_emb/text_emb_0.npy``, ``metadata/metadata_0.parquet``, ...

    The files may also lie in the folder itself. Parts are in the order of their numbers. The arrays are the kinds
    of embeddings (``img_emb``), memory-mapped, and the columns of the metadata, part after part. The kind whose name
    fits the modality is taken as features where nobody names one. Row i of each kind is one instance: its id is its
    ``image_path``, ``url`` or ``key`` where those are unique, else the number of the row, and its id is its pair key.

    Args:
        folder: the folder.
        modality: name of the modality, to choose a kind.

    Raises:
        InputError: no parts, a gap in their numbers, parts of different width, or metadata of another number of rows;
            the file is named.
    """
    kinds = _kinds(folder)
    if not kinds:
        raise InputError(
            f"{folder}: no embeddings (img_emb/img_emb_0.npy, text_emb/text_emb_0.npy, ...) in this folder"
        )
    tables = _numbered(folder, _find(folder, "metadata", METADATA), "metadata")
    metadata = _Metadata(list(tables.values()))
    usual, notes = _row_names(metadata)
    if chosen := _choose(list(kinds), modality):
        usual["features"] = chosen
    if CAPTIONS in metadata.columns:
        filled = sum(count_filled(path, CAPTIONS) for path in tables.values())
        rows = sum(map(count_rows, tables.values()))
        notes.append(f"{filled:,} of {rows:,} rows have a caption; texts are not stored")

    def read(reference: str) -> NDArray[Any]:
        if reference in kinds:
            return np.concatenate(_arrays(kinds[reference]))
        return metadata.read(reference)

    # The other kinds may be damaged or half-written: only those asked for are looked into.
    def parts(reference: str) -> list[tuple[str, NDArray[Any]]]:
        if reference not in kinds:
            return []
        arrays = _arrays(kinds[reference])
        _check_against(kinds[reference], [len(array) for array in arrays], tables)
        return [(reference, array) for array in arrays if len(array)]

    names = {kind: f"{len(files)} part{'s' * (len(files) != 1)}" for kind, files in kinds.items()}
    names |= dict.fromkeys(metadata.columns, "")
    return ArrayFile(folder, "embeddings", names, read, usual=usual, notes=tuple(notes), parts=parts)


class _Metadata:
    """The tables of all parts, one below the other."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [open_parquet(path) for path in paths]
        self.columns = list(self._files[0].names) if self._files else []
        for file in self._files[1:]:
            other = [name for name in self.columns if name not in file.names]
            if other:
                raise InputError(f"{file.path} has no column {other[0]!r}, {self._files[0].path.name} has one")
        self._read: dict[str, NDArray[Any]] = {}

    def read(self, name: str) -> NDArray[Any]:
        if name not in self._read:
            found = [file.read(name) for file in self._files if count_rows(file.path)]
            if len({part.dtype.kind in "US" for part in found}) > 1:  # some parts have gaps, others do not
                found = [np.array(strings(name, part), dtype=np.str_) for part in found]
            try:
                self._read[name] = np.concatenate(found)
            except ValueError:
                raise InputError(f"{self._files[0].path.parent}: {name!r} differs in width from part to part") from None
        return self._read[name]


def _kinds(folder: Path) -> dict[str, dict[int, Path]]:
    """Kind -> number -> file, in order of their numbers."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        for path in place.iterdir():
            match = PART.fullmatch(path.name)
            if match and (place == folder or place.name == match[1]):
                found.setdefault(match[1], []).append((int(match[2]), path))
    return {kind: _numbered(folder, found[kind], kind) for kind in sorted(found)}


def _find(folder: Path, name: str, pattern: re.Pattern[str]) -> list[tuple[int, Path]]:
    places = [place for place in (folder, folder / name) if place.is_dir()]
    files = (path for place in places for path in place.iterdir())
    return [(int(match[1]), path) for path in files if (match := pattern.fullmatch(path.name))]


def _numbered(folder: Path, files: Sequence[tuple[int, Path]], kind: str) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for number, path in sorted(files):
        if number in found:
            raise InputError(f"{folder}: {path.relative_to(folder)} and {found[number].relative_to(folder)}: which?")
        if number != len(found):
            raise InputError(
                f"{folder}: part {len(found)} of {kind} is missing, {path.name} is there: "
                "parts are numbered from 0 without a gap"
            )
        found[number] = path
    return found


def _arrays(files: Mapping[int, Path]) -> list[NDArray[Any]]:
    arrays = [open_npy(path).read("features") for path in files.values()]
    for path, array in zip(files.values(), arrays, strict=True):
        if array.ndim != 2 or array.dtype.kind not in "fiu":
            raise InputError(f"{path} is {array.shape} {array.dtype}: embeddings are rows x width, real numbers")
        if array.shape[1] != arrays[0].shape[1]:
            raise InputError(f"{path} is {array.shape[1]} wide, {files[0].name} is {arrays[0].shape[1]}: not one model")
    return arrays


def _choose(kinds: Sequence[str], modality: str) -> str:
    if len(kinds) == 1:
        return kinds[0]
    name = modality.lower()
    fitting = [kind for kind in kinds if name.startswith(WORDS.get(kind, (kind.removesuffix("_emb"),)))]
    return fitting[0] if len(fitting) == 1 else ""


def _check_against(files: Mapping[int, Path], counts: Sequence[int], tables: Mapping[int, Path]) -> None:
    if not tables:
        return
    if len(tables) != len(files):
        more, fewer = (files, tables) if len(files) > len(tables) else (tables, files)
        raise InputError(
            f"{more[len(fewer)]} has no counterpart beside {fewer[0].name}: of that there are {len(fewer)}"
        )
    for number, count in enumerate(counts):
        described = count_rows(tables[number])
        if described != count:
            raise InputError(
                f"{files[number]} has {count} rows, {tables[number].name} has {described}: they must match"
            )


def _row_names(metadata: _Metadata) -> tuple[dict[str, str], list[str]]:
    """Which column names the rows and pairs them, or that their numbers do."""
    tried = [name for name in ID_COLUMNS if name in metadata.columns]
    for name in tried:
        if _unique(metadata.read(name)):
            return {"ids": name, "pair": name}, [f"ids and pairs, where not given: {name}"]
    why = f"{', '.join(tried)}: not unique" if tried else "no metadata" if not metadata.columns else "no path or key"
    return {"pair": "rows"}, [f"ids and pairs, where not given: numbers of rows ({why})"]


def _unique(values: NDArray[Any]) -> bool:
    if values.ndim != 1 or values.dtype.kind not in "USiu":
        return False
    cells: Iterator[str] = map(str, values.tolist())
    seen = set(cells)
    return len(seen) == len(values) and all(
        0 < len(cell.encode()) <= MAX_ID_BYTES and "\0" not in cell for cell in seen
    )
