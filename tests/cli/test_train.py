import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.cli.asking import QUICK, refused
from tests.cli.conftest import Xfeat
from tests.training.building import blobs, files
from xfeat.training.run import Run


def test_training_says_what_it_did_within_80_columns(xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path) -> None:
    code, out, err = xfeat("train", "drcl", caches["image"], caches["text"], "--out", tmp_path / "run", *QUICK)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("DRCL: 2 branches in ")
    assert lines[0].endswith(" s, 3 classes in 12 dimensions")
    prior = json.loads((tmp_path / "run" / "prior.json").read_text())
    for name in ("image", "text"):
        (row,) = [line.split() for line in lines if line.startswith(f"  {name}")]
        note = json.loads((tmp_path / "run" / "branches" / f"{name}.json").read_text())
        assert (row[1] == "*") is (name == prior["chosen"])
        assert f"{prior['candidates'][name]['score']:.3f}" in row
        assert row[-1] == note["sha256"][:8]
        assert row[-2] == f"{note['epoch']}/6"
    assert f"  * the prior, its candidate scored highest when it was chosen ({prior['score']:.3f})" in lines
    assert lines[-2:] == [f"run       {tmp_path / 'run'}", f"Next: xfeat eval {tmp_path / 'run'}"]
    assert max(map(len, lines[:-2])) <= 80


def test_settings_come_from_a_file_and_from_words_and_words_count_first(
    xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "drcl.yaml").write_text("alpha: 0.5\nhidden: 9\nmodality_lr: {image: 2.0e-3}\n")
    words = ("--config", tmp_path / "drcl.yaml", *QUICK, "--set", "gce=false", "--seed", "5", "--device", "cpu")
    assert xfeat("train", "drcl", caches["image"], "--out", tmp_path / "run", *words)[0] == 0
    config = Run(tmp_path / "run").load_config()
    wanted = {"alpha": 0.5, "hidden": 16, "gce": False, "modality_lr": {"image": 0.002}}
    assert {name: config.settings[name] for name in wanted} == wanted
    assert config.seed == 5


def test_a_finished_run_is_kept_and_resumes_to_nothing(
    xfeat: Xfeat, caches: dict[str, Path], trained: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    words = ("train", "drcl", caches["image"], caches["text"], "--out", run)
    before = files(run)
    refused(xfeat(*words, *QUICK), "holds a run already", "--resume")
    refused(xfeat(*words, *QUICK, "--set", "hidden=20", "--resume"), "settings.hidden: 16 -> 20")
    code, out, _ = xfeat(*words, *QUICK, "--resume")
    assert code == 0
    assert out.count("(kept)") == 2
    assert files(run) == before


def test_the_prior_as_set_is_said(xfeat: Xfeat, caches: dict[str, Path], trained: Path, tmp_path: Path) -> None:
    for prior, words in (
        ("candidate:image", "* the prior, as set ("),
        ("ridge", "* the prior, its candidate scored highest when it was chosen ("),
        ("orthogonal", "prior: orthogonal"),
        (f"{trained}/prior.safetensors", "prior: file"),
    ):
        out = tmp_path / prior.replace("/", "-").replace(":", "-")
        code, said, _ = xfeat("train", "drcl", caches["image"], "--out", out, *QUICK, "--set", f"prior={prior}")
        assert code == 0
        assert words in said


def test_bad_words_are_one_line(xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path) -> None:
    image, out = caches["image"], tmp_path / "run"
    for words, message in (
        (("drlc", image), "unknown method 'drlc': did you mean drcl?"),
        (("drcl", image, "--set", "hiden=3"), "unknown setting 'hiden': did you mean hidden?"),
        (("drcl", image, "--set", "gamma=2"), "setting gamma=2"),
        (("drcl", image, "--set", "gamma"), "write key=value"),
        (("drcl", image, "--config", tmp_path / "no.yaml"), "no.yaml does not exist"),
        (("drcl", image, "--device", "tpu"), "device 'tpu': choose auto, cpu, cuda"),
        (("drcl", image, "--device", "cuda:99"), "use --device cpu"),
        (("drcl", image, "--set", "prior=best"), "prior 'best': not spl, orthogonal"),
        (("drcl", image, "--set", "out=2"), "out is 2, but 3 classes"),
        (("drcl", tmp_path / "no"), "no does not exist: not a feature cache"),
        (("drcl", tmp_path), "has no manifest.json: not a feature cache"),
        (("drcl", image, image), "two caches hold modality 'image'"),
    ):
        refused(xfeat("train", *words, "--out", out), message)
    assert xfeat("train", "drcl", image, "--out", out, *QUICK)[0] == 0


def test_bad_data_are_one_line(xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path) -> None:
    text = blobs("text")
    replace(text, labels=np.full(60, -1)).write(tmp_path / "unlabelled")
    replace(text, classes=("cat", "dog", "elk")).write(tmp_path / "other")
    replace(text, labels=None).write(tmp_path / "bare")
    replace(text, split=["test"] * 60).write(tmp_path / "untrained")
    text.write(tmp_path / "cut")
    shard = tmp_path / "cut" / "00001.h5"
    shard.write_bytes(shard.read_bytes()[:700])
    for name, *words in (
        ("unlabelled", "no rows in split 'train' with a label", "40 rows have none"),
        ("other", "share no class"),
        ("bare", "has no labels"),
        ("untrained", "no rows in split 'train'"),
        ("cut", "00001.h5 is truncated or damaged"),
    ):
        result = xfeat("train", "drcl", caches["image"], tmp_path / name, "--out", tmp_path / f"run-{name}", *QUICK)
        refused(result, f"{name}", *words)


def test_a_rate_that_blows_up_is_one_line(xfeat: Xfeat, tmp_path: Path) -> None:
    wild = replace(blobs("image"), features=np.float32(1e30) * blobs("image").features)
    wild.write(tmp_path / "image")
    words = ("train", "drcl", tmp_path / "image", "--out", tmp_path / "run", *QUICK, "--set", "standardize=false")
    words = (*words, "--set", "layers=2")  # one layer and a division by length survive it
    refused(xfeat(*words, "--set", "lr=1e30", "--set", "spl_lr=1e30"), "image spl: ", "not finite", "lower")


def interrupt_after(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real Ctrl-C, at a moment that is always the same: after so many rows of the log."""
    append, left = Run.append_log, [rows]

    def append_and_interrupt(self: Run, row: dict[str, object]) -> None:
        append(self, row)
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Run, "append_log", append_and_interrupt)


@pytest.mark.parametrize("rows", [1, 6, 10, 20])
def test_ctrl_c_is_one_line_and_the_same_command_resumes(
    xfeat: Xfeat, caches: dict[str, Path], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    words = ("train", "drcl", caches["image"], caches["text"], "--out", tmp_path / "run", *QUICK)
    with monkeypatch.context() as patch:
        interrupt_after(rows, patch)
        code, out, err = xfeat(*words)
    assert (code, out) == (130, "")
    assert err.startswith("xfeat: interrupted")
    assert err.count("\n") == 1
    assert xfeat(*words, "--resume")[0] == 0
    assert files(tmp_path / "run" / "branches") == files(trained / "branches")


def test_rows_without_a_label_are_told(xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path) -> None:
    text = blobs("text")
    labels = text.labels.copy()
    labels[[row for row, name in enumerate(text.split) if name == "train"][:3]] = -1
    gaps = replace(text, labels=labels).write(tmp_path / "gaps").path
    code, out, _ = xfeat("train", "drcl", caches["image"], gaps, "--out", tmp_path / "run", *QUICK)
    assert code == 0
    assert [line for line in out.splitlines() if "without a label" in line] == [
        "  note: 3 rows of text without a label left out"
    ]
    (row,) = [line.split() for line in out.splitlines() if line.startswith("  text")]
    assert [word for word in row if word != "*"][2:4] == ["37", "0"]


def test_a_class_without_training_rows_is_told(xfeat: Xfeat, tmp_path: Path) -> None:
    samples = blobs("image")
    split = ["test" if label == 2 else "train" for label in samples.labels]
    cache = replace(samples, split=split).write(tmp_path / "image").path
    code, out, _ = xfeat("train", "drcl", cache, "--out", tmp_path / "run", *QUICK)
    assert code == 0
    lines = out.splitlines()
    told = lines.index(f"  image has no training rows of 1 class: {sorted(samples.classes)[2]}")
    assert lines[told + 1] == "  so retrieval from or to image is unsupported for it"


def test_a_rate_for_a_modality_that_is_not_there_is_told(xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path) -> None:
    rate = ["--set", "modality_lr.imgae=1e-3"]
    code, _, err = xfeat("train", "drcl", caches["image"], "--out", tmp_path / "run", *QUICK, *rate)
    assert code == 0
    assert err == "note: modality_lr.imgae is set, but no cache holds imgae\n"


def test_what_the_system_refuses_is_one_line(xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    refused(xfeat("train", "drcl", caches["image"], "--out", tmp_path / "file" / "run", *QUICK), "Not a directory")
