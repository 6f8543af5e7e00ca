"""Progress bars on standard error, silent where nobody watches."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Tells the bar that ``steps`` more are done, and optionally a few words of state."""

    def __call__(self, steps: int = 1, note: str = "") -> None:
        """Advance by ``steps`` and show ``note``."""


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """A bar that names the work, how much is done, and the time left; it disappears when the work is done.

    Args:
        title: what is being done.
        total: number of steps.

    Yields:
        A function that advances the bar.
    """
    # rich costs 60 ms to import: only commands that work long pay for it.
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(bar_width=20),
        bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(),
        bars.TimeRemainingColumn(),
        bars.TextColumn("{task.fields[note]}"),
    )
    console = Console(stderr=True)
    with bars.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            bar.update(task, advance=steps, note=note)

        yield advance
