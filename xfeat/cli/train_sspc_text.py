"""What ``xfeat train`` prints of an SSPC training."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xfeat.cli.output import counted, cut, table

NAME_WIDTH = 27  # leaves room for wide tokens, many rows and a kept branch in 80 columns

if TYPE_CHECKING:
    from xfeat.training.sspc import SspcOutcome


def summary(outcome: "SspcOutcome", seconds: float) -> str:
    """What was trained, as a table, and what was left out."""
    first = next(iter(outcome.branches.values()))
    rows = [
        [
            cut(name, NAME_WIDTH, end=6),
            f"{note['in_dim']:,}" + (" tokens" if note["tokens"] else ""),
            f"{note['train_rows']:,}",
            f"{note['with_modality']:,}",
            note["sha256"][:8] + ("" if outcome.fresh else " (kept)"),
        ]
        for name, note in outcome.branches.items()
    ]
    lines = [
        f"SSPC: {counted(len(rows), 'modality', 'modalities')} together in {seconds:.1f} s, "
        f"{counted(first['instances'], 'instance')}",
        table(["modality", "dim", "rows", "instances", "branch"], rows),
        f"  {_epoch(first)}",
        f"  {_anchors(first['settings'])}",
    ]
    return "\n".join([*lines, *_left_out(outcome)])


def group_summary(outcomes: "Mapping[int, SspcOutcome]", seconds: float) -> str:
    """What was trained for every seed."""
    notes = {seed: next(iter(outcome.branches.values())) for seed, outcome in outcomes.items()}
    first = next(iter(notes.values()))
    rows = [[str(seed), f"{note['epoch']}/{note['epochs']}", note["weights"]] for seed, note in notes.items()]
    one = next(iter(outcomes.values()))
    return "\n".join(
        [
            f"SSPC: {counted(len(notes), 'seed')} of {counted(len(one.branches), 'modality', 'modalities')} in "
            f"{seconds:.1f} s, {counted(first['instances'], 'instance')}",
            table(["seed", "epoch", "weights"], rows),
            f"  {_anchors(first['settings'])}",
            *_left_out(one),
        ]
    )


def _left_out(outcome: "SspcOutcome") -> list[str]:
    """Rows that were not trained on; the same for every seed."""
    lines = [
        f"  note: {counted(alone, 'row')} of {name} left out, whose key no other modality has"
        for name, note in outcome.branches.items()
        if (alone := note["alone_rows"])
    ]
    classes = next(iter(outcome.branches.values()))["settings"]["classes"]
    if classes:
        outside = max(note["outside_rows"] for note in outcome.branches.values())
        lines.append(f"  {counted(len(classes), 'class', 'classes')} trained on, {outside:,} rows of others left out")
    return lines


def _epoch(note: Mapping[str, Any]) -> str:
    kept = {"raw": "weights as trained", "ema": "averaged weights"}[note["weights"]]
    return f"epoch {note['epoch']} of {note['epochs']}, {kept} count"


def _anchors(settings: Mapping[str, Any]) -> str:
    if not settings["beta"]:
        return "contrastive only"
    how = "single assignment" if settings["assignment"] == "single" else f"{settings['required']} for each sample"
    return f"{settings['anchors']} anchors in each space, {how}"
