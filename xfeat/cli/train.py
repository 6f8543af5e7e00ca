"""``xfeat train``: heads on caches, one branch per modality."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from xfeat.errors import InputError

if TYPE_CHECKING:
    import torch

    from xfeat.cache import FeatureCache

MOST_SEEDS = 1000
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
    labels, unpaired too; sspc trains all together, on rows that share a pair key.
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

    from xfeat.cache import FeatureCache
    from xfeat.training.device import find_device

    job = Job([FeatureCache(path) for path in caches], out, find_device(device), resume)
    started = time.perf_counter()
    say = TRAINERS[chosen.name](job, values, read_seeds(seeds) if seeds else None, seed)
    typer.echo(say(time.perf_counter() - started))
    typer.echo(f"{'group' if seeds else 'run':9} {out}")
    typer.echo(f"Next: xfeat eval {out}")


@dataclass(frozen=True)
class Job:
    """What every method is trained on and where."""

    caches: "Sequence[FeatureCache]"
    out: Path
    device: "torch.device"
    resume: bool


Summary = Callable[[float], str]
"""The lines to print, from the seconds it took."""


def _drcl(job: Job, settings: Any, seeds: list[int] | None, seed: int) -> Summary:
    from xfeat.cli.train_text import group_summary, summary
    from xfeat.training.classes import similarity_notes
    from xfeat.training.drcl import train as train_one
    from xfeat.training.drcl_group import train_group

    for name in sorted(set(settings.modality_lr) - {cache.manifest.modality for cache in job.caches}):
        typer.echo(f"note: modality_lr.{name} is set, but no cache holds {name}", err=True)
    for line in similarity_notes(job.caches):
        typer.echo(f"note: {line}", err=True)
    if seeds:
        many = train_group(job.caches, job.out, settings, seeds, device=job.device, resume=job.resume)
        return partial(group_summary, many)
    one = train_one(job.caches, job.out, settings, seed=seed, device=job.device, resume=job.resume)
    return partial(summary, one)


def _sspc(job: Job, settings: Any, seeds: list[int] | None, seed: int) -> Summary:
    from xfeat.cli.train_sspc_text import group_summary, summary
    from xfeat.training.sspc import train as train_one
    from xfeat.training.sspc_group import train_group

    if seeds:
        many = train_group(job.caches, job.out, settings, seeds, device=job.device, resume=job.resume)
        return partial(group_summary, many)
    one = train_one(job.caches, job.out, settings, seed=seed, device=job.device, resume=job.resume)
    return partial(summary, one)


def _ciim(job: Job, settings: Any, seeds: list[int] | None, seed: int) -> Summary:
    from xfeat.cli.train_ciim_text import group_summary, summary
    from xfeat.training.ciim import train as train_one
    from xfeat.training.ciim_group import train_group
    from xfeat.training.classes import similarity_notes

    for line in similarity_notes(job.caches):
        typer.echo(f"note: {line}", err=True)
    if seeds:
        many = train_group(job.caches, job.out, settings, seeds, device=job.device, resume=job.resume)
        return partial(group_summary, many)
    one = train_one(job.caches, job.out, settings, seed=seed, device=job.device, resume=job.resume)
    return partial(summary, one)


TRAINERS: dict[str, Callable[[Job, Any, list[int] | None, int], Summary]] = {
    "drcl": _drcl,
    "ciim": _ciim,
    "sspc": _sspc,
}


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
