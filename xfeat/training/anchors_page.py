"""What a run's anchors hold, as one HTML page that needs nothing but itself."""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from xfeat.cache.files import write_text
from xfeat.errors import InputError
from xfeat.training.anchors import Anchor, Example
from xfeat.training.anchors_report import AnchorReport, SpaceReport
from xfeat.training.anchors_samples import Preview, Previews

TEMPLATE = "anchors_page.html.j2"
MOST_ANCHORS = 128  # shown of one space, the most used first
MOST_PREVIEW_CHARS = 8_000_000  # of all previews in a page
BAR_HEIGHT = 100.0


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram: the anchor's number, its place and height, and what is said of it."""

    number: int
    height: float
    title: str
    dead: bool


@dataclass(frozen=True)
class Shown:
    """An example on the page: its preview, or None; ``symbol`` names the drawing that is defined once for all."""

    example: Example
    preview: Preview | None
    symbol: str = ""


@dataclass(frozen=True)
class Section:
    """A space on the page: its numbers, its histogram, its anchors with their examples."""

    report: SpaceReport
    bars: list[Bar]
    most: float
    anchors: list[tuple[Anchor, list[Shown]]]
    left_out: int

    @property
    def even(self) -> float:
        """Where a bar ends, from above, if all anchors are alike."""
        return BAR_HEIGHT * (1 - 1 / (self.most * len(self.bars)))


@dataclass(frozen=True)
class Page:
    """Everything that the template says.

    Attributes:
        report: the numbers.
        sections: by modality and space.
        symbols: images and drawings by name, each once however often it is shown.
        left_out: previews that found no room.
        unknown: examples that the manifest does not have, or that cannot be read; 0 without a manifest.
    """

    report: AnchorReport
    sections: list[Section]
    symbols: dict[str, Preview]
    left_out: int
    unknown: int


def check_page(path: Path) -> None:
    """Refuse a page that could not be written, before any work.

    Raises:
        InputError: not a .html, no such folder, or a folder.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {path}: a page's file name ends in .html")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise InputError(f"--out {path} is a folder: name a file in it")


def write_page(path: Path, report: AnchorReport, previews: Previews | None = None) -> Page:
    """Write the page whole: no script, nothing from elsewhere, all of the run's own words escaped.

    Args:
        path: a ``.html``; replaced if it exists.
        report: the numbers.
        previews: of the samples, where there is a manifest.

    Returns:
        What is on it.

    Raises:
        InputError: as ``check_page``.
    """
    check_page(path)
    page = lay_out(report, previews)
    write_text(path, _template().render(page=page, report=report))
    return page


def lay_out(
    report: AnchorReport,
    previews: Previews | None = None,
    *,
    most_anchors: int = MOST_ANCHORS,
    most_chars: int = MOST_PREVIEW_CHARS,
) -> Page:
    """Choose what goes on the page.

    Previews are given room in turn: the first example of every anchor comes before any anchor's second.

    Args:
        report: the numbers.
        previews: of the samples.
        most_anchors: shown of one space.
        most_chars: of all previews.
    """
    chosen = [_chosen(space, most_anchors) for space in report.spaces]
    order = _in_turn(report.spaces, chosen)
    room, times = _Room(previews, most_chars), Counter(order)
    for key in times:
        room.take(key, times[key])
    sections = [
        Section(
            space,
            _bars(space),
            max(anchor.usage for anchor in space.anchors),
            [(anchor, [room.shown(space.modality, one) for one in anchor.examples]) for anchor in anchors],
            len(space.anchors) - len(anchors),
        )
        for space, anchors in zip(report.spaces, chosen, strict=True)
    ]
    return Page(report, sections, room.symbols, room.left_out, room.unknown)


def _chosen(space: SpaceReport, most: int) -> list[Anchor]:
    return sorted(space.anchors, key=lambda anchor: (-anchor.usage, -anchor.membership, anchor.number))[:most]


def _in_turn(spaces: list[SpaceReport], chosen: list[list[Anchor]]) -> list[tuple[str, str]]:
    """Modality and id of the examples: everybody's first, everybody's second, and so on."""
    places = max((len(anchor.examples) for anchors in chosen for anchor in anchors), default=0)
    return [
        (space.modality, anchor.examples[place].id)
        for place in range(places)
        for space, anchors in zip(spaces, chosen, strict=True)
        for anchor in anchors
        if place < len(anchor.examples)
    ]


class _Room:
    """Which samples are shown, and what of them is drawn once and used wherever they are."""

    def __init__(self, previews: Previews | None, most: int) -> None:
        self._previews, self._free = previews, most
        self._taken: dict[tuple[str, str], tuple[Preview, str]] = {}
        self.symbols: dict[str, Preview] = {}
        self.left_out = self.unknown = 0

    def take(self, key: tuple[str, str], times: int) -> None:
        """Make room for a sample that is shown so many times."""
        if self._previews is None or not self._previews.knows(key[0]):
            return
        preview = self._previews.find(*key)
        if preview is None or preview.kind == "none":
            self.unknown += 1
            if preview is not None:
                self._taken[key] = preview, ""
            return
        drawn = preview.kind in ("image", "strokes")
        cost = preview.size * (1 if drawn else times)
        if cost > self._free:
            self.left_out += 1
            return
        self._free -= cost
        symbol = f"s{len(self.symbols)}" if drawn else ""
        if drawn:
            self.symbols[symbol] = preview
        self._taken[key] = preview, symbol

    def shown(self, modality: str, example: Example) -> Shown:
        return Shown(example, *self._taken.get((modality, example.id), (None, "")))


def _bars(space: SpaceReport) -> list[Bar]:
    most = max(anchor.usage for anchor in space.anchors)
    return [
        Bar(
            anchor.number,
            BAR_HEIGHT * anchor.usage / most,
            f"anchor {anchor.number}: nearest of {anchor.usage:.1%}, held by {anchor.held:,}",
            not anchor.near,
        )
        for anchor in space.anchors
    ]


@lru_cache(maxsize=1)
def _template() -> Any:
    # Imported here: only pages need it.
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = files("xfeat.training").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text)
