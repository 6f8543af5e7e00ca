"""The report of runs as one HTML page that needs nothing but itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from xfeat.cache.files import write_text
from xfeat.errors import InputError
from xfeat.report.about import about
from xfeat.report.blocks import Section
from xfeat.report.by_class import by_class
from xfeat.report.comparison import SideBySide
from xfeat.report.curves import curves
from xfeat.report.examples import examples
from xfeat.report.gap import gap
from xfeat.report.maps import maps
from xfeat.report.media import Media
from xfeat.report.precision import precision
from xfeat.report.retrieval import retrieval
from xfeat.report.subject import QUERIES, Subject, open_subject
from xfeat.training.anchors_page import check_page
from xfeat.training.anchors_samples import Preview
from xfeat.training.asked import Asked
from xfeat.training.embedding import Blocks

TEMPLATE = "page.html.j2"
SECTIONS: tuple[Callable[[Subject], Section | None], ...] = (
    about,
    retrieval,
    precision,
    by_class,
    gap,
    maps,
    examples,
    curves,
)
"""What a report shows of a run, in its order; a section that has nothing to say gives None."""


@dataclass(frozen=True)
class RunReport:
    """One run or group on the page.

    Attributes:
        name: its heading.
        method: that trained it.
        sections: in their order.
    """

    name: str
    method: str
    sections: Sequence[Section]


@dataclass(frozen=True)
class Report:
    """Everything that the template says.

    Attributes:
        split: of the rows.
        runs: in their order.
        comparison: of several runs.
        symbols: images and drawings by name, each once however often it is shown.
    """

    split: str
    runs: Sequence[RunReport]
    comparison: Section | None = None
    symbols: Mapping[str, Preview] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Of the page."""
        return "Report on " + ", ".join(run.name for run in self.runs)


def make_report(
    paths: Sequence[Path],
    asked: Asked,
    device: torch.device,
    sections: Sequence[Callable[[Subject], Section | None]] = SECTIONS,
    *,
    media: Media | None = None,
    queries: int = QUERIES,
) -> Report:
    """Evaluate runs and groups of seeds, and lay out what came of them.

    Args:
        paths: of runs and groups; several are compared too.
        asked: of the evaluation.
        device: where to compute.
        sections: what to show of each.
        media: what samples look and sound like.
        queries: to show of each ordered pair of modalities.

    Raises:
        InputError: no such run, one that is named twice or is not finished, or rows that are not there.
    """
    places = [path.resolve() for path in paths]
    if twice := [path for path, place in zip(paths, places, strict=True) if places.count(place) > 1]:
        raise InputError(f"{twice[0]} is named twice: name each run once")
    media, blocks, side_by_side = media or Media(), Blocks(), SideBySide()
    reports: list[RunReport] = []
    names = _names(paths)
    for path, name in zip(paths, names, strict=True):
        subject = open_subject(path, asked, device, media=media, queries=queries, blocks=blocks)
        if len(paths) > 1:
            side_by_side.add(subject, name)
        made = [section for make in sections if (section := make(subject)) is not None]
        if len(paths) > 1:
            place = len(reports) + 1
            made = [replace(section, key=f"run{place}-{section.key}") for section in made]
        reports.append(RunReport(name, subject.config.method, made))
    return Report(asked.split, reports, side_by_side.section(), media.symbols)


def write_report(path: Path, report: Report) -> int:
    """Write the page whole: no script, nothing from elsewhere, all of the runs' own words escaped.

    Args:
        path: a ``.html``; replaced if it exists.
        report: what is on it.

    Returns:
        Bytes of the page.

    Raises:
        InputError: as ``check_page``.
    """
    check_page(path)
    text = _template().render(report=report)
    write_text(path, text)
    return len(text.encode())


def _names(paths: Sequence[Path]) -> list[str]:
    """Names of the folders, or the paths where those are not different."""
    names = [path.absolute().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


@lru_cache(maxsize=1)
def _template() -> Any:
    # Imported here: only pages need it.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("xfeat.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE)
