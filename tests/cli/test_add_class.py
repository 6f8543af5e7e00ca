import json
import shutil
from pathlib import Path

import pytest

from tests.cli.asking import QUICK, refused
from tests.cli.conftest import Xfeat
from tests.training.building import blobs, files
from tests.training.growing import grown, write_grown

SEEN = "note: nothing had been held out from image, text: before is on rows trained on\n"


@pytest.fixture
def bigger(tmp_path: Path) -> list[Path]:
    """Image and text with a fourth class."""
    return [cache.path for cache in write_grown(tmp_path / "bigger", "image", "text")]


def test_a_class_is_added_and_the_new_run_works_like_any_other(
    xfeat: Xfeat, trained: Path, caches: dict[str, Path], bigger: list[Path], tmp_path: Path
) -> None:
    out, before = tmp_path / "out", files(trained)
    code, printed, err = xfeat("add-class", *bigger, "--run", trained, "--out", out)
    assert (code, err) == (0, SEEN)
    lines = printed.splitlines()
    assert lines[0] == "1 new class, 4 in all: asp"
    assert lines[-4].startswith("old classes: ")
    assert "; new class 'asp': " in lines[-4]
    assert lines[-3:] == [f"report    {out / 'add_class.json'}", f"run       {out}", f"Next: xfeat eval {out}"]
    assert max(map(len, lines[:-3])) <= 80
    assert files(trained) == before

    document = json.loads(xfeat("eval", out, "--json", "-")[1])
    assert document["pairs"]["image->text"]["queries"] > 20
    assert document["protocol"]["unsupported"] == {}
    shown = json.loads(xfeat("prior", "show", out, "--json", "-")[1])
    assert shown["classes"] == ["ant", "bee", "cow", "asp"]
    assert xfeat("add", caches["audio"], "--run", out)[0] == 0
    document = json.loads(xfeat("eval", out, "--json", "-")[1])
    assert document["protocol"]["unsupported"]["audio->image"] == ["asp"]
    more = grown("audio", ("asp", "boa")).write(tmp_path / "more").path
    code, printed, _ = xfeat("add-class", more, "--run", out, "--out", tmp_path / "third", "--tune", "all")
    assert code == 0
    assert printed.splitlines()[0] == "2 new classes, 5 in all: asp, boa"
    assert "  unchanged to the byte: image, text" in printed.splitlines()
    document = json.loads(xfeat("eval", tmp_path / "third", "--json", "-")[1])
    assert document["protocol"]["unsupported"]["image->text"] == ["boa"]


def test_what_was_not_used_is_told(xfeat: Xfeat, trained: Path, bigger: list[Path], tmp_path: Path) -> None:
    same = blobs("text").write(tmp_path / "same").path
    code, _, err = xfeat("add-class", bigger[0], same, "--run", trained, "--out", tmp_path / "out")
    assert code == 0
    assert err == f"note: {same} has no training rows of a class that is new to text: it was not used\n{SEEN}"


def test_bad_input_is_one_line(
    xfeat: Xfeat, trained: Path, caches: dict[str, Path], bigger: list[Path], tmp_path: Path
) -> None:
    out = ("--out", tmp_path / "out")
    image = bigger[0]
    refused(xfeat("add-class", image, "--run", caches["image"], *out), "not a run")
    refused(xfeat("add-class", image, "--run", trained, "--out", trained), "holds something already")
    refused(xfeat("add-class", caches["audio"], "--run", trained, *out), "'audio'", "`xfeat add`")
    refused(xfeat("add-class", caches["image"], "--run", trained, *out), "no new class in image")
    unfinished, other, group = tmp_path / "unfinished", tmp_path / "other", tmp_path / "group"
    shutil.copytree(trained, unfinished)
    (unfinished / "branches" / "text.json").unlink()
    refused(xfeat("add-class", image, "--run", unfinished, *out), "is not finished (no branch of text)", "--resume")
    shutil.copytree(trained, other)
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("method: drcl", "method: another"))
    refused(xfeat("add-class", image, "--run", other, *out), "was trained with another")
    group.mkdir()
    (group / "group.json").write_text('{"seeds": [0], "method": "drcl"}')
    refused(xfeat("add-class", image, "--run", group, *out), "a group of seeds", "/seed0")
    assert xfeat("train", "drcl", caches["image"], "--out", tmp_path / "full", *QUICK, "--set", "out=3")[0] == 0
    refused(xfeat("add-class", image, "--run", tmp_path / "full", *out), "no room for 1 more", "--set out=8")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
