"""What a training says beforehand of leaks in its caches."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from xfeat.cli.output import counted
from xfeat.errors import XfeatError

if TYPE_CHECKING:
    from xfeat.cache import FeatureCache
    from xfeat.checking.report import Finding


def warn_of_leaks(caches: "Sequence[FeatureCache]") -> None:
    """Say on standard error what a quick look at caches finds; what cannot be read is left to the command."""
    from xfeat.checking.check import quick_check

    try:
        findings = quick_check(caches)
    except (XfeatError, OSError, MemoryError):
        return
    for line in warnings(findings):
        typer.echo(line, err=True)


def warnings(findings: "Sequence[Finding]", shown: int = 3) -> Iterator[str]:
    """Findings in a line each, as many as are shown and where to read the rest."""
    if not findings:
        return
    for finding in findings[:shown]:
        yield f"{'warning: leak' if finding.severity == 'leak' else finding.severity}: {finding.title}"
    more = f"{counted(len(findings) - shown, 'more finding')}, " if len(findings) > shown else ""
    yield f"note: {more}examples and what to do: xfeat check CACHE..."
