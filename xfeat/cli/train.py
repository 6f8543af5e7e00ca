"""``xfeat train``: heads on caches, one branch per modality."""

import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from xfeat.cli.check_warning import warn_of_leaks
from xfeat.errors import InputError

if TYPE_CHECKING:
    from xfeat.cache import FeatureCache

MOST_SEEDS = 1000
ORTHOGONAL = "DRCL with a random prior"
DEVICE = typer.Option("auto", metavar="auto|cpu|cuda", help="Where to compute.")


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

    drcl trains each modality's branch on its own, and its caches need not be paired; ciim trains all together by their
    labels, unpaired too; sspc trains all together, on rows that share a pair key. raw, cca, semantic-matching, ridge
    and orthogonal are baselines, which any of these should beat.
    """
    from xfeat.methods.registry import find_method
    from xfeat.methods.settings import read_settings, validated
    from xfeat.methods.shipped import check_config

    chosen = find_method(method)
    if config is not None:
        check_config(config, chosen.name)
    values = validated(chosen.settings, read_settings(config, settings))
    if seeds and seed:
        raise InputError("--seed and --seeds: give one of them")
    several = read_seeds(seeds) if seeds else []

    from xfeat.cache import FeatureCache
    from xfeat.training.device import find_device
    from xfeat.training.trainers import TRAINERS

    opened, where = [FeatureCache(path) for path in caches], find_device(device)
    for line in _remarks(chosen.name, opened, values):
        typer.echo(f"note: {line}", err=True)
    if not resume:  # that said it when it began
        warn_of_leaks(opened)
    trainer, (one_summary, group_summary) = TRAINERS[chosen.name], _summaries(chosen.name)
    started = time.perf_counter()
    if several:
        many = trainer.group(opened, out, values, several, device=where, resume=resume)
        said = group_summary(many, time.perf_counter() - started)
    else:
        one = trainer.one(opened, out, values, seed=seed, device=where, resume=resume)
        said = one_summary(one, time.perf_counter() - started)
    typer.echo(said)
    typer.echo(f"{'group' if several else 'run':9} {out}")
    typer.echo(f"Next: xfeat eval {out}")


def _remarks(method: str, caches: "Sequence[FeatureCache]", settings: Any) -> list[str]:
    """What looks wrong and is no reason to stop."""
    from xfeat.training.classes import similarity_notes

    rates = getattr(settings, "modality_lr", {})
    unused = sorted(set(rates) - {cache.manifest.modality for cache in caches})
    lines = [f"modality_lr.{name} is set, but no cache holds {name}" for name in unused]
    return lines if method == "sspc" else [*lines, *similarity_notes(caches)]  # sspc looks at no label


def _summaries(method: str) -> tuple[Callable[[Any, float], str], Callable[[Any, float], str]]:
    """What tells of one run, and of a group, by the method's name."""
    from xfeat.cli import train_baseline_text, train_ciim_text, train_sspc_text, train_text

    if method == "orthogonal":
        return partial(train_text.summary, called=ORTHOGONAL), partial(train_text.group_summary, called=ORTHOGONAL)
    if method == "drcl":
        return train_text.summary, train_text.group_summary
    if method == "sspc":
        return train_sspc_text.summary, train_sspc_text.group_summary
    if method == "ciim":
        return train_ciim_text.summary, train_ciim_text.group_summary
    return train_baseline_text.summary, train_baseline_text.group_summary


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
