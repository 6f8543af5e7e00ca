"""``xfeat anchors``: look at the anchors of an SSPC run."""

import json
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from xfeat.cli.output import counted, cut, table
from xfeat.cli.train import DEVICE
from xfeat.errors import InputError

if TYPE_CHECKING:
    from xfeat.training.anchors_report import AnchorReport, SpaceReport
    from xfeat.training.anchors_samples import Previews

anchors_app = typer.Typer(no_args_is_help=True, help="Look at the anchors of an SSPC run.", rich_markup_mode=None)
WIDTH = 80
NAME_WIDTH = 20
A_ROW = 64  # bars
BLOCKS, PLAIN = "▁▂▃▄▅▆▇█", ".:-=+*#@"
NONE = "_"  # nearest of no sample


class Space(str, Enum):
    """Which anchors."""

    joint = "joint"
    input = "input"


class Weights(str, Enum):
    """Which of a run's weights."""

    kept = "kept"
    raw = "raw"
    ema = "ema"


# A group of one command would lose the command's name without this.
@anchors_app.callback()
def _group() -> None:
    pass


@anchors_app.command()
def show(
    run: Path = typer.Argument(..., metavar="RUN", help="An SSPC run."),
    split: str = typer.Option("train", help="Whose samples to look at."),
    modality: list[str] = typer.Option([], metavar="M", help="Only this modality's anchors; may be repeated."),
    space: Space | None = typer.Option(None, help="Only this space; both if not given."),
    examples: int = typer.Option(8, min=1, max=64, help="Samples shown of each anchor."),
    out: Path | None = typer.Option(None, metavar="FILE.html", help="The page; RUN/anchors.html if not given."),
    manifest: Path | None = typer.Option(None, metavar="FILE", help="Show the samples of this manifest on the page."),
    column: list[str] = typer.Option(
        [], metavar="M=COLUMN", help="Column of a modality's samples, where it is not called like it."
    ),
    root: Path | None = typer.Option(None, metavar="DIR", help="Folder of the manifest's paths [default: its own]."),
    as_json: str | None = typer.Option(None, "--json", metavar="FILE|-", help="Write JSON, - for standard output."),
    weights: Weights = typer.Option(Weights.kept, help="Raw or averaged ones; those that count if not given."),
    allow_changed: bool = typer.Option(False, "--allow-changed", help="Accept caches rewritten since training."),
    device: str = DEVICE,
) -> None:
    """Say which samples each anchor holds, and draw them on a page.

    An anchor is used if it is the nearest of some sample, and dead if no sample has it among the nearest ones that the
    run assigns to it. Perplexity is the effective number of anchors. Agreement is how alike (Jaccard index) the anchors
    are that the same instance holds in two modalities.
    """
    from xfeat.cli.eval import check_json, write_json
    from xfeat.training.anchors_page import check_page, write_page
    from xfeat.training.anchors_report import SPACES
    from xfeat.training.anchors_run import read_anchors
    from xfeat.training.device import find_device

    if manifest is None and (column or root):
        raise InputError("--column and --root say where samples are: give --manifest FILE too")
    check_json(as_json)
    target = out or run / "anchors.html"
    if out is not None:
        check_page(target)
    report = read_anchors(
        run,
        split,
        modalities=modality,
        spaces=[space.value] if space else SPACES,
        examples=examples,
        weights=weights.value,
        device=find_device(device),
        allow_changed=allow_changed,
    )
    page = write_page(target, report, _previews(report, manifest, column, root))
    for note in report.notes:
        typer.echo(f"note: {note}", err=True)
    if page.unknown:
        what = counted(page.unknown, "sample is", "samples are")
        typer.echo(f"note: {what} not in {manifest} or cannot be read", err=True)
    if as_json == "-":
        typer.echo(json.dumps(report.to_json(), indent=1, ensure_ascii=False))
    else:
        typer.echo(described(report))
    typer.echo(f"page      {target}", err=as_json == "-")
    if as_json not in (None, "-"):
        write_json(Path(str(as_json)), report.to_json())
        typer.echo(f"json      {as_json}")


def _previews(
    report: "AnchorReport", manifest: Path | None, words: Sequence[str], root: Path | None
) -> "Previews | None":
    from xfeat.training.anchors_samples import open_previews

    if manifest is None:
        return None
    columns = {}
    for word in words:
        name, equals, column = word.partition("=")
        if not (name and equals and column):
            raise InputError(f"--column {word!r}: write MODALITY=COLUMN")
        if name not in report.backbones:
            raise InputError(f"--column {word!r}: {report.path} has no modality {name!r}")
        columns[name] = column
    shown = dict.fromkeys(one.modality for one in report.spaces)
    # Where columns are named, the modalities that are not named have none in this manifest.
    wanted = {name: columns.get(name, name) for name in shown if name in columns or not columns}
    return open_previews(manifest, wanted, report.backbones, root)


def described(report: "AnchorReport") -> str:
    """A run's anchors in 80 columns."""
    s = report.settings
    kind = "averaged" if report.weights == "ema" else "raw"
    lines = [
        f"{report.path}",
        f"  {s.anchors} anchors in each space, numbered from 0; a sample holds {report.required}",
        f"  split {report.split}, {kind} weights, seed {report.seed}",
        "",
    ]
    header = ["anchors of", "samples", "used", "dead", "perplexity", "agreement", "chance"]
    lines.append(table(header, [_row(one) for one in report.spaces]))
    parts = [one for one in report.spaces if one.pieces > 1]
    if parts:
        most = max(one.pieces for one in parts)
        lines.append(f"  assigned in up to {most} parts of at most the queue's length, {s.queue:,}")
    signs = levels(sys.stdout.encoding)
    lines += ["", f"  How often each anchor is the nearest, a sign each ({NONE} never)"]
    for one in report.spaces:
        lines.append(f"  {one.modality} {one.space}")
        shares = [anchor.usage for anchor in one.anchors]
        lines += [f"    {row}" for row in bars(shares, signs)]
        if one.dead:
            lines += _wrapped("dead: " + ", ".join(map(str, one.dead)))
        if one.duplicates:
            lines += _wrapped("duplicates: " + ", ".join(f"{i} and {j}" for i, j, _ in one.duplicates))
    return "\n".join(lines)


def bars(shares: Sequence[float], signs: str) -> list[str]:
    """Shares as rows of signs, 64 in each: the last sign is the greatest share, 0 has a sign of its own."""
    most = max(shares)
    row = [signs[min(len(signs) - 1, int(share / most * len(signs)))] if share else NONE for share in shares]
    return ["".join(row[start : start + A_ROW]) for start in range(0, len(row), A_ROW)]


def levels(encoding: str | None) -> str:
    """Eight signs, the lowest first, that an encoding can write."""
    try:
        BLOCKS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return PLAIN
    return BLOCKS


def _row(one: "SpaceReport") -> list[str]:
    agreement, chance = one.mean_agreement, one.mean_chance
    return [
        f"{_cut(one.modality)} {one.space}",
        f"{one.samples:,}",
        f"{len(one.anchors) - len(one.never_nearest)}",
        f"{len(one.dead)}",
        f"{one.perplexity:.1f}",
        "-" if agreement is None else f"{agreement:.2f}",
        "-" if chance is None else f"{chance:.2f}",
    ]


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, WIDTH - 4, initial_indent="    ", subsequent_indent="      ", max_lines=6)


def _cut(name: str) -> str:
    return cut(name, NAME_WIDTH)
