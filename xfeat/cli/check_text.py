"""What ``xfeat check`` prints of its report."""

import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from xfeat.cli.output import counted, cut, table, width

if TYPE_CHECKING:
    from xfeat.checking.report import Example, Finding, Overview, Place, Report

WIDTH = 80
USED = ("train", "val", "test")
NAME = 20  # signs of a cache's name in the table
ID = 34  # signs of an id
EXAMPLES = 3  # of a kind of finding


def show(report: "Report") -> str:
    """The caches, the findings, and how closely it was looked."""
    lines = [_overview(report), ""]
    for _, group in groupby(report.findings, lambda finding: (finding.severity, finding.kind)):
        lines += [*_findings(list(group)), ""]
    lines += [_verdict(report), *_wrapped(_rule(report), "  ")]
    for line in report.sampled:
        lines += _wrapped(f"{line} (--rows)", "  ")
    return "\n".join(lines)


def _overview(report: "Report") -> str:
    rest = any(set(cache.splits) - set(USED) for cache in report.caches)
    header = ["cache", "dim", *USED, *(["other"] if rest else []), "classes", "rows a class", "no label"]
    return table(header, [_row(cache, rest=rest) for cache in report.caches])


def _row(cache: "Overview", *, rest: bool) -> list[str]:
    others = sum(count for name, count in cache.splits.items() if name not in USED)
    spread = f"{cache.least:,}" if cache.least == cache.most else f"{cache.least:,}-{cache.most:,}"
    return [
        _cut(cache.cache, NAME),
        f"{cache.dim:,}",
        *(f"{cache.splits.get(name, 0):,}" for name in USED),
        *([f"{others:,}"] if rest else []),
        f"{cache.classes:,}" if cache.classes else "-",
        spread if cache.classes else "-",
        f"{cache.unlabelled:,}" if cache.classes else "-",
    ]


def _findings(group: "Sequence[Finding]") -> list[str]:
    """Findings of a kind, and what to do about them once."""
    lines = []
    for finding in group:
        lines += _wrapped(f"{finding.severity}: {finding.title}", "", "  ")
        examples = finding.examples[: max(1, EXAMPLES // len(group))]
        lines += [f"    {line}" for example in examples for line in _example(example)]
        if finding.lines != group[-1].lines:
            lines += _advice(finding)
    return lines + _advice(group[-1])


def _advice(finding: "Finding") -> list[str]:
    return [line for words in finding.lines for line in _wrapped(words, "  ")]


def _example(example: "Example") -> list[str]:
    first = _place(example.row)
    if example.other is None:
        other = example.word
    else:
        sign = _cut(example.word, ID) or ("=" if example.score is None else f"{example.score:.4f}")
        other = f"{sign}  {_place(example.other, example.row)}"
    line = f"{first}  {other}".rstrip()
    return [line] if width(line) + 4 <= WIDTH else [first, f"  {_cut(other, WIDTH - 6)}"]


def _place(place: "Place", beside: "Place | None" = None) -> str:
    cache = f"{_cut(place.cache, NAME)} " if beside is None or beside.cache != place.cache else ""
    label = f" ({_cut(place.label, 16)})" if place.label is not None else ""
    return f"{cache}{place.split} {_cut(place.id, ID)}{label}"


def _verdict(report: "Report") -> str:
    parts = [counted(report.count(kind), kind) for kind in ("leak", "warning", "note") if report.count(kind)]
    if report.count("leak"):
        return ", ".join(parts)
    names = ", ".join(_cut(cache.cache, NAME) for cache in report.caches[:3])
    more = f" and {len(report.caches) - 3} more" if len(report.caches) > 3 else ""
    return f"no leak found in {names}{more}" + (f"; {', '.join(parts)}" if parts else "")


def _rule(report: "Report") -> str:
    settings = report.settings
    return (
        f"near duplicate: after centring, cosine to a training row >= {settings.near:g}, and 1 - cosine at most "
        f"{settings.apart:.0%} of that to the {settings.nearest}th nearest"
    )


def _wrapped(line: str, start: str, rest: str | None = None) -> list[str]:
    more = start if rest is None else rest
    return textwrap.wrap(line, WIDTH, initial_indent=start, subsequent_indent=more, break_on_hyphens=False)


def _cut(text: str, room: int) -> str:
    return cut(text, room, end=room - 3)
