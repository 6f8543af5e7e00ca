"""Sample manifests: a CSV or JSON lines file with one row per instance and one column per modality."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from xfeat.cache.columns import Columns
from xfeat.errors import InputError
from xfeat.samples.labels import class_order, labels_from_names, split_cell
from xfeat.samples.paths import Rooted
from xfeat.samples.tables import DELIMITERS, JSON_LINES, Table, read_table

Kind = Literal["image", "text", "audio", "strokes", "video"]
ABOUT = ("id", "split", "label", "pair", "camera")  # columns about the sample; every other one is a modality


@dataclass(frozen=True)
class Samples:
    """The samples of one modality, in the order of the manifest.

    Attributes:
        columns: ids, splits, labels, pairs of the n samples.
        sources: (n,) root-relative POSIX paths, or the texts themselves; '' where the row has none.
        root: folder the paths are relative to, absolute.
        left_out: rows without this modality (another modality of theirs is filled).
        kind: ``image``, ``text``, ``audio``, ``strokes`` or ``video``.
    """

    columns: Columns
    sources: list[str]
    root: Path
    left_out: int
    kind: Kind

    def __len__(self) -> int:
        return len(self.sources)

    def part(self, part: int, parts: int) -> "Samples":
        """Samples ``part * n // parts`` up to ``(part + 1) * n // parts``, for 0 <= part < parts.

        The parts follow each other, share the classes, and differ in length by one at most.

        Raises:
            InputError: no such part, or more parts than samples.
        """
        if not 0 <= part < parts:
            raise InputError(f"part {part} of {parts}: parts are counted from 0 to {max(parts, 1) - 1}")
        if parts > len(self):
            raise InputError(f"{len(self)} samples cannot be divided into {parts} parts: choose {len(self)} at most")
        start, stop = part * len(self) // parts, (part + 1) * len(self) // parts
        return replace(self, columns=self.columns.rows(start, stop), sources=self.sources[start:stop])


def read_manifest(
    path: Path,
    modality: str,
    *,
    column: str | None = None,
    root: Path | None = None,
    kind: Kind = "image",
    text_files: bool = False,
) -> Samples:
    """Read the samples of one modality.

    The columns ``id``, ``split``, ``label``, ``pair`` and ``camera`` are optional; of the last four, one that is
    empty in every row counts as left out. Without ``id``, a path is its own id
    and a text gets ``<modality>:<row>``, rows counted from 1; without ``split``, all rows are ``train``. Several
    classes of one sample are separated by ``|`` in CSV and are a list in JSON lines. Whether the files exist is not
    looked at.

    Without ``pair``, the rows tie the modalities: where some row of the manifest fills two modality columns or more,
    the pair key of every sample is its row's id, or ``row:<row>`` without ``id``. Where every row fills one, the
    samples have no pair keys.

    Args:
        path: .csv, .tsv or .jsonl, UTF-8.
        modality: name of the modality.
        column: column that holds its path or text; None takes the modality's name.
        root: folder that paths are relative to and must stay under; None takes the manifest's folder.
        kind: what the column holds.
        text_files: the text column holds paths of text files.

    Returns:
        The samples; rows whose cell is empty while another modality is filled are left out and counted.

    Raises:
        InputError: a malformed file, a missing column, an empty split, a duplicate id or a path that leaves the root;
            file and line are named.
    """
    if path.suffix.lower() not in (*DELIMITERS, *JSON_LINES):
        raise InputError(f"{path}: a manifest is a .csv, .tsv or .jsonl file")
    table = read_table(path)
    column = column or modality
    table.require(column)
    folder = (root or path.parent).resolve()
    if not folder.is_dir():
        raise InputError(f"root {folder} is not a folder")
    kept = [row for row in range(len(table.rows)) if not _absent(table, row, column)]
    if not kept:
        raise InputError(f"{path}: no row has anything in column {column!r}")
    literal = kind == "text" and not text_files
    cells = [_text(table, row, column, strict=True) for row in kept]
    sources = cells if literal else _paths(table, kept, cells, Rooted(folder))
    ids = _ids(table, kept, modality, sources=None if literal else sources)
    classes, labels = _labels(table, kept)
    splits = _filled(table, kept, "split") or ["train"] * len(kept)
    pairs = _filled(table, kept, "pair") or _tied(table, kept)
    cameras = _filled(table, kept, "camera")
    try:
        columns = Columns(ids, splits, classes, labels, pairs, cameras)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return Samples(columns, sources, folder, len(table.rows) - len(kept), kind)


def _absent(table: Table, row: int, column: str) -> bool:
    cells = table.rows[row]
    json_lines = table.path.suffix.lower() in JSON_LINES
    value = cells.get(column)
    # In JSON lines "" is a text that is there and empty; a CSV cell cannot tell the two apart.
    if value is not None and (json_lines or str(value).strip()):
        return False
    return any(name != column for name in _modalities(table, row))


def _modalities(table: Table, row: int) -> list[str]:
    """The modality columns that a row fills."""
    cells = table.rows[row]
    names = (name for name in table.columns if name and name not in ABOUT)
    return [name for name in names if (value := cells.get(name)) is not None and str(value).strip()]


def _tied(table: Table, rows: Sequence[int]) -> list[str] | None:
    """Pair keys by row of the manifest; None where no row has two modalities."""
    if not any(len(_modalities(table, row)) > 1 for row in range(len(table.rows))):
        return None
    return [_text(table, row, "id") or f"row:{row + 1}" for row in rows]


def _text(table: Table, row: int, column: str, *, strict: bool = False) -> str:
    """A cell as a string; integers are allowed where a name is wanted, not where a path or text is (``strict``)."""
    value = table.rows[row].get(column)
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and not strict:
        return str(value)
    if not isinstance(value, str):
        raise InputError(f"{table.where(row)}: {column!r} must be a string, not {value!r:.40}")
    return _encodable(table, row, column, value if strict else value.strip())


def _encodable(table: Table, row: int, column: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{table.where(row)}: {column!r} holds half of a surrogate pair, which is no text") from None
    return text


def _paths(table: Table, rows: Sequence[int], cells: Sequence[str], rooted: Rooted) -> list[str]:
    paths = []
    for row, cell in zip(rows, cells, strict=True):
        try:
            paths.append(rooted.relative(cell.strip()) if cell.strip() else "")
        except ValueError as error:
            name = _text(table, row, "id")
            who = f" (id {name!r})" if name else ""
            raise InputError(f"{table.where(row)}{who}: path {cell!r} {error}") from None
    return paths


def _ids(table: Table, rows: Sequence[int], modality: str, sources: Sequence[str] | None) -> list[str]:
    named = "id" in table.columns
    seen: dict[str, int] = {}
    for place, row in enumerate(rows):
        own = _text(table, row, "id") if named else sources[place] if sources else ""
        if named and not own:
            raise InputError(f"{table.where(row)}: the id is empty: give every sample an id")
        name = own or f"{modality}:{row + 1}"
        if name in seen:
            advice = "ids must be unique" if named else "add an id column to tell the rows apart"
            both = f"{table.lines[seen[name]]} and {table.lines[row]}"
            raise InputError(f"{table.path}: duplicate id {name!r} on lines {both}: {advice}")
        seen[name] = row
    return list(seen)


def _filled(table: Table, rows: Sequence[int], column: str) -> list[str] | None:
    # Of the whole manifest, so that all its modalities agree; a column that nobody filled is one left out.
    if column not in table.columns or not any(_text(table, row, column) for row in range(len(table.rows))):
        return None
    cells = [_text(table, row, column) for row in rows]
    for row, cell in zip(rows, cells, strict=True):
        if not cell:
            raise InputError(f"{table.where(row)}: {column!r} is empty: fill it in every row, or leave the column out")
    return cells


def _labels(table: Table, rows: Sequence[int]) -> tuple[list[str], Any]:
    if "label" not in table.columns:
        return [], None
    # Of the whole manifest, so that all its modalities agree on classes and on one class or several.
    everything = [_classes(table, row) for row in range(len(table.rows))]
    names = class_order(name for cell in everything for name in cell)
    several = any(
        len(set(cell)) > 1 or isinstance(row.get("label"), list)
        for cell, row in zip(everything, table.rows, strict=True)
    )
    return labels_from_names([everything[row] for row in rows], multi=several, classes=names)


def _classes(table: Table, row: int) -> list[str]:
    value = table.rows[row].get("label")
    if table.path.suffix.lower() not in JSON_LINES:
        return split_cell(value or "")
    names = value if isinstance(value, list) else [value]
    if any(not isinstance(name, str | int | None) or isinstance(name, bool) for name in names):
        raise InputError(f"{table.where(row)}: 'label' must be a class name or a list of them, not {value!r:.40}")
    return [_encodable(table, row, "label", str(name).strip()) for name in names if name is not None and name != ""]
