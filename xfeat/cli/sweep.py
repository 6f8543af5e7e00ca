"""``xfeat sweep``: search settings of a method, on validation rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from xfeat.cli.train import DEVICE
from xfeat.errors import InputError

if TYPE_CHECKING:
    from xfeat.sweep.config import SweepConfig
    from xfeat.sweep.folder import Record


def sweep(
    config: Path = typer.Argument(..., metavar="CONFIG.yaml", help="Method, caches, and settings to try."),
    out: Path | None = typer.Option(None, metavar="DIR", help="Folder of the sweep; counts before the file's `out`."),
    trials: int | None = typer.Option(
        None, "--trials", min=1, max=10_000, help="Of random and tpe: how many; counts before the file's."
    ),
    device: str = DEVICE,
) -> None:
    """Search settings of a method, by rows of split val.

    Every combination of a grid, random ones, or those that Optuna's TPE proposes. Test rows are not read. The same
    command resumes; run at the same time, on machines that share DIR too, it shares the trials out.
    """
    from xfeat.cli.sweep_text import show
    from xfeat.sweep.config import read_sweep
    from xfeat.sweep.measure import settled
    from xfeat.sweep.sweep import sweep as run_sweep
    from xfeat.training.device import find_device

    asked = read_sweep(config, trials)
    folder = out or asked.out
    if folder is None:
        raise InputError(f"{config} names no `out`: add it, or --out DIR")
    where = find_device(device)
    asked = settled(asked)
    typer.echo(show(run_sweep(asked, folder, where, _Told(asked))))


@dataclass(frozen=True)
class _Told:
    """Says how a sweep goes, on standard error."""

    config: "SweepConfig"

    def begun(self, over: int) -> None:
        """What is about to be done."""
        from xfeat.cli.sweep_text import heading

        typer.echo(heading(self.config, over), err=True)

    def ran(self, record: "Record") -> None:
        """A trial is over."""
        from xfeat.cli.sweep_text import trial_line

        typer.echo(trial_line(self.config, record), err=True)
