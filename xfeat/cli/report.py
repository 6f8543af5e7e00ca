"""``xfeat report``: what a run came to, as one page."""

from pathlib import Path

import typer

from xfeat.cli.output import counted
from xfeat.cli.train import DEVICE


def report(
    run: Path = typer.Argument(..., metavar="RUN", help="A run, or a group of seeds."),
    out: Path | None = typer.Option(None, metavar="FILE.html", help="The page; RUN/report.html if not given."),
    split: str = typer.Option("test", help="Rows to report on."),
    allow_changed: bool = typer.Option(False, "--allow-changed", help="Accept caches rewritten since training."),
    device: str = DEVICE,
) -> None:
    """Write one page of what a run came to.

    What was run, retrieval quality, the modality gap before and after the method's own steps, pictures of the embedding
    by PCA and t-SNE, and training curves. Of a group of seeds: means over its runs, and pictures of the first.
    """
    from xfeat.report.page import make_report, write_report
    from xfeat.training.anchors_page import check_page
    from xfeat.training.asked import Asked
    from xfeat.training.device import find_device

    target = out or run / "report.html"
    if out is not None:
        check_page(target)
    made = make_report(run, Asked(split, allow_changed=allow_changed), find_device(device))
    write_report(target, made)
    typer.echo(f"{counted(len(made.sections), 'section')}:")
    for one in made.sections:
        typer.echo(f"  {one.title.lower()}")
    typer.echo(f"page      {target}")
