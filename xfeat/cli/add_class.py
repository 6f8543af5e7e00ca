"""``xfeat add-class``: new classes arrive for a run; a new run knows them."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from xfeat.cli.output import counted, table
from xfeat.cli.train import DEVICE

WIDTH = 80


class Part(str, Enum):
    """What of a branch is trained."""

    output = "output"
    all = "all"


def add_class(
    caches: list[Path] = typer.Argument(
        ..., metavar="CACHE...", help="Grown caches of the run's modalities: old and new classes."
    ),
    run: Path = typer.Option(..., metavar="RUN", help="The run; it is only read."),
    out: Path = typer.Option(..., metavar="RUN2", help="Folder of the new run."),
    tune: Part = typer.Option(
        Part.all, help="What is trained of a branch: its output layer, or all of it (old classes move more)."
    ),
    device: str = DEVICE,
) -> None:
    """Add classes to a run, as a new run.

    The prior gets columns for them; old classes keep their place. Branches with training rows of new classes are
    trained on for a short while, the others keep their bytes.
    """
    from xfeat.cache import FeatureCache
    from xfeat.training.device import find_device
    from xfeat.training.open_set import REPORT
    from xfeat.training.open_set import add_class as add_classes

    opened = [FeatureCache(path) for path in caches]
    grown = add_classes(opened, run, out, tune=tune.value, device=find_device(device))
    for note in grown.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(summary(grown.report))
    typer.echo(f"report    {out / REPORT}")
    typer.echo(f"run       {out}")
    typer.echo(f"Next: xfeat eval {out}")


def summary(report: Mapping[str, Any]) -> str:
    """Which branches changed, retrieval before and after, and the verdict."""
    from xfeat.training.classes import listed
    from xfeat.training.growth_report import OLD

    new, kept = report["new"], [name for name, one in report["branches"].items() if not one["changed"]]
    lines = [f"{counted(len(new), 'new class', 'new classes')}, {report['classes']:,} in all: {listed(new, 40)}"]
    rows = [
        [
            name,
            listed(one["learned"], 24),
            f"{one['train_rows']:,}",
            f"{one['epoch']}/{one['epochs']}",
            one["sha256"][:8],
        ]
        for name, one in report["branches"].items()
        if one["changed"]
    ]
    lines.append(table(["trained on", "learned", "train", "best epoch", "branch"], rows))
    if kept:
        lines.append(f"  unchanged to the byte: {listed(kept, 50)}")
    lines.append("mAP@all on validation rows:")
    pairs = [
        [pair, *(_number(one["old"][key]) for key in OLD), _number(_mean(one["new"]))]
        for pair, one in report["pairs"].items()
    ]
    if pairs:
        lines.append(table(["query->gallery", "old, before", "old, after", "old, among all", "new"], pairs))
    lines.append(verdict(report))
    return "\n".join(lines)


def verdict(report: Mapping[str, Any]) -> str:
    """One line: what became of old classes, and how well new ones are found."""
    from xfeat.training.classes import listed
    from xfeat.training.growth_report import AFTER, BEFORE

    old, new = report["mean"]["old"], report["mean"]["new"]
    start = f"old classes: {_number(old[BEFORE])} -> {_number(old[AFTER])}; "
    parts = [f"{name!r}: {_number(value)}" for name, value in new.items()]
    if len(parts) == 1:
        return f"{start}new class {parts[0]}"
    start += f"new classes: {_number(_mean(new))} "
    return f"{start}({listed(parts, WIDTH - len(start) - 2)})"


def _mean(values: Mapping[str, float | None]) -> float | None:
    there = [value for value in values.values() if value is not None]
    return sum(there) / len(there) if there else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
