"""``xfeat add``: a new modality joins a run; no other branch changes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from xfeat.cli.train import DEVICE
from xfeat.errors import InputError

if TYPE_CHECKING:
    import torch

    from xfeat.cache import FeatureCache
    from xfeat.training.drcl import Outcome

Summary = Callable[[float], str]
"""The lines to print, from the seconds it took."""


def add(
    cache: Path = typer.Argument(..., metavar="CACHE", help="Cache of the new modality."),
    run: Path = typer.Option(..., metavar="RUN", help="The run it joins."),
    device: str = DEVICE,
) -> None:
    """Add a modality to a run; no other branch changes.

    The newcomer's branch is trained against what the run's branches meet in: drcl's prior, or ciim's hybrid proxies
    and head. sspc's branches belong to each other: there is no adding to them.
    """
    from xfeat.cache import FeatureCache
    from xfeat.training.device import find_device
    from xfeat.training.run import Run

    opened, method = FeatureCache(cache), Run(run).load_config().method
    if method not in ADDERS:
        raise InputError(f"{run} was trained with {method}, which cannot be added to: train it again with all caches")
    started = time.perf_counter()
    say = ADDERS[method](opened, run, find_device(device))
    typer.echo(say(time.perf_counter() - started))
    typer.echo(f"Next: xfeat eval {run}")


def _drcl(cache: "FeatureCache", run: Path, device: "torch.device") -> Summary:
    from xfeat.cli.train_text import summary
    from xfeat.training.drcl import add as add_modality

    outcome = add_modality(cache, run, device=device)
    return lambda seconds: f"{summary(outcome, seconds)}\n{newcomer(outcome, cache.manifest.modality)}"


def _ciim(cache: "FeatureCache", run: Path, device: "torch.device") -> Summary:
    from xfeat.cli.train_ciim_text import summary
    from xfeat.training.ciim_join import add as add_modality

    outcome, name = add_modality(cache, run, device=device), cache.manifest.modality
    said = f"{name} joined against the run's hybrid proxies; no other branch was touched."
    return lambda seconds: f"{summary(outcome, seconds)}\n{said}"


ADDERS: "dict[str, Callable[[FeatureCache, Path, torch.device], Summary]]" = {
    "drcl": _drcl,
    "orthogonal": _drcl,
    "ciim": _ciim,
}


def newcomer(outcome: "Outcome", modality: str) -> str:
    """How the newcomer's own prior compares with the run's, and what choosing it would mean."""
    candidates, chosen, score = outcome.prior["candidates"], outcome.prior["chosen"], outcome.prior["score"]
    if modality not in candidates:
        return f"{modality} joined against the prior ({chosen}); no other branch was touched."
    own = candidates[modality]["score"]
    if own <= score:
        return (
            f"{modality} joined; its own prior scores {own:.3f}, {chosen}'s {score:.3f} stays.\n"
            "No other branch changed."
        )
    return (
        f"{modality} joined; nothing else changed.\n"
        f"Its own prior scores {own:.3f}, more than {chosen}'s {score:.3f}:\n"
        f"choosing it would mean training every branch again, `xfeat train drcl` with all caches."
    )
