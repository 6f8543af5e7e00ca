"""What a section of a report is made of. The page's template writes each kind; sections hold no HTML but drawings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from markupsafe import Markup

from xfeat.report.media import Shown

COLOURS = 10  # the page's palette; -1 is grey


@dataclass(frozen=True)
class Facts:
    """Names and values; ``folded`` is the word under which they are hidden at first."""

    kind: ClassVar[str] = "facts"
    items: Sequence[tuple[str, str]]
    title: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Table:
    """Cells, the first ``words`` columns to the left, numbers to the right; ``last`` rows are set apart."""

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    last: Sequence[Sequence[str]] = ()
    words: int = 1
    title: str = ""
    caption: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Heat:
    """Numbers as cells of a colour that deepens from ``low`` to ``high``; None is a cell without a number.

    ``groups`` are names over so many columns each, ``columns`` names under them; ``ends`` are columns of words after
    them, with their names. A row is its name, its numbers, and its words.
    """

    kind: ClassVar[str] = "heat"
    groups: Sequence[tuple[str, int]]
    columns: Sequence[str]
    ends: Sequence[str]
    rows: Sequence[tuple[str, Sequence[float | None], Sequence[str]]]
    low: float
    high: float
    first: str = ""
    title: str = ""
    caption: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Item:
    """A sample on the page: its id, its classes, and what it looks or sounds like, where that is known."""

    id: str
    modality: str
    classes: str
    shown: Shown | None = None


@dataclass(frozen=True)
class Hit:
    """A place of a ranking, from 1: what stands there, its score in words, and whether it is right."""

    place: int
    item: Item
    score: str
    right: bool


@dataclass(frozen=True)
class Query:
    """A query, how well it did in words, and the first places of its ranking."""

    item: Item
    says: str
    hits: Sequence[Hit]


@dataclass(frozen=True)
class Examples:
    """Queries of one direction in groups, each with a name; a folded block that is not ``printed`` stays closed."""

    kind: ClassVar[str] = "examples"
    groups: Sequence[tuple[str, Sequence[Query]]]
    title: str = ""
    caption: str = ""
    folded: bool = False
    printed: bool = True


@dataclass(frozen=True)
class Bar:
    """A bar: its length from 0 to 1, and its value in words; a length of None is a bar that could not be measured."""

    name: str
    length: float | None
    text: str


@dataclass(frozen=True)
class Bars:
    """Bars of one measure, on a scale whose ends are named; ``mark`` is where a line crosses them, from 0 to 1."""

    title: str
    bars: Sequence[Bar]
    low: str
    high: str
    mark: float
    marked: str


@dataclass(frozen=True)
class BarGrid:
    """Several measures side by side."""

    kind: ClassVar[str] = "bars"
    items: Sequence[Bars]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A drawing: an inline SVG of our own making, what stands above it, and what it shows, in words."""

    svg: Markup
    title: str
    says: str


@dataclass(frozen=True)
class Key:
    """What a colour of the palette stands for; -1 is grey."""

    colour: int
    name: str


@dataclass(frozen=True)
class Pictures:
    """Drawings side by side under one key of colours; ``large`` ones are two in a row at most."""

    kind: ClassVar[str] = "pictures"
    items: Sequence[Picture]
    keys: Sequence[Key] = ()
    title: str = ""
    caption: str = ""
    large: bool = False
    folded: bool = False


Block: TypeAlias = Facts | Table | Heat | BarGrid | Pictures | Examples


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        key: its name within the page's address, a plain word.
        title: its heading.
        lead: paragraphs before the blocks.
        blocks: what it shows.
        notes: what a reader should know before believing it.
    """

    key: str
    title: str
    lead: Sequence[str] = ()
    blocks: Sequence[Block] = ()
    notes: Sequence[str] = field(default_factory=list)
