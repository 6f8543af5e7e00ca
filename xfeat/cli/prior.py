"""``xfeat prior``: look at a prior, take it elsewhere, bring one in."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from xfeat.cli.output import counted, cut, left, plain, right, table, width

if TYPE_CHECKING:
    from xfeat.training.prior_report import PriorReport

prior_app = typer.Typer(no_args_is_help=True, help="Look at priors, export and import them.", rich_markup_mode=None)
OUT = typer.Option(..., metavar="FILE.safetensors", help="Where to write.")
CLOSEST = 5
NAME_WIDTH = 30


@prior_app.command()
def show(
    run: Path = typer.Argument(..., metavar="RUN", help="A run, or a prior's .safetensors file."),
    picture: Path | None = typer.Option(
        None, metavar="FILE.png", help="Where to draw the similarity of classes; RUN/prior.png if not given."
    ),
    as_json: str | None = typer.Option(None, "--json", metavar="FILE|-", help="Write JSON, - for standard output."),
) -> None:
    """Say how a prior was chosen and how its classes lie.

    A picture shows the cosines between its columns, one per class.
    """
    from xfeat.cli.eval import check_json, write_json
    from xfeat.training.prior_picture import check_picture, draw_similarity
    from xfeat.training.prior_report import prior_report

    check_json(as_json)
    report = prior_report(run)
    target = picture or (None if run.is_file() else run / "prior.png")
    if target is not None:
        check_picture(target)
    if as_json == "-":
        typer.echo(json.dumps(report.to_json(), indent=1, ensure_ascii=False))
    else:
        typer.echo(described(report))
    if target is not None:
        draw_similarity(report.cosines, report.classes, target, "similarity of classes in the prior")
        typer.echo(f"picture   {target}", err=as_json == "-")
    if as_json not in (None, "-"):
        write_json(Path(str(as_json)), report.to_json())
        typer.echo(f"json      {as_json}")


@prior_app.command()
def export(
    run: Path = typer.Argument(..., metavar="RUN", help="A run."),
    out: Path = OUT,
    candidate: str | None = typer.Option(None, metavar="MODALITY", help="Its candidate instead of the run's prior."),
) -> None:
    """Write a run's prior as a file to train against.

    Branches trained against one prior meet, wherever and whenever they are trained.
    """
    from xfeat.training.prior_files import export_prior, read_run_prior
    from xfeat.training.run import Run

    prior = export_prior(Run(run), out, candidate)
    typer.echo(f"{out}: {' x '.join(map(str, prior.weight.shape))}, sha256 {prior.sha256}")
    if prior.sha256 != read_run_prior(Run(run))[0].sha256:
        typer.echo(f"note: {candidate}'s candidate is not {run}'s prior: that run's branches do not meet it", err=True)
    typer.echo(f"Next: xfeat train drcl CACHE... --out RUN --set prior={out}")


@prior_app.command("import")
def import_(
    file: Path = typer.Argument(..., metavar="FILE", help="W, O x C floating-point: .npy, .npz or .safetensors."),
    out: Path = OUT,
    classes: Path | None = typer.Option(
        None, metavar="FILE.txt", help="Class names, one per line, in the order of W's columns."
    ),
    name: str | None = typer.Option(None, metavar="W", help="Name of the array; W or the only one if not given."),
) -> None:
    """Make a prior of any matrix, one column per class."""
    from xfeat.training.prior_files import import_prior

    made = import_prior(file, out, classes, name)
    dims, columns = made.prior.weight.shape
    typer.echo(f"{out}: {dims} x {columns}, sha256 {made.prior.sha256}")
    if made.reordered:
        typer.echo("note: the columns were put in the order of the class names, as training keeps them", err=True)
    if made.rank < columns:
        few = f"{counted(dims, 'dimension')} for " if dims < columns else ""
        typer.echo(
            f"note: rank {made.rank}, {few}{counted(columns, 'class', 'classes')}: some classes are mixtures of others",
            err=True,
        )
    typer.echo(f"Next: xfeat train drcl CACHE... --out RUN --set prior={out}")


def described(report: "PriorReport") -> str:
    """A prior in 80 columns."""
    dims, classes = report.shape
    condition = "infinite" if report.condition == float("inf") else f"{report.condition:.3g}"
    largest, smallest = report.singular_values[0], report.singular_values[-1]
    lines = [
        f"{report.path}",
        f"  prior        {_chosen(report)}",
        f"  shape        {dims:,} dimensions x {counted(classes, 'class', 'classes')}",
        f"  sha256       {report.sha256}",
        f"  singular     {largest:.4g} to {smallest:.4g}, condition number {condition}, rank {report.rank:,} of "
        f"{classes:,}",
    ]
    if report.mean_abs_cosine is not None:
        lines.append(f"  similarity   mean |cosine| of different classes {report.mean_abs_cosine:.3f}; the most alike:")
        rows = [[_cut(one), _cut(other), f"{value:+.3f}"] for one, other, value in report.closest(CLOSEST)]
        widths = [max(width(row[column]) for row in rows) for column in (0, 1)]
        lines += [
            f"    {left(one, widths[0])}  {left(other, widths[1])}  {right(value, 7)}" for one, other, value in rows
        ]
    if candidates := report.note.get("candidates"):
        chosen = report.note.get("chosen")
        rows = [
            [
                _cut(name) + (" *" if name == chosen else ""),
                f"{one['score']:.3f}",
                one["score_on"],
                str(one["epoch"]),
                one["sha256"][:8],
            ]
            for name, one in sorted(candidates.items(), key=lambda item: -item[1]["score"])
        ]
        lines.append(table(["candidate", "score", "scored on", "epoch", "file"], rows))
        if chosen in candidates:
            lines.append("  * the prior of this run")
    return "\n".join(lines)


def _chosen(report: "PriorReport") -> str:
    note = report.note
    if not note:
        return "a file of its own"
    chosen, candidates = str(note["chosen"]), note["candidates"]
    if chosen not in candidates:
        return {"file": "taken from a file", "orthogonal": "orthogonal, random and fixed"}.get(chosen, chosen)
    best = max(one["score"] for one in candidates.values())
    why = "as set" if note["prior"] != "spl" else "the highest" if note["score"] >= best else "no longer the highest"
    return f"candidate of {_cut(chosen, 16)}, score {note['score']:.3f} ({why})"


def _cut(name: str, room: int = NAME_WIDTH) -> str:
    return cut(plain(" ".join(name.split())), room)
