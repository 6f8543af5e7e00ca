import shutil
from pathlib import Path

from tests.cli.asking import refused
from tests.cli.conftest import Xfeat
from tests.report.reading import Page


def test_report_writes_a_page_into_the_run(xfeat: Xfeat, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    code, out, err = xfeat("report", run, "--allow-changed")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "5 sections:",
        "  what was run",
        "  retrieval",
        "  modality gap",
        "  pictures of the embedding",
        "  training curves",
        f"page      {run / 'report.html'}",
    ]
    assert "Report on run" in Page(run / "report.html").words()


def test_another_place_and_split(xfeat: Xfeat, trained: Path, tmp_path: Path) -> None:
    before = {path.name for path in trained.iterdir()}
    code, out, _ = xfeat("report", trained, "--out", tmp_path / "a.html", "--split", "train")
    assert code == 0
    assert out.endswith(f"page      {tmp_path / 'a.html'}\n")
    assert "rows of split train" in Page(tmp_path / "a.html").words()
    assert {path.name for path in trained.iterdir()} == before


def test_bad_input_is_one_line(xfeat: Xfeat, trained: Path, tmp_path: Path) -> None:
    refused(xfeat("report", tmp_path / "gone"), "does not exist")
    refused(xfeat("report", trained, "--out", tmp_path / "a.pdf"), "ends in .html")
    refused(xfeat("report", trained, "--split", "odd", "--out", tmp_path / "a.html"), "no rows in split 'odd'")
    assert not list(tmp_path.iterdir())
