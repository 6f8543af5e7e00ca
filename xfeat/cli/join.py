"""``xfeat join``: branches that were trained apart become one run."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from xfeat.cli.output import counted, cut, table

if TYPE_CHECKING:
    from xfeat.training.joining import Joined


def join(
    runs: list[Path] = typer.Argument(..., metavar="RUN...", help="Finished runs, trained against one prior."),
    out: Path = typer.Option(..., metavar="RUN", help="Folder of the new run."),
) -> None:
    """Join runs trained against the same prior.

    Nothing is trained and no run changes: branches are copied as they are.
    """
    from xfeat.training.joining import join as join_runs

    joined = join_runs(runs, out)
    typer.echo(summary(joined, len(runs)))
    for path, words in joined.differences.items():
        typer.echo(f"note: {path} differs from {runs[0]}: {words}; each branch keeps its own settings", err=True)
    for name in joined.away:
        typer.echo(f"note: the cache of {name} is not here: eval needs it where {out}/config.yaml names it", err=True)
    typer.echo(f"run       {out}")
    typer.echo(f"Next: xfeat eval {out}")


def summary(joined: "Joined", runs: int) -> str:
    """What came from where."""
    chosen = joined.prior["chosen"]
    rows = [
        [
            name + (" *" if name == chosen else ""),
            f"{note['in_dim']:,}",
            f"{note['train_rows']:,}",
            f"{note['epoch']}/{note['epochs']}",
            note["sha256"][:8],
            _cut(joined.origins[name].resolve().name),
        ]
        for name, note in joined.branches.items()
    ]
    lines = [
        f"{counted(runs, 'run')} joined: {counted(len(rows), 'branch', 'branches')} against the prior "
        f"{joined.prior['sha256'][:8]}",
        table(["modality", "dim", "train", "best epoch", "branch", "from"], rows),
        "  * its candidate is the prior" if chosen in joined.branches else f"  prior: {chosen}",
    ]
    return "\n".join(lines)


def _cut(name: str, room: int = 24) -> str:
    return cut(name, room)
