"""What to search by: rows by their ids, texts, files; given one by one or as a list."""

import json
import mimetypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xfeat.backbones.registry import backbone_kinds
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.samples.paths import Rooted
from xfeat.samples.tables import DELIMITERS, read_table, read_text
from xfeat.search.opened import OpenRun

Form = Literal["id", "text", "file"]
FORMS: tuple[Form, ...] = ("id", "text", "file")
AS = "as"
STDIN = Path("-")


@dataclass(frozen=True)
class Query:
    """One thing to search by.

    Attributes:
        form: ``id``, ``text`` or ``file``.
        value: the id without its modality, the text, or a path relative to ``root``.
        modality: whose branch takes it; empty where that is not said.
        root: folder that holds the file.
        said: what the user wrote, for messages and tables.
    """

    form: Form
    value: str
    modality: str = ""
    root: Path = Path()
    said: str = ""


def by_id(word: str) -> Query:
    """A query by a row of the run's caches.

    Args:
        word: ``MODALITY:ID``; the id may hold colons.

    Raises:
        InputError: no modality or no id.
    """
    modality, colon, name = word.partition(":")
    if not (modality and colon and name):
        raise InputError(f"id {word!r}: write MODALITY:ID, for example image:{word.strip(':') or 'cat.png'}")
    return Query("id", name, modality, said=word)


def by_text(text: str, modality: str = "") -> Query:
    """A query by a text.

    Raises:
        InputError: nothing but blanks.
    """
    if not text.strip():
        raise InputError("an empty text finds nothing: write some words")
    return Query("text", text, modality, said=text)


def by_file(path: Path, modality: str = "") -> Query:
    """A query by a raw file: an image, sound, video, text or drawing, wherever it lies."""
    whole = path.resolve()
    return Query("file", whole.name, modality, whole.parent, str(path))


def read_queries(path: Path, modality: str = "") -> list[Query]:
    """Read a list of queries.

    A .csv or .tsv has columns of which each row fills one: ``id`` (MODALITY:ID), ``text`` or ``file``; a column ``as``
    may name the branch. Anything else has a query on each line: a JSON object with these keys, or one of these words, a
    blank, and the rest of the line. Files are relative to the list's folder and stay under it.

    Args:
        path: of the list; ``-`` is standard input, whose files are relative to the working folder.
        modality: whose branch takes raw queries that do not say it themselves.

    Raises:
        InputError: a list that cannot be read or is empty, or a line that is no query; the line is named.
    """
    rooted = Rooted((Path() if path == STDIN else path.parent).resolve())
    found = []
    for where, cells in _lines(path):
        try:
            found.append(_query(cells, modality, rooted))
        except (InputError, ValueError) as error:
            raise InputError(f"{where}: {error}") from None
    if not found:
        raise InputError(f"{_name(path)} holds no query: write one a line, for example: id image:cat.png")
    return found


def branch_of(query: Query, run: OpenRun) -> str:
    """The modality whose branch takes a query: the one it names, or the run's only one that reads such things.

    Raises:
        InputError: no such modality, none or several that fit, or one that reads something else.
    """
    if query.modality:
        run.check(query.modality)
        kind = cache_kind(run.cache(query.modality))
        if query.form == "text" and kind not in ("", "text"):
            raise InputError(f"text {query.said!r}: {query.modality} of {run.path} reads {kind}, not text")
        return query.modality
    kinds = {name: cache_kind(run.cache(name)) for name in run.modalities}
    wanted = _kinds_of(query)
    fitting = [name for name, kind in kinds.items() if kind and (kind in wanted or not wanted)]
    if len(fitting) == 1:
        return fitting[0]
    have = ", ".join(f"{name} ({kind or 'imported, or not known'})" for name, kind in kinds.items())
    said = f"{query.form} {query.said!r}"
    if not wanted:
        raise InputError(f"{said}: its name does not tell what it is: say --as MODALITY; {run.path} has {have}")
    how = f"{len(fitting)} modalities read" if fitting else "no modality reads"
    raise InputError(f"{said}: {how} {' or '.join(wanted)} in {run.path}: say --as MODALITY; it has {have}")


def cache_kind(cache: FeatureCache) -> str:
    """What the samples of a cache are, of ``xfeat.backbones.base.KINDS``; empty where nothing says so."""
    made = cache.manifest.fingerprint
    if kind := made.get("kind"):
        return str(kind)
    try:
        kinds = backbone_kinds(str(made.get("backbone", "")))
    except InputError:
        return ""
    return kinds[0] if len(kinds) == 1 else ""


def _kinds_of(query: Query) -> Sequence[str]:
    """What a query may be; empty where a file's name does not tell."""
    if query.form == "text":
        return ("text",)
    guess, _ = mimetypes.guess_type(query.value)
    kind = (guess or "").partition("/")[0]
    return ("text", "strokes") if kind == "text" else (kind,) if kind in ("image", "audio", "video") else ()


def _lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Every query of a list as cells, with its file and line."""
    if path.suffix.lower() in DELIMITERS:
        table = read_table(path)
        return [(table.where(row), cells) for row, cells in enumerate(table.rows)]
    text = _stdin() if path == STDIN else read_text(path)
    found = []
    for line, words in enumerate(text.split("\n"), start=1):
        if words.strip():
            where = f"{_name(path)}, line {line}"
            found.append((where, _cells(words.strip(), where)))
    return found


def _cells(words: str, where: str) -> dict[str, Any]:
    if not words.startswith("{"):
        form, _, value = words.partition(" ")
        return {form: value.strip()}
    try:
        cells: dict[str, Any] = json.loads(words)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error})") from None
    return cells


def _query(cells: dict[str, Any], modality: str, rooted: Rooted) -> Query:
    filled = {str(name): value for name, value in cells.items() if value not in (None, "")}
    chosen = filled.pop(AS, modality)
    if (
        len(filled) != 1
        or not set(filled) <= set(FORMS)
        or not all(isinstance(v, str) for v in [chosen, *filled.values()])
    ):
        raise InputError("a query is one of `id MODALITY:ID`, `text WORDS` and `file PATH`")
    ((form, value),) = filled.items()
    if form == "id":
        return by_id(value)
    if form == "text":
        return by_text(value, chosen)
    try:
        return Query("file", rooted.relative(value), chosen, rooted.root, value)
    except ValueError as error:
        raise InputError(f"path {value!r} {error}".replace("a --root", "a list in a folder")) from None


def _stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("standard input is not UTF-8") from None


def _name(path: Path) -> str:
    return "standard input" if path == STDIN else str(path)
