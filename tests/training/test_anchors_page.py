import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from tests.training.anchors_building import write_media
from xfeat.errors import InputError
from xfeat.methods.sspc_settings import SspcSettings
from xfeat.training.anchors import Agreement, Anchor, Example
from xfeat.training.anchors_page import check_page, lay_out, write_page
from xfeat.training.anchors_report import AnchorReport, SpaceReport
from xfeat.training.anchors_samples import open_previews

VOID = ("meta",)
NAMES = ("image", "strokes", "text", "audio")
NASTY = '"><script>alert(1)</script>'


class Parsed(HTMLParser):
    """The tags of a page; a tag that is not closed, or closes another, fails."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def anchor(number: int, usage: float, near: int = 1, examples: tuple[Example, ...] = ()) -> Anchor:
    return Anchor(number, usage, 0.5, 3, near, (("cat", 1.0),), (), examples)


def report_of(*spaces: SpaceReport, path: Path = Path("runs/one")) -> AnchorReport:
    settings = SspcSettings(anchors=4, required=2)
    return AnchorReport(path, "test", 3, "ema", settings, 2, {}, list(spaces), [])


def space(modality: str = "image", ids: tuple[str, ...] = ("1", "2"), anchors: int = 4) -> SpaceReport:
    examples = tuple(Example(name, 0.5 - place / 10, (NASTY,)) for place, name in enumerate(ids))
    found = [anchor(0, 0.75, 3, examples), anchor(1, 0.25, 1, examples[::-1]), anchor(2, 0.0, 0), anchor(3, 0.0, 2)]
    return SpaceReport(
        modality, "joint", 4, 1, tuple(found[:anchors]), [(0, 3, 0.995)], {"text": Agreement(0.6, 0.3, 4)}
    )


def test_the_page_says_the_numbers_and_names_the_dead(tmp_path: Path) -> None:
    write_page(tmp_path / "a.html", report_of(space()))
    page = Parsed((tmp_path / "a.html").read_text(encoding="utf-8"))
    words = " ".join(" ".join(page.words).split())
    assert "Anchors of one" in words
    assert "averaged weights, seed 3, split test" in words
    assert "Dead: 2" in words
    assert "Nearest of no sample: 2, 3" in words
    assert "Duplicates: 0 and 3" in words
    assert "0.60 (chance 0.30)" in words
    assert words.index("Anchor 0") < words.index("Anchor 1") < words.index("Anchor 2 dead") < words.index("Anchor 3")
    assert "+0.50" in words
    heights = [float(str(bar["height"])) for bar in page.named("rect") if bar.get("class") != "dead"]
    assert heights == [100.0, 33.33, 0.0, 0.0]
    histogram = next(one for one in page.named("svg") if one.get("role") == "img")
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert set(str(histogram["aria-labelledby"]).split()) <= ids


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    previews = open_previews(write_media(tmp_path, 9), dict(zip(NAMES, NAMES, strict=True)), {})
    report = report_of(*(space(name) for name in NAMES), path=Path(NASTY))
    write_page(tmp_path / "a.html", report, previews)
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    page = Parsed(text)
    assert not page.named("script")
    assert not page.named("link")
    ids = {f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes}
    links = [str(value) for _, one in page.tags for name, value in one.items() if name in ("href", "src")]
    assert links
    assert all(link in ids or link.startswith("data:") for link in links)
    assert "://" not in text
    assert "url(" not in text
    policy = next(one["content"] for one in page.named("meta") if "http-equiv" in one)
    assert "default-src 'none'" in str(policy)
    assert NASTY in page.words  # as words, not as a tag


def test_samples_are_shown(tmp_path: Path) -> None:
    previews = open_previews(write_media(tmp_path, 9), dict(zip(NAMES, NAMES, strict=True)), {})
    made = write_page(tmp_path / "a.html", report_of(*(space(name) for name in NAMES)), previews)
    assert (made.left_out, made.unknown) == (0, 0)
    page = Parsed((tmp_path / "a.html").read_text(encoding="utf-8"))
    # Two anchors show the same two samples: images and drawings are in the page once.
    images = [str(one["href"]) for one in page.named("image")]
    assert len(images) == 2
    with Image.open(io.BytesIO(base64.b64decode(images[0].partition(",")[2]))) as thumbnail:
        assert thumbnail.size == (96, 48)
        assert thumbnail.convert("RGB").getpixel((5, 5)) == (4, 0, 0)
    assert len(page.named("symbol")) == 4
    assert len(page.named("use")) == 8
    assert len(page.named("polyline")) == 4  # two strokes in each drawing
    assert [one["aria-label"] for one in page.named("svg") if str(one.get("aria-label", "")).startswith("sample")] == [
        f"sample {name}" for _ in ("image", "strokes") for name in ("1", "2", "2", "1")
    ]
    sounds = [base64.b64decode(str(one["src"]).partition(",")[2]) for one in page.named("audio")]
    assert sounds == [(tmp_path / f"{name}.wav").read_bytes() for name in (1, 2, 2, 1)]
    assert page.words.count("<i>word 1</i>") == 2


def test_what_cannot_be_shown_is_named_and_counted(tmp_path: Path) -> None:
    manifest = write_media(tmp_path, 9)
    (tmp_path / "1.png").write_bytes(b"no picture")
    previews = open_previews(manifest, {"image": "image"}, {})
    made = write_page(tmp_path / "a.html", report_of(space(ids=("1", "2", "nobody")), space("text")), previews)
    assert (made.left_out, made.unknown) == (0, 2)
    page = Parsed((tmp_path / "a.html").read_text(encoding="utf-8"))
    words = " ".join(page.words)
    assert "1 (not an image in a known format)" in words
    assert "nobody" in words
    assert "2 samples are named but not shown" in words


def test_room_is_given_in_turn(tmp_path: Path) -> None:
    previews = open_previews(write_media(tmp_path, 9), {"text": "text"}, {})
    examples = [tuple(Example(str(row), 0.5) for row in rows) for rows in ((1, 2, 3), (4, 1, 5))]
    found = SpaceReport("text", "input", 9, 1, (anchor(0, 0.5, 1, examples[0]), anchor(1, 0.5, 1, examples[1])), [], {})
    long = len("<i>word 1</i>")
    # Sample 1 is shown twice and takes its room twice; then 4, 2, 3, 5 in the order of their places.
    for most, shown in ((4 * long, {"1", "4", "2"}), (2 * long, {"1"}), (long, {"4"}), (0, set())):
        page = lay_out(report_of(found), previews, most_chars=most)
        there = [one for _, items in page.sections[0].anchors for one in items if one.preview]
        assert {one.example.id for one in there} == shown
        assert sum(len(one.preview.content) for one in there if one.preview) <= most
        assert page.left_out == 5 - len(shown)


def test_the_least_used_anchors_are_left_out_and_counted(tmp_path: Path) -> None:
    page = lay_out(report_of(space()), most_anchors=2)
    assert [one.number for one, _ in page.sections[0].anchors] == [0, 1]
    assert page.sections[0].left_out == 2
    assert [bar.number for bar in page.sections[0].bars] == [0, 1, 2, 3]


def test_equal_numbers_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_page(tmp_path / name, report_of(space()))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_pages_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder.html").mkdir()
    for path, words in (
        (tmp_path / "a.png", "ends in .html"),
        (tmp_path / "no" / "a.html", "does not exist"),
        (tmp_path / "folder.html", "is a folder"),
    ):
        with pytest.raises(InputError, match=words):
            check_page(path)
