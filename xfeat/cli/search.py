"""``xfeat search``: the rows of a trained run that are nearest to a sample, a text or a file."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from xfeat.cli.eval import JSON, check_json, checked_weights, write_json
from xfeat.cli.output import counted
from xfeat.cli.search_text import show, stated
from xfeat.cli.train import DEVICE
from xfeat.errors import InputError

if TYPE_CHECKING:
    from xfeat.search.index import Index
    from xfeat.search.opened import OpenRun
    from xfeat.search.queries import Query


def search(
    run: Path = typer.Argument(..., metavar="RUN", help="A trained run."),
    ids: list[str] = typer.Option([], "--id", metavar="MODALITY:ID", help="Search by a row of the run's caches."),
    texts: list[str] = typer.Option([], "--text", metavar="WORDS", help="Search by a text."),
    files: list[Path] = typer.Option([], "--file", metavar="PATH", help="Search by an image, sound, video, ..."),
    lists: list[Path] = typer.Option(
        [],
        "--queries",
        metavar="FILE|-",
        help="Many queries: a .csv with columns id, text, file; or lines such as `text two cats`, or JSON.",
    ),
    where: list[str] = typer.Option(
        ["all"], "--in", metavar="MODALITY|all", help="What to search; may be given again."
    ),
    k: int = typer.Option(10, "-k", metavar="K", help="Hits for each query."),
    split: list[str] = typer.Option([], metavar="NAME", help="Search rows of this split only; may be given again."),
    classes: list[str] = typer.Option(
        [], "--class", metavar="NAME,NAME...", help="Search rows of these classes only; may be given again."
    ),
    keep_self: bool = typer.Option(False, "--keep-self", help="Keep the query's own row among its hits."),
    branch: str = typer.Option(
        "", "--as", metavar="MODALITY", help="Whose branch takes texts and files [default: the only one that can]."
    ),
    backbones: list[str] = typer.Option(
        [],
        "--backbone",
        metavar="[MODALITY=]SPEC",
        help="For texts and files: the backbone that made the cache [default: by the name in its fingerprint].",
    ),
    export: Path | None = typer.Option(
        None, metavar="FOLDER", help="Write the embeddings of what would be searched as a faiss index."
    ),
    weights: str = typer.Option("kept", metavar="kept|raw|ema", help="Weights, of a run that has two sets."),
    allow_changed: bool = typer.Option(False, "--allow-changed", help="Search caches rewritten since training."),
    as_json: str | None = JSON,
    device: str = DEVICE,
) -> None:
    """Find the rows of a run that are nearest to a query.

    They are of one modality, of several or of all. A query is a row (--id), or a text or a file that goes through the
    same frozen backbone and branch as the rows did. Each hit says whether it shares the query's pair key or class. With
    --export, a faiss index is written instead.
    """
    from xfeat.search.document import document
    from xfeat.search.encoding import Encoders
    from xfeat.search.index import open_index
    from xfeat.search.opened import OpenRun
    from xfeat.search.searching import search as find
    from xfeat.training.device import find_device

    started = time.perf_counter()
    computing = find_device(device)
    check_json(as_json)
    queries = _queries(ids, texts, files, lists, branch)
    _check(queries, k, export, as_json)
    opened = OpenRun(run, computing, weights=cast("Any", checked_weights(weights)), allow_changed=allow_changed)
    encoders = Encoders(opened, _specs(backbones, opened, queries), device)
    _check_early(queries, opened)
    index = open_index(opened, where, splits=split, classes=classes)
    if export is not None:
        _export(index, export)
        return
    answers = find(index, queries, k, encoders=encoders, keep_self=keep_self)
    found = document(index, answers, k, keep_self=keep_self, seconds=time.perf_counter() - started)
    for note in encoders.notes:
        typer.echo(f"note: {note}", err=True)
    if as_json == "-":
        typer.echo(json.dumps(found, indent=1))
        return
    typer.echo(show(found))
    if as_json is not None:
        write_json(Path(as_json), found)
        typer.echo(f"\njson      {as_json}")


def _queries(ids: list[str], texts: list[str], files: list[Path], lists: list[Path], branch: str) -> "list[Query]":
    from xfeat.search.queries import by_file, by_id, by_text, read_queries

    found = [by_id(word) for word in ids]
    found += [by_text(text, branch) for text in texts]
    found += [by_file(path, branch) for path in files]
    return found + [query for path in lists for query in read_queries(path, branch)]


def _check(queries: "list[Query]", k: int, export: Path | None, as_json: str | None) -> None:
    if export is not None and (queries or as_json is not None):
        raise InputError("--export writes what would be searched and searches nothing: give it without queries")
    if export is not None:
        from xfeat.search.export import find_faiss

        find_faiss()
    elif not queries:
        raise InputError("nothing to search by: give --id MODALITY:ID, --text WORDS, --file PATH or --queries FILE")
    if k < 1:
        raise InputError(f"-k {k}: ask for 1 hit or more")


def _check_early(queries: "list[Query]", run: "OpenRun") -> None:
    """What would be refused about queries, before anything is embedded."""
    from xfeat.search.queries import branch_of

    for query in queries:
        modality = branch_of(query, run)
        if query.form == "id":
            run[modality].rows.row(query.value)
        elif query.form == "file" and not (query.root / query.value).is_file():
            raise InputError(f"file {query.said!r} cannot be read: no such file")


def _specs(words: list[str], run: "OpenRun", queries: "list[Query]") -> dict[str, str]:
    """Backbones by modality, from ``SPEC`` or ``MODALITY=SPEC``."""
    from xfeat.search.queries import branch_of

    found = {}
    for word in words:
        name, equals, spec = word.partition("=")
        if equals and ":" not in name:  # a spec has a colon before any path
            run.check(name)
            found[name] = spec
            continue
        raw = dict.fromkeys(branch_of(query, run) for query in queries if query.form != "id")
        if len(raw) != 1:
            what = f"goes to {' and '.join(raw)}" if raw else "is for texts and files, and there are none"
            raise InputError(f"--backbone {word} {what}: write --backbone MODALITY=SPEC")
        found[next(iter(raw))] = word
    return found


def _export(index: "Index", out: Path) -> None:
    from xfeat.search.export import export_index

    export_index(index, out)
    typer.echo("\n".join(stated(index.similarity, index.counts, index.splits, index.classes)))
    typer.echo(
        f"index     {out}: {counted(len(index), 'row')} of {index.vectors.shape[1]} numbers; README.txt says how"
    )
