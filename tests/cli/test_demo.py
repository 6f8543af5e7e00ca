import os
import signal
from pathlib import Path

import pytest

from tests.cli.asking import refused
from tests.cli.conftest import Xfeat
from tests.training.building import files


def test_a_folder_with_other_files_is_refused(xfeat: Xfeat, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    refused(xfeat("demo", "--out", tmp_path), "holds other files: choose a new or empty folder")
    refused(xfeat("demo", "--out", tmp_path / "thesis.tex"), "holds other files")
    assert set(files(tmp_path)) == {"thesis.tex"}


def test_an_unknown_method_is_refused_before_anything_is_written(xfeat: Xfeat, tmp_path: Path) -> None:
    refused(xfeat("demo", "--out", tmp_path / "demo", "--method", "drlc"), "did you mean drcl?")
    assert not (tmp_path / "demo").exists()


def test_ctrl_c_in_one_of_its_commands_ends_the_demo(
    xfeat: Xfeat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("xfeat.extraction.pipeline.extract", interrupt)
    code, out, err = xfeat("demo", "--out", tmp_path / "demo")
    assert code == 130
    assert err.startswith("xfeat: interrupted")
    assert err.count("\n") == 1
    assert out.count("$ xfeat ") == 1
    assert out.rstrip().endswith("image.filters-hog")
