"""What ``xfeat train`` prints of a baseline in closed form."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xfeat.cli.output import counted, cut, table

NAME_WIDTH = 27  # leaves room for many rows and a kept branch in 80 columns
NAMES = {"raw": "Raw features", "cca": "CCA", "semantic-matching": "Semantic matching", "ridge": "Ridge regression"}
WITHOUT_SEED = "  does not depend on the seed"

if TYPE_CHECKING:
    from xfeat.training.baselines import BaselineOutcome


def summary(outcome: "BaselineOutcome", seconds: float) -> str:
    """What was fitted, as a table, and what was left out."""
    kept = "" if outcome.fresh else " (kept)"
    return "\n".join([f"{_title(outcome)} in {seconds:.1f} s", *_lines(outcome, kept)])


def group_summary(outcomes: "Mapping[int, BaselineOutcome]", seconds: float) -> str:
    """The same for every seed: told once."""
    one = next(iter(outcomes.values()))
    kept = "" if any(outcome.fresh for outcome in outcomes.values()) else " (kept)"
    return "\n".join([f"{_title(one)}, {counted(len(outcomes), 'seed')} in {seconds:.1f} s", *_lines(one, kept)])


def _title(outcome: "BaselineOutcome") -> str:
    method = next(iter(outcome.branches.values()))["method"]
    return f"{NAMES[method]}: {counted(len(outcome.branches), 'modality', 'modalities')}"


def _lines(outcome: "BaselineOutcome", kept: str) -> list[str]:
    from xfeat.training.classes import support_lines

    notes = outcome.branches
    rows = [
        [
            cut(name, NAME_WIDTH, end=6),
            f"{note['in_dim']:,}",
            f"{note['train_rows']:,}",
            f"{note['out_dim']:,}",
            note["sha256"][:8] + kept,
        ]
        for name, note in notes.items()
    ]
    first = next(iter(notes.values()))
    lines = [table(["modality", "dim", "rows", "out", "branch"], rows), f"  {_told(first, notes)}", WITHOUT_SEED]
    lines += _left_out(notes)
    return [*lines, *support_lines({name: note.get("untrained_classes", []) for name, note in notes.items()})]


def _told(first: Mapping[str, Any], notes: Mapping[str, Mapping[str, Any]]) -> str:
    """What was done, in a line."""
    settings = first["settings"]
    if first["method"] == "raw":
        return "features scaled by the training rows" if settings["standardize"] else "features as they are"
    if first["method"] == "cca":
        rho, groups = first["correlations"], max(note["groups"] for note in notes.values())
        by = f"{groups:,} pair keys" if first["match"] == "keys" else f"{groups:,} classes"
        return f"matched by {by}; correlations {rho[0]:.3f} to {rho[-1]:.3f}"
    kind = "label scores" if first["method"] == "ridge" else "class posteriors"
    return f"{kind}, compared by {first['similarity']}"


def _left_out(notes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Rows that play no part, and regressions that did not get there."""
    lines = []
    for name, note in notes.items():
        why = "whose key no other modality has" if note.get("match") == "keys" else "whose class no other modality has"
        for count, said in (
            (note["unlabelled_rows"], "without a label left out"),
            (note.get("alone_rows", 0), f"left out, {why}"),
            (note.get("outside_rows", 0), "of other classes left out"),
        ):
            if count:
                lines.append(f"  note: {counted(count, 'row')} of {name} {said}")
        if not note.get("converged", True):
            lines.append(f"  note: the regression of {name} did not converge: set C lower")
    return lines
