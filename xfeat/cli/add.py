"""``xfeat add``: a new modality joins a run; no other branch changes."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from xfeat.cli.train import DEVICE
from xfeat.cli.train_text import summary

if TYPE_CHECKING:
    from xfeat.training.drcl import Outcome


def add(
    cache: Path = typer.Argument(..., metavar="CACHE", help="Cache of the new modality."),
    run: Path = typer.Option(..., metavar="RUN", help="The run it joins."),
    device: str = DEVICE,
) -> None:
    """Add a modality to a run; no other branch changes.

    The newcomer's branch is trained against the run's prior.
    """
    from xfeat.cache import FeatureCache
    from xfeat.training.device import find_device
    from xfeat.training.drcl import add as add_modality

    opened = FeatureCache(cache)
    started = time.perf_counter()
    outcome = add_modality(opened, run, device=find_device(device))
    typer.echo(summary(outcome, time.perf_counter() - started))
    typer.echo(newcomer(outcome, opened.manifest.modality))
    typer.echo(f"Next: xfeat eval {run}")


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
