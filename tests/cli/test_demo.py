import os
import signal
from pathlib import Path

import pytest

from tests.cli.asking import QUICK, refused
from tests.cli.conftest import Xfeat
from tests.training.building import files
from xfeat.cli.demo import TOURS
from xfeat.methods.registry import METHODS


def test_a_folder_with_other_files_is_refused(xfeat: Xfeat, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    refused(xfeat("demo", "--out", tmp_path), "holds other files: choose a new or empty folder")
    refused(xfeat("demo", "--out", tmp_path / "thesis.tex"), "holds other files")
    assert set(files(tmp_path)) == {"thesis.tex"}


def test_an_unknown_method_is_refused_before_anything_is_written(xfeat: Xfeat, tmp_path: Path) -> None:
    refused(xfeat("demo", "--out", tmp_path / "demo", "--method", "drlc"), "did you mean drcl?")
    assert not (tmp_path / "demo").exists()


def test_every_method_has_a_demo() -> None:
    assert list(TOURS) == [name for name, method in METHODS.items() if not method.baseline]
    media = {tour.media for tour in TOURS.values()}
    assert len(media) == len({tour.caches for tour in TOURS.values()})


def test_a_demo_of_another_seed_is_kept(xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "demo" / "runs" / "drcl"
    assert xfeat("train", "drcl", caches["image"], caches["text"], "--out", run, "--seed", 1, *QUICK)[0] == 0
    (tmp_path / "demo" / "media-paired").mkdir()
    before = files(tmp_path)
    for method in ("drcl", "all"):
        refused(xfeat("demo", "--out", tmp_path / "demo", "--method", method), "holds the demo of seed 1")
    assert files(tmp_path) == before


@pytest.mark.parametrize("method", list(TOURS))
def test_ctrl_c_in_one_of_its_commands_ends_the_demo(
    xfeat: Xfeat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("xfeat.extraction.pipeline.extract", interrupt)
    code, out, err = xfeat("demo", "--out", tmp_path / "demo", "--method", method)
    assert code == 130
    assert err.startswith("xfeat: interrupted")
    assert err.count("\n") == 1
    assert out.count("$ xfeat ") == 1
    assert out.rstrip().endswith("image.filters-hog")
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {TOURS[method].media}
    assert all(len(line) <= 80 for line in out.splitlines() if "$ xfeat" not in line and str(tmp_path) not in line)
