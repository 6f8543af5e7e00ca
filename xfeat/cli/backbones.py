"""``xfeat backbones``: the frozen encoders on offer."""

import typer

from xfeat.cli.output import left, width


def backbones() -> None:
    """List the frozen encoders on offer.

    What they read, how wide their features are, and what they need.
    """
    from xfeat.backbones.registry import list_backbones

    rows = [("SPEC", "KINDS", "DIM")]
    notes = [""]
    for family, model in list_backbones():
        rows.append((f"{family}:{model.name}", ", ".join(model.kinds), model.dim))
        notes.append(model.about + (f" (needs {model.needs})" if model.needs else ""))
    widths = [max(width(row[column]) for row in rows) for column in range(3)]
    for row, note in zip(rows, notes, strict=True):
        typer.echo("  ".join(left(cell, room) for cell, room in zip(row, widths, strict=True)).rstrip())
        if note:
            typer.echo(f"    {note}")
    typer.echo("\nUse one with `xfeat extract MANIFEST --modality NAME --backbone SPEC`.")
