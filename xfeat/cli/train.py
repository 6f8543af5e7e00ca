"""``xfeat train``: heads on caches, one branch per modality."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from xfeat.cli.output import counted, table
from xfeat.errors import InputError

if TYPE_CHECKING:
    from xfeat.training.drcl import Outcome

MOST_SEEDS = 1000
DEVICE = typer.Option("auto", metavar="auto|cpu|cuda", help="Where to train.")


def train(
    method: str = typer.Argument(..., metavar="METHOD", help="See `xfeat methods`."),
    caches: list[Path] = typer.Argument(..., metavar="CACHE...", help="One cache per modality."),
    out: Path = typer.Option(..., metavar="RUN", help="Folder of the run."),
    config: Path | None = typer.Option(None, metavar="FILE.yaml", help="Settings from a file."),
    settings: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="A setting; counts before the file."),
    seed: int = typer.Option(0, min=0, help="Of all randomness."),
    seeds: str = typer.Option("", metavar="0-9", help="Several seeds, one run each, as a group in RUN."),
    device: str = DEVICE,
    resume: bool = typer.Option(False, "--resume", help="Continue a run that was interrupted."),
) -> None:
    """Train a method on cached features.

    Each modality's branch is trained on its own; the caches need not be paired.
    """
    from xfeat.methods.registry import find_method
    from xfeat.methods.settings import read_settings

    chosen = find_method(method)
    values = read_settings(config, settings)

    from xfeat.cache import FeatureCache
    from xfeat.methods.drcl_settings import DrclSettings
    from xfeat.methods.settings import validated
    from xfeat.training.classes import similarity_notes
    from xfeat.training.device import find_device
    from xfeat.training.drcl import train as train_drcl
    from xfeat.training.drcl_group import train_group

    assert chosen.settings is DrclSettings  # the one method there is
    opened = [FeatureCache(path) for path in caches]
    wanted = validated(DrclSettings, values)
    for name in sorted(set(wanted.modality_lr) - {cache.manifest.modality for cache in opened}):
        typer.echo(f"note: modality_lr.{name} is set, but no cache holds {name}", err=True)
    for line in similarity_notes(opened):
        typer.echo(f"note: {line}", err=True)
    started = time.perf_counter()
    if seeds and seed:
        raise InputError("--seed and --seeds: give one of them")
    if seeds:
        outcomes = train_group(opened, out, wanted, read_seeds(seeds), device=find_device(device), resume=resume)
        typer.echo(group_summary(outcomes, time.perf_counter() - started))
    else:
        outcome = train_drcl(opened, out, wanted, seed=seed, device=find_device(device), resume=resume)
        typer.echo(summary(outcome, time.perf_counter() - started))
    typer.echo(f"{'group' if seeds else 'run':9} {out}")
    typer.echo(f"Next: xfeat eval {out}")


def read_seeds(words: str) -> list[int]:
    """``0-9``, ``0,3,5`` or ``0-2,7`` as numbers.

    Raises:
        InputError: anything else, or a seed twice.
    """
    seeds: list[int] = []
    for part in words.split(","):
        found = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, -1)
        if last < first or last - first >= MOST_SEEDS:
            raise InputError(f"--seeds {words!r}: write 0-9, or 0,3,5 ({MOST_SEEDS} at most)")
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds {words!r}: a seed occurs twice")
    return seeds


def group_summary(outcomes: "Mapping[int, Outcome]", seconds: float) -> str:
    """What was trained for every seed: the prior that won and the epoch that was kept of each branch."""
    names = list(next(iter(outcomes.values())).branches)
    rows = []
    for seed, outcome in outcomes.items():
        score = outcome.prior["score"]
        epochs = [f"{note['epoch']}/{note['epochs']}" for note in outcome.branches.values()]
        rows.append([str(seed), outcome.prior["chosen"], "-" if score is None else f"{score:.3f}", *epochs])
    shown = 4 if len(names) > 4 else len(names)
    header = ["seed", "prior", "score", *(f"{name[:12]} epoch" for name in names[:shown])]
    lines = [
        f"DRCL: {counted(len(outcomes), 'seed')} of {counted(len(names), 'branch', 'branches')} in {seconds:.1f} s",
        table(header, [row[: 3 + shown] for row in rows]),
    ]
    if shown < len(names):
        lines.append(f"  {len(names) - shown} more branches of each seed are not shown")
    return "\n".join(lines)


def summary(outcome: "Outcome", seconds: float) -> str:
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
        f"DRCL: {counted(len(rows), 'branch', 'branches')} in {seconds:.1f} s, "
        f"{counted(classes, 'class', 'classes')} in {dims} dimensions",
        table(header, rows),
        f"  {star or f'prior: {chosen}'}",
    ]
    for name, note in outcome.branches.items():
        if bare := note.get("unlabelled_rows"):
            lines.append(f"  note: {counted(bare, 'row')} of {name} without a label left out")
    lines += support_lines({name: note["untrained_classes"] for name, note in outcome.branches.items()})
    return "\n".join(lines)
