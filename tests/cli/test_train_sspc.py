"""``xfeat train sspc`` and what other commands say to its runs."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from tests.cli.asking import QUICK, refused
from tests.cli.conftest import Xfeat
from tests.training.building import files, write_blobs
from tests.training.paired_building import TINY, View, constant, paired, strange, unpaired, untrained, views
from xfeat.cache import FeatureCache
from xfeat.methods.sspc_settings import SspcSettings
from xfeat.training.group import claim_group
from xfeat.training.loading import load_branch
from xfeat.training.run import Run
from xfeat.training.sspc import train

TINY_WORDS = [
    word
    for name, value in TINY.model_dump(exclude_none=True).items()
    if value != SspcSettings.model_fields[name].default
    for word in ("--set", f"{name}={value}")
]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Caches of image and text, two captions each, to read only."""
    made = paired(tmp_path_factory.mktemp("paired"), "image", "text", captions={"text": 2}, classes=("a/x", "a/y", "b"))
    return [cache.path for cache in made]


@pytest.fixture(scope="module")
def run(two: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, to read only."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("runs") / "run"
    train([FeatureCache(cache) for cache in two], path, TINY)
    return path


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_a_run_is_trained_told_and_evaluated(xfeat: Xfeat, two: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("train", "sspc", *two, "--out", out, *TINY_WORDS, "--device", "cpu")
    code, said, err = xfeat(*words)
    assert (code, err) == (0, "")
    lines = said.splitlines()
    assert lines[0].startswith("SSPC: 2 modalities together in ")
    assert lines[0].endswith("40 instances")
    rows = {line.split()[0]: line.split() for line in lines if line.split()[:1] in (["image"], ["text"])}
    notes = {name: json.loads((out / "branches" / f"{name}.json").read_text()) for name in rows}
    assert rows["text"][1:] == ["7", "80", "40", notes["text"]["sha256"][:8]]
    assert rows["image"][1:4] == ["12", "40", "40"]
    assert "6 anchors in each space, 3 for each sample" in said
    assert "epoch 4 of 4" in said
    assert lines[-2:] == [f"run       {out}", f"Next: xfeat eval {out}"]
    assert xfeat("eval", out)[0] == 0
    refused(xfeat(*words), "holds a run already: continue it with --resume")
    before = files(out)
    code, said, _ = xfeat(*words, "--resume")
    assert (code, said.count("(kept)")) == (0, 2)
    assert files(out) == before


def test_what_was_left_out_is_told(xfeat: Xfeat, tmp_path: Path) -> None:
    caches = [
        cache.path for cache in paired(tmp_path, "image", "text", missing={"text": 0.3}, classes=("a/x", "a/y", "b"))
    ]
    out = tmp_path / "run"
    set_ = ["--set", "classes=[a/*]", "--set", "beta=0", "--set", "batch_size=8"]
    code, said, _ = xfeat("train", "sspc", *caches, "--out", out, *TINY_WORDS, *set_)
    assert code == 0
    note = json.loads((out / "branches" / "image.json").read_text())
    assert note["alone_rows"] > 1
    assert note["outside_rows"] > 1
    left_out = [
        f"note: {note['alone_rows']} rows of image left out, whose key no other modality has",
        f"2 classes trained on, {note['outside_rows']} rows of others left out",
    ]
    assert all(line in said for line in left_out)
    assert "contrastive only" in said
    code, said, _ = xfeat("train", "sspc", *caches, "--out", tmp_path / "group", *TINY_WORDS, *set_, "--seeds", "0")
    assert code == 0
    assert all(line in said for line in left_out)


def test_long_names_of_modalities_fit(xfeat: Xfeat, tmp_path: Path) -> None:
    names = [f"a_modality_with_a_name_of_48_characters_number_{number}" for number in (1, 2)]
    caches = [cache.path for cache in paired(tmp_path / "c", *names)]
    code, said, _ = xfeat("train", "sspc", *caches, "--out", tmp_path / "run", *TINY_WORDS)
    assert code == 0
    table = [line for line in said.splitlines() if line.startswith("  ")]
    assert max(map(len, table)) <= 80
    assert [line.split()[0] for line in table if "..." in line] == [f"{name[:18]}...{name[-6:]}" for name in names]


def test_seeds_become_a_group_that_is_evaluated_and_goes_on_where_it_stopped(
    xfeat: Xfeat, two: list[Path], run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    claim_group(out, [0, 1], "sspc", resume=False)  # an earlier command finished seed 0
    shutil.copytree(run, out / "seed0")
    before = files(out)
    words = ["train", "sspc", *two, "--out", out, *TINY_WORDS, "--device", "cpu", "--seeds", "0-1", "--resume"]
    code, said, err = xfeat(*words)
    assert (code, err) == (0, "")
    lines = said.splitlines()
    assert lines[0].startswith("SSPC: 2 seeds of 2 modalities in ")
    assert [line.split()[:2] for line in lines if line.split()[:1] in (["0"], ["1"])] == [["0", "4/4"], ["1", "4/4"]]
    assert lines[-2:] == [f"group     {out}", f"Next: xfeat eval {out}"]
    assert files(out).items() >= before.items()

    alone = tmp_path / "alone"
    assert xfeat("train", "sspc", *two, "--out", alone, *TINY_WORDS, "--seed", "1")[0] == 0
    features = FeatureCache(two[1]).load().features
    found, same, other = (
        load_branch(path / "branches" / "text.safetensors").embed(features, torch.device("cpu"))
        for path in (out / "seed1", alone, run)
    )
    torch.testing.assert_close(found, same, atol=1e-3, rtol=1e-3)  # the number of threads decides the last bits
    assert (found - other).abs().max() > 0.1

    code, said, _ = xfeat("eval", out)
    assert code == 0
    assert "2 seeds, mean +- standard deviation: 0, 1" in said


def test_bad_words_are_one_line(xfeat: Xfeat, two: list[Path], tmp_path: Path) -> None:
    image, text, out = *two, tmp_path / "run"
    for words, message in (
        ((image,), "SSPC needs two modalities or more, got image"),
        ((image, text, image), "two caches hold modality 'image'"),
        ((*two, "--set", "anchor=3"), "unknown setting 'anchor': did you mean anchors"),
        ((*two, "--set", "eps=0"), "setting eps=0"),
        ((*two, "--set", "cost_temperature=0.001"), "setting cost_temperature=0.001"),
        ((*two, "--set", "modality_weight.audio=0.1"), "modality_weight.audio is set, but the caches hold image, text"),
        ((*two, "--set", "depth=1", "--set", "heads=5"), "heads=5 do not divide input_dim=16"),
        ((*two, "--set", "required=7"), "required=7 anchors of 6"),
        ((*two, "--set", "batch_size=41"), "batch_size=41 is larger than the 40 training instances"),
        ((*two, "--set", "weights=ema", "--set", "ema=0"), "weights=ema, but ema=0 keeps no averaged weights"),
        ((*two, "--set", "memory=1K"), "raise it (--set memory=...)"),
        ((*two, "--set", "classes=[c]"), "'c' is no class of the caches (there is a/x, a/y, b)"),
        ((*two, "--set", "classes=[a/*, z*]"), "'z*' is no class"),
        ((*two, "--set", "alpha=0", "--set", "beta=0"), "alpha=0 and beta=0 leave nothing to train for"),
        ((*two, "--set", "modality_weight.text=0"), "every pair of modalities the weight 0"),
        ((*two, "--config", "wikipedia"), "config wikipedia is for drcl, not for sspc"),
        ((*two, "--set", "select=best", "--set", "queue=500"), "the queue of 500 samples never fills with image"),
    ):
        refused(xfeat("train", "sspc", "--out", out, *TINY_WORDS, *words), message)
        assert not out.exists(), "a training that cannot start leaves nothing behind"
    refused(xfeat("train", "sspc", *two, "--out", out, *TINY_WORDS, "--set", "lr=1e30"), "sspc: ", "lower")
    assert not (out / "branches").exists()


def test_bad_data_are_one_line(xfeat: Xfeat, tmp_path: Path) -> None:
    def cut(one: View) -> View:
        return one

    made = views("image", "text")
    image = made["image"].write(tmp_path / "image").path
    for change, message in (
        (unpaired, "has no pair keys: this method needs them"),
        (strange, "no pair key is in two modalities"),
        (constant, "the features of text are the same in all 40 training rows"),
        (untrained, "no rows in split 'train' (splits there: test)"),
        (cut, "is truncated or damaged"),
    ):
        path = tmp_path / change.__name__
        change(made["text"]).write(path, shard_rows=20)
        if change is cut:
            shard = path / "00001.h5"
            shard.write_bytes(shard.read_bytes()[:700])
        out = tmp_path / f"run-{change.__name__}"
        refused(xfeat("train", "sspc", image, path, "--out", out, *TINY_WORDS), message)
        assert not out.exists()


def test_words_that_yaml_reads_as_something_else(xfeat: Xfeat, two: list[Path], tmp_path: Path) -> None:
    words = (
        "--out",
        tmp_path / "run",
        *TINY_WORDS,
        "--set",
        "tokens=off",
        "--set",
        "classes=b",
        "--set",
        "batch_size=4",
    )
    code, _, err = xfeat("train", "sspc", *two, *words)
    assert (code, err) == (0, "")


def test_a_group_that_is_there_is_not_begun_again(xfeat: Xfeat, two: list[Path], tmp_path: Path) -> None:
    claim_group(tmp_path, [0, 1], "sspc", resume=False)
    words = ("train", "sspc", two[0], "--out", tmp_path, *TINY_WORDS, "--seeds", "0-1")
    refused(xfeat(*words), "holds a group already: continue it with --resume")


def test_eval_says_that_some_classes_were_trained_on(xfeat: Xfeat, two: list[Path], tmp_path: Path) -> None:
    words = (*two, "--out", tmp_path / "run", *TINY_WORDS, "--set", "classes=b", "--set", "batch_size=4")
    assert xfeat("train", "sspc", *words)[0] == 0
    assert "trained on 1 of 3 classes" in xfeat("eval", tmp_path / "run")[2]
    assert "trained on" not in xfeat("eval", tmp_path / "run", "--classes", "seen")[2]


def test_ctrl_c_is_one_line_and_the_same_command_resumes(
    xfeat: Xfeat, two: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "sspc", *two, *TINY_WORDS)
    assert xfeat(*words, "--out", tmp_path / "whole")[0] == 0
    append = Run.append_log

    def append_and_interrupt(self: Run, row: dict[str, object]) -> None:
        append(self, row)
        if row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "append_log", append_and_interrupt)
        code, out, err = xfeat(*words, "--out", tmp_path / "run")
    assert (code, out) == (130, "")
    assert err.startswith("xfeat: interrupted")
    assert err.count("\n") == 1
    assert xfeat(*words, "--out", tmp_path / "run", "--resume")[0] == 0
    assert files(tmp_path / "run" / "branches") == files(tmp_path / "whole" / "branches")


def test_commands_for_runs_of_another_method_refuse_in_one_line(
    xfeat: Xfeat, two: list[Path], run: Path, tmp_path: Path
) -> None:
    (audio,) = write_blobs(tmp_path, "audio")
    other, drcl = tmp_path / "other", tmp_path / "drcl"
    train(paired(tmp_path, "video", "touch", classes=("a/x", "a/y", "b")), other, TINY)
    assert xfeat("train", "drcl", audio.path, "--out", drcl, *QUICK)[0] == 0
    before = files(run)
    for words in (
        ("add", audio.path, "--run", run),
        ("add-class", *two, "--run", run, "--out", tmp_path / "grown"),
        ("join", run, other, "--out", tmp_path / "joined"),
        ("join", drcl, run, "--out", tmp_path / "joined"),
        ("prior", "show", run),
    ):
        code, _, err = xfeat(*words)
        assert code == 2, (words, err)
        assert err.startswith("xfeat: "), (words, err)
        assert err.count("\n") == 1, (words, err)
        print(err)
        assert "sspc" in err.lower()
    assert files(run) == before
    assert not (tmp_path / "joined").exists()
    assert not (tmp_path / "grown").exists()
