"""``xfeat train`` of the baselines, and what other commands make of their runs."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.cli.asking import QUICK, refused
from tests.cli.conftest import Xfeat
from tests.training.building import blobs, files
from tests.training.ciim_building import without_class
from tests.training.paired_building import paired
from xfeat.methods.registry import METHODS
from xfeat.training.group import claim_group
from xfeat.training.run import Run


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("method", "title", "told"),
    [
        ("cca", "CCA: 2 modalities in ", "  matched by 3 classes; correlations 0."),
        ("semantic-matching", "Semantic matching: 2 modalities in ", "  class posteriors, compared by cosine"),
        ("ridge", "Ridge regression: 2 modalities in ", "  label scores, compared by cosine"),
    ],
)
def test_a_baseline_is_trained_told_and_evaluated(
    xfeat: Xfeat, caches: Mapping[str, Path], tmp_path: Path, method: str, title: str, told: str
) -> None:
    out = tmp_path / "run"
    words = ("train", method, caches["image"], caches["text"], "--out", out)
    code, said, err = xfeat(*words)
    assert (code, err) == (0, "")
    lines = said.splitlines()
    assert lines[0].startswith(title)
    note = json.loads((out / "branches" / "text.json").read_text())
    (row,) = (line.split() for line in lines if line.startswith("  text"))
    assert row == ["text", "7", "40", str(note["out_dim"]), note["sha256"][:8]]
    assert any(line.startswith(told) for line in lines)
    assert "  does not depend on the seed" in lines
    assert lines[-2:] == [f"run       {out}", f"Next: xfeat eval {out}"]
    assert max(map(len, lines[:-2])) <= 80
    code, said, _ = xfeat("eval", out, "--json", tmp_path / "found.json")
    assert code == 0
    assert "protocol category (relevant: same class), cosine, split test" in said
    assert json.loads((tmp_path / "found.json").read_text())["mean"]["mAP@all"] > 0.8
    refused(xfeat(*words), "holds a run already: continue it with --resume")
    before = files(out)
    code, said, _ = xfeat(*words, "--resume")
    assert (code, said.count("(kept)")) == (0, 2)
    assert files(out) == before
    refused(xfeat("add", caches["audio"], "--run", out), f"was trained with {method}, which cannot be added to")


def test_raw_features_are_a_group_of_equal_runs_with_a_report(xfeat: Xfeat, tmp_path: Path) -> None:
    made = [cache.path for cache in paired(tmp_path, "video", "touch", classes=("ant", "bee", "cow"))]
    out = tmp_path / "runs"
    code, said, err = xfeat("train", "raw", *made, "--out", out, "--seeds", "0-1")
    assert (code, err) == (0, "")
    assert said.startswith("Raw features: 2 modalities, 2 seeds in ")
    assert "  features as they are" in said.splitlines()
    code, said, _ = xfeat("eval", out)
    assert code == 0
    assert "2 seeds, mean +- standard deviation: 0, 1" in said
    code, _, err = xfeat("report", out, "--out", tmp_path / "report.html")
    assert code == 0, err
    assert "features as they are" in (tmp_path / "report.html").read_text()


def test_drcl_against_an_orthogonal_prior_is_a_method_that_is_added_to(
    xfeat: Xfeat, caches: Mapping[str, Path], tmp_path: Path
) -> None:
    two, runs = (caches["image"], caches["text"]), {}
    short = [*QUICK, "--set", "epochs=1"]
    for name, words in (("orthogonal", short), ("drcl", [*short, "--set", "prior=orthogonal"])):
        runs[name] = tmp_path / name
        assert xfeat("train", name, *two, "--out", runs[name], *words, "--device", "cpu")[0] == 0
        assert Run(runs[name]).load_config().method == name
    for part in ("branches", "prior.safetensors"):
        folder = runs["orthogonal"]
        assert files(folder, f"{part}*") == files(runs["drcl"], f"{part}*")
    assert files(runs["orthogonal"] / "branches") == files(runs["drcl"] / "branches")
    assert xfeat("add", caches["audio"], "--run", runs["orthogonal"])[0] == 0
    assert "audio->text" in xfeat("eval", runs["orthogonal"])[1]
    assert xfeat("prior", "show", runs["orthogonal"])[0] == 0
    refused(
        xfeat("train", "orthogonal", *two, "--out", tmp_path / "no", "--set", "prior=spl"),
        "setting prior='spl': input should be 'orthogonal'",
    )
    group = tmp_path / "group"
    claim_group(group, [0, 1], "drcl", resume=False)
    words = ("train", "orthogonal", *two, "--out", group, *QUICK, "--seeds", "0-1", "--resume")
    refused(xfeat(*words), "was started with drcl and seeds [0, 1]")


def test_what_plays_no_part_is_told(xfeat: Xfeat, tmp_path: Path) -> None:
    image, text = blobs("image"), without_class(blobs("text"), "ant")
    labels = image.labels.copy()
    mine = [row for row, split in enumerate(image.split) if split == "train" and labels[row] == 2][:3]
    labels[mine] = -1
    made = [one.write(tmp_path / one.modality).path for one in (replace(image, labels=labels), text)]
    code, said, _ = xfeat("train", "cca", *made, "--out", tmp_path / "run")
    assert code == 0
    ants = sum(label == 0 and split == "train" for label, split in zip(image.labels, image.split, strict=True))
    assert "  note: 3 rows of image without a label left out" in said
    assert f"  note: {ants} rows of image left out, whose class no other modality has" in said
    assert "classes without training rows: image 1 (ant); text 1 (ant)" in said
    assert max(map(len, said.splitlines()[:-2])) <= 80


def test_bad_words_are_one_line(xfeat: Xfeat, caches: Mapping[str, Path], tmp_path: Path) -> None:
    image, text, out = caches["image"], caches["text"], tmp_path / "run"
    for words, message in (
        (("raw", image, text), "must have one width to be compared: image 12, text 7 dimensions"),
        (("cca", image), "CCA needs two modalities or more, got image"),
        (("cca", image, text, "--set", "match=pairs"), "setting match='pairs'"),
        (("cca", image, text, "--set", "dim=3"), "unknown setting 'dim': did you mean dims"),
        (("ridge", image, text, "--set", "penalty=0"), "setting penalty=0"),
        (("semantic-matchin", image, text), "unknown method 'semantic-matchin': did you mean semantic-matching?"),
        (("cca", image, text, "--config", "wikipedia"), "config wikipedia is for drcl, not for cca"),
    ):
        refused(xfeat("train", *words, "--out", out), message)
        assert not out.exists()


def test_methods_come_before_baselines(xfeat: Xfeat) -> None:
    lines = xfeat("methods")[1].splitlines()
    at = lines.index("Baselines, which any method should beat:")
    for name, method in METHODS.items():
        (place,) = (number for number, line in enumerate(lines) if line.startswith(f"{name}: "))
        assert (place > at) == method.baseline
