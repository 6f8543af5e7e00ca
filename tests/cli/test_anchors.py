import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.asking import refused
from tests.cli.conftest import Xfeat
from tests.training.anchors_building import edit_anchors, train_tiny, write_media, write_views
from xfeat.cli.anchors import bars, levels
from xfeat.training.group import write_group
from xfeat.training.sspc_store import load_gated


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("paired")
    train_tiny(write_views(folder / "caches", "image", "strokes"), folder / "run")
    return folder / "run"


@pytest.fixture
def run(paired: Path, tmp_path: Path) -> Path:
    shutil.copytree(paired, tmp_path / "run")
    return tmp_path / "run"


def test_show_says_what_anchors_hold(xfeat: Xfeat, run: Path) -> None:
    code, out, err = xfeat("anchors", "show", run)
    assert (code, err) == (0, "")
    document = json.loads(xfeat("anchors", "show", run, "--json", "-")[1])
    assert "6 anchors in each space, numbered from 0; a sample holds 3" in out
    assert "split train, averaged weights, seed 0" in out
    for one in document["spaces"]:
        row = next(line for line in out.splitlines() if line.startswith(f"  {one['modality']} {one['space']}"))
        (between,) = one["agreement"].values()
        assert row.split()[2:] == [
            "40",
            str(6 - len(one["never_nearest"])),
            str(len(one["dead"])),
            f"{one['perplexity']:.1f}",
            f"{between['jaccard']:.2f}",
            f"{between['chance']:.2f}",
        ]
    assert out.splitlines()[-1] == f"page      {run / 'anchors.html'}"
    assert (run / "anchors.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert max(map(len, out.splitlines()[1:-1])) <= 80


def test_dead_and_duplicate_anchors_are_named(xfeat: Xfeat, run: Path) -> None:
    # Three anchors one way and three the other.
    head = load_gated(run / "branches" / "image.safetensors").head
    width = head.joint_anchors.shape[1]
    anchors = np.zeros((6, width))
    anchors[[0, 1, 2]] = np.eye(width)[0]
    anchors[[3, 4, 5]] = -np.eye(width)[0]
    edit_anchors(run, "image", "joint", anchors)
    code, out, _ = xfeat("anchors", "show", run, "--modality", "image", "--space", "joint", "--json", run / "a.json")
    assert code == 0
    assert "    duplicates: 0 and 1, 0 and 2, 1 and 2, 3 and 4, 3 and 5, 4 and 5" in out.splitlines()
    assert out.splitlines()[-1] == f"json      {run / 'a.json'}"
    (found,) = json.loads((run / "a.json").read_text())["spaces"]
    # Equal anchors: the first of three is the nearest, all of them are near.
    assert found["never_nearest"] == [1, 2, 4, 5]
    assert found["dead"] == []
    anchors[3:] = anchors[:3]
    edit_anchors(run, "image", "joint", anchors)
    out = xfeat("anchors", "show", run, "--modality", "image", "--space", "joint")[1]
    assert "    dead: 3, 4, 5" in out.splitlines()
    assert "    █_____" in out.splitlines()
    assert "<b>Dead: 3, 4, 5</b>" in (run / "anchors.html").read_text(encoding="utf-8")


def test_samples_of_a_manifest_are_shown(xfeat: Xfeat, tmp_path: Path) -> None:
    views = write_views(tmp_path / "caches", "image", "strokes")
    run = train_tiny(views, tmp_path / "run")
    (tmp_path / "media").mkdir()
    manifest = write_media(tmp_path / "media")
    text = manifest.read_text().splitlines()
    rows = [f"image/{row:03d}," + line.partition(",")[2] for row, line in enumerate(text[1:])]
    (tmp_path / "own.csv").write_text("\n".join(["id,photo,strokes,text,audio", *rows]) + "\n")
    words = ("--manifest", tmp_path / "own.csv", "--root", tmp_path / "media", "--column", "image=photo")
    code, out, err = xfeat("anchors", "show", run, "--out", tmp_path / "p.html", "--examples", 2, *words)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"page      {tmp_path / 'p.html'}"
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == page.count("<symbol")
    assert not (run / "anchors.html").exists()
    # Ids of images are no ids of strokes: they are named, and it is said.
    words = ("--manifest", tmp_path / "own.csv", "--root", tmp_path / "media", "--modality", "strokes")
    code, _, err = xfeat("anchors", "show", run, *words)
    assert code == 0
    assert "are not in" in err


def test_bars_are_rows_of_64() -> None:
    assert bars([0.0, 0.125, 0.5, 1.0, 0.874], "abcdefgh") == ["_behg"]
    assert [len(row) for row in bars([0.01] * 100, "ab")] == [64, 36]


def test_plain_signs_where_blocks_cannot_be_written() -> None:
    assert levels("utf-8") == "▁▂▃▄▅▆▇█"
    for encoding in ("ascii", "latin-1", "no such thing", None):
        assert levels(encoding).isascii()
        assert len(set(levels(encoding))) == 8


def test_bad_input_is_one_line(xfeat: Xfeat, run: Path, trained: Path, caches: dict[str, Path], tmp_path: Path) -> None:
    refused(xfeat("anchors", "show", tmp_path / "no"), "does not exist: not a run")
    refused(xfeat("anchors", "show", trained), f"anchors are SSPC's: {trained} was trained with drcl")
    refused(xfeat("anchors", "show", run, "--modality", "video"), "no modality 'video'")
    refused(xfeat("anchors", "show", run, "--split", "val"), "no rows in split 'val'")
    refused(xfeat("anchors", "show", run, "--out", tmp_path / "no" / "a.html"), "does not exist")
    refused(xfeat("anchors", "show", run, "--out", tmp_path / "a.png"), "ends in .html")
    refused(xfeat("anchors", "show", run, "--column", "image=photo"), "give --manifest FILE too")
    (tmp_path / "m.csv").write_text("id,image\n1,../a.png\n")
    refused(xfeat("anchors", "show", run, "--manifest", tmp_path / "m.csv", "--modality", "image"), "leaves the root")
    refused(xfeat("anchors", "show", run, "--manifest", tmp_path / "m.csv", "--column", "image"), "MODALITY=COLUMN")
    refused(xfeat("anchors", "show", run, "--manifest", tmp_path / "m.csv", "--column", "x=image"), "no modality 'x'")
    write_group(tmp_path / "group", [2, 3], "sspc")
    refused(xfeat("anchors", "show", tmp_path / "group"), f"for example {tmp_path / 'group' / 'seed2'}")
    assert not (run / "anchors.html").exists()
