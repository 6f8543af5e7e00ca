import re
import shutil
from pathlib import Path

from tests.cli.asking import refused
from tests.cli.conftest import Xfeat
from tests.report.media import write_media
from tests.report.reading import Page

SECTIONS = [
    "8 sections:",
    "  what was run",
    "  retrieval",
    "  precision by recall",
    "  class by class",
    "  modality gap",
    "  pictures of the embedding",
    "  queries and their results",
    "  training curves",
]


def test_report_writes_a_page_into_the_run(xfeat: Xfeat, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    code, out, err = xfeat("report", run, "--allow-changed")
    assert (code, err) == (0, "")
    size = (run / "report.html").stat().st_size
    assert out.splitlines() == [
        *SECTIONS,
        f"page      {run / 'report.html'}",
        f"size      {size / 1000:.0f} kB, needs no network",
    ]
    assert "Report on run" in Page(run / "report.html").words()


def test_another_place_and_split_and_samples(xfeat: Xfeat, trained: Path, tmp_path: Path) -> None:
    before = {path.name for path in trained.iterdir()}
    manifest, _ = write_media(tmp_path / "media")
    (tmp_path / "own.csv").write_text(manifest.read_text().replace("id,image", "id,photo"))
    words = ("--manifest", tmp_path / "own.csv", "--column", "image=photo", "--root", tmp_path / "media")
    code, out, _ = xfeat("report", trained, "--out", tmp_path / "a.html", "--split", "train", "--queries", 4, *words)
    assert code == 0
    assert f"page      {tmp_path / 'a.html'}" in out.splitlines()
    page = Page(tmp_path / "a.html")
    assert "rows of split train" in page.words()
    assert len([one for one in page.named("div") if str(one.get("class")).startswith("query")]) == 2 * 4
    assert page.named("image")
    assert any(text.startswith("<i>word ") for text in page.said["examples"])
    assert {path.name for path in trained.iterdir()} == before


def test_samples_of_no_manifest_are_told(xfeat: Xfeat, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("id,image\nelsewhere,0.png\n")
    words = ("--out", tmp_path / "a.html", "--manifest", tmp_path / "other.csv")
    code, _, err = xfeat("report", trained, *words, "--queries", 2)
    assert code == 0
    assert re.fullmatch(r"note: \d+ samples of the page named, not shown: in no manifest by their ids, .*\n", err)


def test_several_runs_are_one_page(xfeat: Xfeat, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "other")
    code, out, _ = xfeat("report", trained, tmp_path / "other", "--out", tmp_path / "a.html", "--allow-changed")
    assert code == 0
    first = out.splitlines().index("trained: 8 sections:")
    assert out.splitlines()[0] == "2 runs, comparison"
    assert out.splitlines()[first : first + 10] == [f"trained: {SECTIONS[0]}", *SECTIONS[1:], f"other: {SECTIONS[0]}"]
    assert "Report on trained, other" in Page(tmp_path / "a.html").words()


def test_bad_input_is_one_line(xfeat: Xfeat, trained: Path, tmp_path: Path) -> None:
    refused(xfeat("report", tmp_path / "gone"), "does not exist")
    refused(xfeat("report", trained, "--out", tmp_path / "a.pdf"), "ends in .html")
    refused(xfeat("report", trained, "--split", "odd", "--out", tmp_path / "a.html"), "no rows in split 'odd'")
    refused(xfeat("report", trained, trained.parent), "say where with --out FILE.html")
    refused(xfeat("report", trained, "--root", tmp_path), "give --manifest FILE too")
    refused(xfeat("report", trained, "--manifest", tmp_path / "m.csv", "--column", "image"), "MODALITY=COLUMN")
    refused(xfeat("report", trained, "--manifest", tmp_path / "m.csv"), "m.csv")
    assert not list(tmp_path.iterdir())
