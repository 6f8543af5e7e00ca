"""``xfeat check``: what leaks between splits, before anything is trained."""

import json
from pathlib import Path

import typer

from xfeat.cli.check_text import show
from xfeat.cli.eval import JSON, check_json, write_json
from xfeat.errors import InputError


def check(
    caches: list[Path] = typer.Argument(..., metavar="CACHE...", help="Caches that are trained together."),
    near: float = typer.Option(0.99, metavar="X", help="Least cosine of near duplicates, 0 to 1."),
    rows: int = typer.Option(
        20_000, min=20, metavar="N", help="Training rows of a cache to search; of others, a quarter."
    ),
    strict: bool = typer.Option(False, "--strict", help="Exit with 1 where there is a leak."),
    as_json: str | None = JSON,
) -> None:
    """Look for leaks between splits, and for other faults.

    Duplicates and near duplicates across splits, instances whose rows are in different splits, equal rows with
    different labels; classes without training rows, dimensions and rows that say nothing, doubtful labels. Exit code 0
    with whatever is found; with --strict 1 for a leak.
    """
    from xfeat.cache import FeatureCache
    from xfeat.checking.check import check_caches
    from xfeat.checking.report import CheckSettings

    if not 0 <= near <= 1:
        raise InputError(f"--near {near}: a cosine from 0 to 1")
    check_json(as_json)
    report = check_caches([FeatureCache(path) for path in caches], CheckSettings(near=near, rows=rows))
    if as_json == "-":
        typer.echo(json.dumps(report.to_json(), indent=1, ensure_ascii=False))
    else:
        typer.echo(show(report))
        if as_json is not None:
            write_json(Path(as_json), report.to_json())
            typer.echo(f"json      {as_json}")
    if strict and report.count("leak"):
        raise typer.Exit(1)
