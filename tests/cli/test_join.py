import json
import shutil
from pathlib import Path

import pytest

from tests.cli.asking import QUICK, refused
from tests.cli.conftest import Xfeat
from tests.training.building import blobs, files


@pytest.fixture
def apart(xfeat: Xfeat, caches: dict[str, Path], trained: Path, tmp_path: Path) -> Path:
    """A run of audio against the prior that the run of image and text exported."""
    file = tmp_path / "prior.safetensors"
    assert xfeat("prior", "export", trained, "--out", file)[0] == 0
    words = (*QUICK, "--set", f"prior={file}", "--seed", 7)
    assert xfeat("train", "drcl", caches["audio"], "--out", tmp_path / "apart", *words)[0] == 0
    return tmp_path / "apart"


def test_branches_trained_apart_are_evaluated_together(
    xfeat: Xfeat, trained: Path, apart: Path, tmp_path: Path
) -> None:
    out = tmp_path / "joined"
    code, printed, err = xfeat("join", trained, apart, "--out", out)
    assert code == 0
    assert err == f"note: {apart} differs from {trained}: seed: 0 -> 7; each branch keeps its own settings\n"
    assert printed.splitlines()[0].startswith("2 runs joined: 3 branches against the prior ")
    assert printed.splitlines()[-2:] == [f"run       {out}", f"Next: xfeat eval {out}"]
    document = json.loads(xfeat("eval", out, "--json", "-")[1])
    alone = json.loads(xfeat("eval", trained, "--json", "-")[1])
    assert len(document["pairs"]) == 6
    for pair, metrics in alone["pairs"].items():
        assert document["pairs"][pair] == metrics
    assert document["pairs"]["image->audio"]["mAP@all"] > 0.5


def test_a_newcomer_joins_the_joined(xfeat: Xfeat, trained: Path, apart: Path, tmp_path: Path) -> None:
    out = tmp_path / "joined"
    assert xfeat("join", apart, trained, "--out", out)[0] == 0
    before = files(out / "branches")
    video = blobs("video").write(tmp_path / "video").path
    code, printed, _ = xfeat("add", video, "--run", out)
    assert code == 0
    assert "its own prior scores" in printed.lower()
    after = files(out / "branches")
    assert {name: after[name] for name in before} == before
    assert len(json.loads(xfeat("eval", out, "--json", "-")[1])["pairs"]) == 12


def test_branches_that_embed_in_different_ways_do_not_join(
    xfeat: Xfeat, caches: dict[str, Path], trained: Path, tmp_path: Path
) -> None:
    words = (*QUICK, "--set", f"prior={trained / 'prior.safetensors'}", "--set", "embedding=unit")
    assert xfeat("train", "drcl", caches["audio"], "--out", tmp_path / "unit", *words)[0] == 0
    asked = xfeat("join", trained, tmp_path / "unit", "--out", tmp_path / "joined")
    refused(asked, "embed in different ways", "recast", "unit")
    assert not (tmp_path / "joined").exists()


def test_a_cache_that_is_elsewhere_is_said(xfeat: Xfeat, trained: Path, apart: Path, tmp_path: Path) -> None:
    config = apart / "config.yaml"
    text = "".join(
        f"    {line.split()[0]} /nowhere/audio\n" if line.split()[0] in ("cache:", "relative:") else line
        for line in config.read_text().splitlines(keepends=True)
    )
    config.write_text(text)
    code, _, err = xfeat("join", trained, apart, "--out", tmp_path / "j")
    assert code == 0
    assert "note: the cache of audio is not here" in err
    refused(xfeat("eval", tmp_path / "j"), "the cache of audio is no longer at /nowhere/audio")


def test_bad_input_is_one_line(
    xfeat: Xfeat, trained: Path, apart: Path, caches: dict[str, Path], tmp_path: Path
) -> None:
    out = ("--out", tmp_path / "j")
    refused(xfeat("join", trained, *out), "two runs or more")
    refused(xfeat("join", trained, caches["audio"], *out), "not a run")
    shutil.copytree(trained, tmp_path / "copy")
    refused(xfeat("join", trained, tmp_path / "copy", *out), "modality 'image' is in")
    refused(xfeat("join", trained, apart, "--out", apart), "holds something already")
    assert xfeat("train", "drcl", caches["audio"], "--out", tmp_path / "own", *QUICK)[0] == 0
    refused(xfeat("join", trained, tmp_path / "own", *out), "different priors", "xfeat prior export", "--set prior=")
    assert not (tmp_path / "j").exists()
