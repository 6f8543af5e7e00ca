"""The section of training curves, from log.jsonl."""

import json
import math
from pathlib import Path
from typing import Any

from xfeat.report.blocks import COLOURS, Key, Picture, Pictures, Section
from xfeat.report.lines import Line, line_chart
from xfeat.report.subject import Subject

LABELS = ("modality", "stage", "epoch")
MAIN = ("loss", "score")  # what is shown at once; terms of losses and other quantities are folded
MOST_POINTS = 400  # of a line


def curves(subject: Subject) -> Section | None:
    """A chart for every stage and quantity, a line for every modality; None where nothing was logged."""
    rows = _read(subject.first.log_file)
    stages: dict[str, dict[str, dict[str, list[tuple[float, float]]]]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in LABELS and isinstance(value, int | float) and math.isfinite(value):
                chart = stages.setdefault(str(row["stage"]), {}).setdefault(name, {})
                chart.setdefault(str(row["modality"]), []).append((float(row["epoch"]), float(value)))
    if not stages:
        return None
    names = list(dict.fromkeys(str(row["modality"]) for row in rows))
    colours = {name: place % COLOURS for place, name in enumerate(names)}
    keys = [Key(colours[name], name) for name in names]
    blocks = []
    for stage, charts in stages.items():
        pictures = {
            quantity: _picture(quantity, lines, colours)
            for quantity, lines in charts.items()
            if not _counts_epochs(lines)
        }
        main = [one for quantity, one in pictures.items() if quantity.split("_")[-1] in MAIN]
        more = [one for quantity, one in pictures.items() if quantity.split("_")[-1] not in MAIN]
        blocks.append(Pictures(main or more, keys, title=f"Stage {stage}"))
        if main and more:
            blocks.append(Pictures(more, keys, title=f"{len(more)} more of stage {stage}", folded=True))
    what = f" Those of {subject.first.path.name}." if subject.several else ""
    return Section("curves", "Training curves", [f"By epoch, as they were logged.{what}"], blocks)


def _counts_epochs(lines: dict[str, list[tuple[float, float]]]) -> bool:
    """Whether a quantity is the epoch itself: the score by which the last one is kept."""
    return all(len({y - x for x, y in points}) == 1 for points in lines.values()) and any(
        len(points) > 1 for points in lines.values()
    )


def _picture(quantity: str, lines: dict[str, list[tuple[float, float]]], colours: dict[str, int]) -> Picture:
    thin = {name: points[:: max(1, len(points) // MOST_POINTS)] for name, points in lines.items()}
    drawn = [Line(colours[name], points) for name, points in thin.items()]
    ends = ", ".join(f"{name} {points[0][1]:.4g} to {points[-1][1]:.4g}" for name, points in lines.items())
    return Picture(line_chart(drawn, "epoch"), quantity.replace("_", " "), f"{quantity} by epoch: {ends}")


def _read(path: Path) -> list[dict[str, Any]]:
    """Rows that name modality, stage and epoch; a torn line is no row."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and all(name in row for name in LABELS) and isinstance(row["epoch"], int | float):
            rows.append(row)
    return rows
