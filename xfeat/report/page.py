"""The report of a run as one HTML page that needs nothing but itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from xfeat.cache.files import write_text
from xfeat.report.about import about
from xfeat.report.blocks import Section
from xfeat.report.curves import curves
from xfeat.report.gap import gap
from xfeat.report.maps import maps
from xfeat.report.retrieval import retrieval
from xfeat.report.subject import Subject, open_subject
from xfeat.training.anchors_page import check_page
from xfeat.training.asked import Asked

TEMPLATE = "page.html.j2"
SECTIONS: tuple[Callable[[Subject], Section | None], ...] = (about, retrieval, gap, maps, curves)
"""What a report shows, in its order; a section that has nothing to say gives None."""


@dataclass(frozen=True)
class Report:
    """Everything that the template says.

    Attributes:
        name: of the run or the group.
        method: that trained it.
        split: of the rows.
        sections: in their order.
    """

    name: str
    method: str
    split: str
    sections: Sequence[Section]


def make_report(
    path: Path,
    asked: Asked,
    device: torch.device,
    sections: Sequence[Callable[[Subject], Section | None]] = SECTIONS,
) -> Report:
    """Evaluate a run or a group of seeds, and lay out what came of it.

    Args:
        path: of either.
        asked: of the evaluation.
        device: where to compute.
        sections: what to show.

    Raises:
        InputError: no such run, one that is not finished, or rows that are not there.
    """
    subject = open_subject(path, asked, device)
    made = [section for make in sections if (section := make(subject)) is not None]
    return Report(subject.name, subject.config.method, asked.split, made)


def write_report(path: Path, report: Report) -> None:
    """Write the page whole: no script, nothing from elsewhere, all of the run's own words escaped.

    Args:
        path: a ``.html``; replaced if it exists.
        report: what is on it.

    Raises:
        InputError: as ``check_page``.
    """
    check_page(path)
    write_text(path, _template().render(report=report))


@lru_cache(maxsize=1)
def _template() -> Any:
    # Imported here: only pages need it.
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files("xfeat.report").joinpath(TEMPLATE).read_text(encoding="utf-8"))
