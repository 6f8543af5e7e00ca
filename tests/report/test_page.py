from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from tests.report.reading import Page
from tests.training.building import TINY, blobs
from xfeat.errors import InputError
from xfeat.report.about import about
from xfeat.report.blocks import Examples, Facts, Heat, Hit, Item, Query, Section, Table
from xfeat.report.by_class import by_class
from xfeat.report.examples import examples
from xfeat.report.maps import maps
from xfeat.report.media import Shown
from xfeat.report.page import Report, RunReport, make_report, write_report
from xfeat.report.subject import Subject
from xfeat.training.anchors_samples import Preview
from xfeat.training.asked import Asked
from xfeat.training.drcl import train

CPU, TEST = torch.device("cpu"), Asked("test")
NASTY = "<b>&\"'</b><script>alert(1)</script>"


def page_of(run: Path, file: Path) -> Page:
    write_report(file, make_report([run], TEST, CPU))
    return Page(file)


def test_a_page_has_all_sections_and_needs_nothing_else(trained: Path, tmp_path: Path) -> None:
    page = page_of(trained, tmp_path / "a.html")
    keys = ["about", "retrieval", "precision", "classes", "gap", "maps", "examples", "curves"]
    assert list(page.said)[1:] == keys
    assert "Report on tiny" in page.words()
    assert [link["href"] for link in page.named("a")] == [f"#{name}" for name in list(page.said)[1:]]
    assert not page.named("script")
    assert not page.named("link")
    assert not page.named("img")
    assert "://" not in page.text
    assert "url(" not in page.text
    assert not [one for _, one in page.tags if any(name.startswith("on") for name in one)]
    policy = next(one["content"] for one in page.named("meta") if "http-equiv" in one)
    assert "default-src 'none'" in str(policy)
    assert all(one.get("aria-label") for _, one in page.tags if one.get("role") == "img")
    assert page.levels()[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(page.levels()))
    assert "no gap" in page.words("gap")
    assert "image → text" in page.words("retrieval")


def test_stages_are_shown_before_and_after(causal: Path, tmp_path: Path) -> None:
    page = page_of(causal, tmp_path / "a.html")
    titles = page.words("maps")
    assert titles.index("before the intervention, PCA") < titles.index("after the intervention, PCA")
    assert page.words("gap").count("before the intervention") == 5  # four bars and a row


def test_a_group_is_one_page(group: Path, tmp_path: Path) -> None:
    page = page_of(group, tmp_path / "a.html")
    assert "seed3, seed5" in page.words("about")
    assert " ± " in page.words("retrieval")
    assert " ± " in page.words("gap")
    assert "Rows of seed3" in page.words("maps")


def test_names_of_others_are_words_and_no_tags(tmp_path: Path) -> None:
    made = []
    for name in ("image", "text"):
        rows = replace(blobs(name), classes=(NASTY, "bee", "cow"), backbone=NASTY)
        made.append(rows.write(tmp_path / name))
    train(made, tmp_path / "<i>run", TINY)
    report = make_report([tmp_path / "<i>run"], TEST, CPU, [about, by_class, maps, examples])
    write_report(tmp_path / "a.html", report)
    page = Page(tmp_path / "a.html")
    assert NASTY in page.said["maps"]
    assert NASTY in page.said["classes"]
    assert NASTY in page.said["examples"]
    assert NASTY in page.said["about"]
    assert "<i>run" in page.words()
    assert not page.named("script")
    assert "<b>&" not in page.text


def test_sections_are_one_by_one(trained: Path, tmp_path: Path) -> None:
    def only(subject: Subject) -> Section:
        return Section("mine", "Mine", [subject.name], [Facts([("a", NASTY)]), Table(["x"], [], [["last"]])], [NASTY])

    report = make_report([trained], TEST, CPU, [only, lambda _: None])
    assert [section.key for section in report.runs[0].sections] == ["mine"]
    write_report(tmp_path / "a.html", report)
    page = Page(tmp_path / "a.html")
    assert page.said["mine"].count(NASTY) == 2
    assert "tiny" in page.words("mine")


def test_samples_are_words_and_no_tags(trained: Path, tmp_path: Path) -> None:
    def only(subject: Subject) -> Section:
        item = Item(NASTY, NASTY, NASTY, Shown(Preview("text", NASTY)))
        hit = Hit(1, Item(NASTY, "image", "", Shown(Preview("none", NASTY))), NASTY, True)
        shown = Examples([(NASTY, [Query(item, NASTY, [hit])])], NASTY, NASTY, folded=True)
        heat = Heat([(NASTY, 1)], [NASTY], [NASTY], [(NASTY, [0.5], [NASTY])], 0, 1, NASTY, NASTY, NASTY)
        return Section("mine", NASTY, [], [shown, heat])

    drawn = {"s0": Preview("strokes", "", 9, 9, (NASTY,))}
    report = replace(make_report([trained], TEST, CPU, [only]), symbols=drawn)
    write_report(tmp_path / "a.html", report)
    page = Page(tmp_path / "a.html")
    assert " ".join(page.said["mine"]).count(NASTY) == 19
    assert [one["points"] for one in page.named("polyline")] == [NASTY]
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "b>", "img"})
    assert "<b>&" not in page.text


def test_what_cannot_be_written_or_read_is_refused(trained: Path, tmp_path: Path) -> None:
    for name, words in (("a.txt", "ends in .html"), ("gone/a.html", "does not exist")):
        with pytest.raises(InputError, match=words):
            write_report(tmp_path / name, Report("test", [RunReport("a", "drcl", [])]))
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        write_report(tmp_path / "folder.html", Report("test", [RunReport("a", "drcl", [])]))
    with pytest.raises(InputError, match="not a run"):
        make_report([tmp_path], TEST, CPU)
    with pytest.raises(InputError, match="no rows in split 'odd'"):
        make_report([trained], Asked("odd"), CPU)
