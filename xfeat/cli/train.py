"""``xfeat train``: heads on caches, one branch per modality."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from xfeat.cli.output import counted, table

if TYPE_CHECKING:
    from xfeat.training.drcl import Outcome

DEVICE = typer.Option("auto", metavar="auto|cpu|cuda", help="Where to train.")


def train(
    method: str = typer.Argument(..., metavar="METHOD", help="See `xfeat methods`."),
    caches: list[Path] = typer.Argument(..., metavar="CACHE...", help="One cache per modality."),
    out: Path = typer.Option(..., metavar="RUN", help="Folder of the run."),
    config: Path | None = typer.Option(None, metavar="FILE.yaml", help="Settings from a file."),
    settings: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="A setting; counts before the file."),
    seed: int = typer.Option(0, min=0, help="Of all randomness."),
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
    from xfeat.training.device import find_device
    from xfeat.training.drcl import train as train_drcl

    assert chosen.settings is DrclSettings  # the one method there is
    opened = [FeatureCache(path) for path in caches]
    wanted = validated(DrclSettings, values)
    for name in sorted(set(wanted.modality_lr) - {cache.manifest.modality for cache in opened}):
        typer.echo(f"note: modality_lr.{name} is set, but no cache holds {name}", err=True)
    started = time.perf_counter()
    outcome = train_drcl(opened, out, wanted, seed=seed, device=find_device(device), resume=resume)
    typer.echo(summary(outcome, time.perf_counter() - started))
    typer.echo(f"run       {out}")
    typer.echo(f"Next: xfeat eval {out}")


def summary(outcome: "Outcome", seconds: float) -> str:
    """What was trained, as a table, and which prior won."""
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
    header = ["modality", "dim", "train", "val", "prior score", "best epoch", "branch"]
    dims, classes = outcome.prior["shape"]
    chosen = outcome.prior["chosen"]
    star = f"* the prior: its candidate scored highest ({outcome.prior['score']:.3f})" if chosen in candidates else ""
    if chosen in candidates and outcome.prior["prior"] != "spl":
        star = f"* the prior, as set ({outcome.prior['score']:.3f})"
    lines = [
        f"DRCL: {counted(len(rows), 'branch', 'branches')} in {seconds:.1f} s, "
        f"{counted(classes, 'class', 'classes')} in {dims} dimensions",
        table(header, rows),
        f"  {star or f'prior: {chosen}'}",
    ]
    for name, note in outcome.branches.items():
        if missing := note["untrained_classes"]:
            which = ", ".join(missing[:3]) + ", ..." * (len(missing) > 3)
            lines.append(f"  note: {name} has no training rows of {counted(len(missing), 'class', 'classes')}: {which}")
    return "\n".join(lines)
