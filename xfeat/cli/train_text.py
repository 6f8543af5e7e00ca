"""What ``xfeat train`` prints of a DRCL training."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from xfeat.cli.output import counted, cut, table

if TYPE_CHECKING:
    from xfeat.training.drcl import Outcome


def group_summary(outcomes: "Mapping[int, Outcome]", seconds: float, called: str = "DRCL") -> str:
    """What was trained for every seed: the prior that won and the epoch that was kept of each branch."""
    names = list(next(iter(outcomes.values())).branches)
    rows = []
    for seed, outcome in outcomes.items():
        score = outcome.prior["score"]
        epochs = [f"{note['epoch']}/{note['epochs']}" for note in outcome.branches.values()]
        rows.append([str(seed), outcome.prior["chosen"], "-" if score is None else f"{score:.3f}", *epochs])
    shown = 4 if len(names) > 4 else len(names)
    header = ["seed", "prior", "score", *(f"{cut(name, 12, dots='')} epoch" for name in names[:shown])]
    lines = [
        f"{called}: {counted(len(outcomes), 'seed')} of {counted(len(names), 'branch', 'branches')} in {seconds:.1f} s",
        table(header, [row[: 3 + shown] for row in rows]),
    ]
    if shown < len(names):
        lines.append(f"  {len(names) - shown} more branches of each seed are not shown")
    return "\n".join(lines)


def summary(outcome: "Outcome", seconds: float, called: str = "DRCL") -> str:
    """What was trained, as a table, and which prior won."""
    from xfeat.training.classes import support_lines

    candidates = outcome.prior["candidates"]
    rows = []
    for name, note in outcome.branches.items():
        score = f"{candidates[name]['score']:.3f}" if name in candidates else "-"
        rows.append(
            [
                name + (" *" if outcome.prior["chosen"] == name else ""),
                f"{note['in_dim']:,}",
                f"{note['train_rows']:,}",
                f"{note['val_rows']:,}",
                score,
                f"{note['epoch']}/{note['epochs']}",
                note["sha256"][:8] + ("" if name in outcome.fresh else " (kept)"),
            ]
        )
    header = ["modality", "dim", "train", "val", "prior score", "epoch", "branch"]
    dims, classes = outcome.prior["shape"]
    chosen = outcome.prior["chosen"]
    star = ""
    if chosen in candidates:
        won = outcome.prior["prior"] in ("spl", "ridge")
        why = "its candidate scored highest when it was chosen" if won else "as set"
        star = f"* the prior, {why} ({outcome.prior['score']:.3f})"
    lines = [
        f"{called}: {counted(len(rows), 'branch', 'branches')} in {seconds:.1f} s, "
        f"{counted(classes, 'class', 'classes')} in {dims} dimensions",
        table(header, rows),
        f"  {star or f'prior: {chosen}'}",
    ]
    for name, note in outcome.branches.items():
        if bare := note.get("unlabelled_rows"):
            lines.append(f"  note: {counted(bare, 'row')} of {name} without a label left out")
    lines += support_lines({name: note["untrained_classes"] for name, note in outcome.branches.items()})
    return "\n".join(lines)
