"""Text tables: CSV and TSV with a header, JSON lines, and plain lists without one. Every row knows its line."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfeat.errors import InputError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
MAX_CELL = 1 << 24  # characters; Python's csv stops at 131,072, which a long document exceeds


@dataclass(frozen=True)
class Table:
    """A text table in memory.

    Attributes:
        path: the file, for messages.
        columns: names of the columns in order; ``1``, ``2``, ... for a list without a header.
        rows: column name -> cell. Cells are strings; in JSON lines any JSON value, and keys may be absent.
        lines: (n,) the line of the file on which each row starts, from 1.
    """

    path: Path
    columns: list[str]
    rows: list[dict[str, Any]]
    lines: list[int]

    def where(self, row: int) -> str:
        """File and line of a row, for an error line."""
        return f"{self.path}, line {self.lines[row]}"

    def column(self, name: str) -> list[Any]:
        """The cells of one column, by name or by number from 1; None where JSON lines have no such key.

        Raises:
            InputError: no such column; those there are get listed.
        """
        if name not in self.columns and name.isdecimal() and 0 < int(name) <= len(self.columns):
            name = self.columns[int(name) - 1]
        self.require(name)
        return [row.get(name) for row in self.rows]

    def require(self, name: str) -> None:
        """Check that a column is there.

        Raises:
            InputError: it is not; those there are get listed.
        """
        if name not in self.columns:
            raise InputError(f"{self.path} has no column {name!r}; it has: {', '.join(self.columns)}")


def read_table(path: Path) -> Table:
    """Read a .csv or .tsv (first line: column names), a .jsonl (one object per line), or anything else as a list.

    A list has no header; its columns are separated by tabs if its first line has one, else by blanks. Blank lines are
    skipped, a byte order mark is allowed.

    Raises:
        InputError: unreadable, empty, not UTF-8, a row with a missing or extra cell, or a line that is not JSON.
    """
    text = read_text(path)
    suffix = path.suffix.lower()
    if suffix in JSON_LINES:
        table = _json_lines(path, text)
    elif suffix in DELIMITERS:
        table = _delimited(path, text, DELIMITERS[suffix])
    else:
        table = _list(path, text)
    if not table.rows:
        raise InputError(f"{path} is empty: it has no rows")
    return table


def read_text(path: Path) -> str:
    """A whole UTF-8 file, without its byte order mark.

    Raises:
        InputError: unreadable or not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not UTF-8: save the file as UTF-8") from None


def _delimited(path: Path, text: str, delimiter: str) -> Table:
    records = _records(path, text, delimiter)
    _, header = next(records, (1, []))
    columns = [name.strip() for name in header]
    if not columns:
        raise InputError(f"{path} is empty: its first line must name the columns")
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path}, line 1: column {twice!r} appears twice")
    table = Table(path, columns, [], [])
    for line, cells in records:
        _add(table, line, cells)
    return table


def _records(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    limit = csv.field_size_limit(MAX_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: not a CSV row ({error})") from None
    finally:
        csv.field_size_limit(limit)


def _json_lines(path: Path, text: str) -> Table:
    columns: dict[str, None] = {}
    table = Table(path, [], [], [])
    # Not splitlines(): a JSON string may hold U+2028 and its like, which are no line ends here.
    for line, record in enumerate(text.split("\n"), start=1):
        if not record.strip():
            continue
        try:
            row = json.loads(record)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {line}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise InputError(f'{path}, line {line}: a line must be a JSON object like {{"id": ...}}')
        columns.update(dict.fromkeys(row))
        table.rows.append(row)
        table.lines.append(line)
    table.columns.extend(columns)
    return table


def _list(path: Path, text: str) -> Table:
    filled = [(line, record) for line, record in enumerate(text.splitlines(), start=1) if record.strip()]
    separator = "\t" if filled and "\t" in filled[0][1] else None
    table = Table(path, [], [], [])
    for line, record in filled:
        cells = [cell.strip() for cell in record.split(separator)]
        if not table.columns:
            table.columns.extend(str(number) for number in range(1, len(cells) + 1))
        _add(table, line, cells)
    return table


def _add(table: Table, line: int, cells: list[str]) -> None:
    if len(cells) != len(table.columns):
        raise InputError(f"{table.path}, line {line}: {len(cells)} cells where there are {len(table.columns)} columns")
    table.rows.append(dict(zip(table.columns, cells, strict=True)))
    table.lines.append(line)
