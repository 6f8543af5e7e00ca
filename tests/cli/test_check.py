import json
from pathlib import Path

import pytest

from tests.checking.planting import clean
from tests.checking.test_check import planted
from tests.cli.asking import refused
from tests.cli.conftest import Xfeat


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two caches with something of everything, to read only."""
    folder = tmp_path_factory.mktemp("leaky")
    return [field.write(folder).path for field in planted()]


def test_findings_read_well_within_80_columns(xfeat: Xfeat, leaky: list[Path]) -> None:
    code, out, err = xfeat("check", *leaky)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[2].split() == ["image", "12", "60", "20", "40", "3", "18-22", "1"]
    assert "leak: image: 1 of 40 test rows equals a train row" in lines
    assert "    image test image/004 (bee)  =  train image/000 (ant)" in lines
    assert "    image train image/008 (bee)  pair p8  text test text/008 (bee)" in lines
    assert any(line.startswith("3 leaks, 6 warnings, 4 notes") for line in lines)
    assert "cosine to a training row >= 0.99" in out


def test_quiet_when_nothing_is_found(xfeat: Xfeat, tmp_path: Path) -> None:
    code, out, err = xfeat("check", clean().write(tmp_path).path, "--strict")
    assert (code, err) == (0, "")
    assert [line for line in out.splitlines() if line][3] == "no leak found in image"


def test_long_names_fit(xfeat: Xfeat, tmp_path: Path) -> None:
    field = clean()
    field.ids = [f"a/very/long/path/to/a/picture/in/a/folder/{row:030d}.png" for row in range(60)]
    field.classes = tuple(name * 20 for name in field.classes)
    field.features[4] = field.features[0]
    code, out, _ = xfeat("check", field.write(tmp_path).path)
    assert code == 0
    assert "leak: " in out
    assert max(map(len, out.splitlines())) <= 80


def test_strict_fails_on_a_leak_alone(xfeat: Xfeat, leaky: list[Path], tmp_path: Path) -> None:
    assert xfeat("check", *leaky, "--strict")[0] == 1
    field = clean()
    field.features[0] = 0  # a warning
    assert xfeat("check", field.write(tmp_path).path, "--strict")[0] == 0


def test_json(xfeat: Xfeat, leaky: list[Path], tmp_path: Path) -> None:
    code, out, _ = xfeat("check", *leaky, "--json", "-", "--near", "0.5", "--rows", "40")
    document = json.loads(out)
    assert code == 0
    assert (document["settings"]["near"], document["settings"]["rows"]) == (0.5, 40)
    assert document["findings"][0]["severity"] == "leak"
    assert "40 of 60 training rows" in document["sampled"][0]
    file = tmp_path / "found.json"
    out = xfeat("check", *leaky, "--json", file)[1]
    assert out.endswith(f"json      {file}\n")
    assert json.loads(file.read_text())["caches"] == document["caches"]


def test_bad_input_is_one_line(xfeat: Xfeat, leaky: list[Path], tmp_path: Path) -> None:
    refused(xfeat("check", tmp_path / "no"), "no does not exist: not a feature cache")
    refused(xfeat("check", leaky[0], leaky[0]), "is given twice")
    refused(xfeat("check", leaky[0], "--near", "1.5"), "--near 1.5: a cosine from 0 to 1")
    refused(xfeat("check", leaky[0], "--json", tmp_path / "no" / "x.json"), "does not exist")
    clean().write(tmp_path, shard_rows=16)
    shard = tmp_path / "image" / "00001.h5"
    shard.write_bytes(shard.read_bytes()[:-100])
    refused(xfeat("check", tmp_path / "image"), "00001.h5")


def test_training_warns_in_a_few_lines_and_goes_on(xfeat: Xfeat, leaky: list[Path], tmp_path: Path) -> None:
    code, out, err = xfeat("train", "cca", *leaky, "--out", tmp_path / "run")
    assert code == 0
    assert "Next: xfeat eval" in out
    assert err.splitlines() == [
        "warning: leak: 1 of 120 pair keys has rows in different splits",
        "warning: leak: image: 1 of 40 test rows equals a train row",
        "warning: leak: image: 1 of 40 test rows is nearly a train row",
        "note: 3 more findings, examples and what to do: xfeat check CACHE...",
    ]
