"""``xfeat report``: what runs came to, as one page."""

from pathlib import Path

import typer

from xfeat.cli.eval import MODALITIES
from xfeat.cli.eval_words import checked_modalities
from xfeat.cli.output import counted
from xfeat.cli.train import DEVICE
from xfeat.errors import InputError


def report(
    runs: list[Path] = typer.Argument(..., metavar="RUN...", help="Runs, or groups of seeds; several are compared."),
    out: Path | None = typer.Option(None, metavar="FILE.html", help="The page; RUN/report.html if not given."),
    manifest: list[Path] = typer.Option(
        [], metavar="FILE", help="Show the samples of this manifest with the queries; may be repeated."
    ),
    column: list[str] = typer.Option(
        [], metavar="M=COLUMN", help="Column of a modality's samples, where it is not called like it."
    ),
    root: Path | None = typer.Option(None, metavar="DIR", help="Folder of the manifests' paths [default: their own]."),
    queries: int = typer.Option(8, min=0, max=200, help="Queries shown of each ordered pair of modalities."),
    split: str = typer.Option("test", help="Rows to report on."),
    modalities: str | None = MODALITIES,
    allow_changed: bool = typer.Option(False, "--allow-changed", help="Accept caches rewritten since training."),
    device: str = DEVICE,
) -> None:
    """Write one page of what runs came to.

    What was run, retrieval quality, precision by recall, quality class by class, the modality gap before and after the
    method's own steps, pictures of the embedding by PCA and t-SNE, queries with their results (the hardest first), and
    training curves. Of a group of seeds: means over its runs, and pictures of the first. Several runs are compared
    first. The page needs no network.
    """
    from xfeat.report.media import open_media
    from xfeat.report.page import make_report, write_report
    from xfeat.training.anchors_page import check_page
    from xfeat.training.asked import Asked
    from xfeat.training.device import find_device

    if out is None and len(runs) > 1:
        raise InputError(f"a page of {len(runs)} runs belongs to none of their folders: say where with --out FILE.html")
    if not manifest and (column or root):
        raise InputError("--column and --root say where samples are: give --manifest FILE too")
    target = out or runs[0] / "report.html"
    if out is not None:
        check_page(target)
    media = open_media(runs, manifest, _columns(column), root)
    asked = Asked(split, modalities=checked_modalities(modalities), allow_changed=allow_changed)
    made = make_report(runs, asked, find_device(device), media=media, queries=queries)
    size = write_report(target, made)
    if media.unknown:
        named = f"{counted(len(media.unknown), 'sample')} of the page named, not shown"
        typer.echo(f"note: {named}: in no manifest by their ids, or their files cannot be read", err=True)
    if made.comparison:
        if made.comparison.blocks:
            typer.echo(f"{counted(len(runs), 'run')}, {made.comparison.title.lower()}")
        for line in made.comparison.notes:
            typer.echo(f"note: {line}", err=True)
    for one in made.runs:
        typer.echo(f"{one.name}: " if len(runs) > 1 else "", nl=False)
        typer.echo(f"{counted(len(one.sections), 'section')}:")
        for section in one.sections:
            typer.echo(f"  {section.title.lower()}")
    typer.echo(f"page      {target}")
    typer.echo(f"size      {_size(size)}, needs no network")


def _columns(words: list[str]) -> dict[str, str]:
    columns = {}
    for word in words:
        name, equals, column = word.partition("=")
        if not (name and equals and column):
            raise InputError(f"--column {word!r}: write MODALITY=COLUMN")
        columns[name] = column
    return columns


def _size(count: int) -> str:
    return f"{count / 1000:,.0f} kB" if count < 1_000_000 else f"{count / 1_000_000:,.1f} MB"
