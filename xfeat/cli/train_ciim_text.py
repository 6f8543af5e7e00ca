"""What ``xfeat train`` and ``xfeat add`` print of a CIIM training."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xfeat.cli.output import counted, cut, table

NAME_WIDTH = 27  # leaves room for many rows and a kept branch in 80 columns

if TYPE_CHECKING:
    from xfeat.training.ciim import CiimOutcome


def summary(outcome: "CiimOutcome", seconds: float) -> str:
    """What was trained, as a table, and what was left out."""
    first = next(iter(outcome.branches.values()))
    rows = [
        [
            cut(name, NAME_WIDTH, end=6),
            f"{note['in_dim']:,}",
            f"{note['train_rows']:,}",
            f"{note['val_rows']:,}",
            note["sha256"][:8] + ("" if outcome.fresh else " (kept)"),
        ]
        for name, note in outcome.branches.items()
    ]
    together = " together" if len(rows) > 1 else ""
    return "\n".join(
        [
            f"CIIM: {counted(len(rows), 'modality', 'modalities')}{together} in {seconds:.1f} s",
            table(["modality", "dim", "rows", "val", "branch"], rows),
            f"  epoch {first['epoch']} of {first['epochs']}, {_batch(first['settings'])}",
            *_switched_off(first["settings"], alone=len(rows) == 1),
            *_left_out(outcome),
        ]
    )


def group_summary(outcomes: "Mapping[int, CiimOutcome]", seconds: float) -> str:
    """What was trained for every seed."""
    notes = {seed: next(iter(outcome.branches.values())) for seed, outcome in outcomes.items()}
    first, one = next(iter(notes.values())), next(iter(outcomes.values()))
    rows = [[str(seed), f"{note['epoch']}/{note['epochs']}"] for seed, note in notes.items()]
    return "\n".join(
        [
            f"CIIM: {counted(len(notes), 'seed')} of {counted(len(one.branches), 'modality', 'modalities')} in "
            f"{seconds:.1f} s",
            table(["seed", "epoch"], rows),
            f"  {_batch(first['settings'])}",
            *_switched_off(first["settings"]),
            *_left_out(one),
        ]
    )


def _batch(settings: Mapping[str, Any]) -> str:
    classes, samples = settings["batch_classes"], settings["batch_samples"]
    return f"batches of {counted(classes, 'class', 'classes')} x {counted(samples, 'row')} of every modality"


def _switched_off(settings: Mapping[str, Any], *, alone: bool = False) -> list[str]:
    """The parts of the method that did not take part."""
    names = ["single", "hybrid", "interaction", "pairs"]
    if settings["intervention"]:
        names += ["invariance", "independence", "sufficiency"]
        names += [] if alone else ["separation"]
    meet = settings["single"] and settings["hybrid"]
    off = [name for name in names if not settings[name] or (name == "interaction" and not meet)]
    off += [] if settings["intervention"] else ["the intervention with its properties"]
    return [f"  without: {', '.join(off)}"] if off else []


def _left_out(outcome: "CiimOutcome") -> list[str]:
    """Rows that were not trained on, and classes without rows; the same for every seed."""
    from xfeat.training.classes import support_lines

    lines = [
        f"  note: {counted(rows, 'row')} of {name} without a label left out"
        for name, note in outcome.branches.items()
        if (rows := note["unlabelled_rows"])
    ]
    classes = next(iter(outcome.branches.values()))["settings"]["classes"]
    if classes:
        outside = sum(note["outside_rows"] for note in outcome.branches.values())
        lines.append(f"  {counted(len(classes), 'class', 'classes')} trained on, {outside:,} rows of others left out")
    return [*lines, *support_lines({name: note["untrained_classes"] for name, note in outcome.branches.items()})]
