"""``xfeat train ciim``, ``xfeat add`` to its runs, and what other commands say to them."""

import json
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.cli.asking import QUICK, refused
from tests.cli.conftest import Xfeat
from tests.training.building import blobs, files, multi_label_blobs
from tests.training.ciim_building import TINY, without_class
from tests.training.paired_building import TINY as SSPC_TINY
from tests.training.paired_building import paired
from xfeat.cache import FeatureCache
from xfeat.training.ciim import train
from xfeat.training.group import claim_group
from xfeat.training.loading import load_branch
from xfeat.training.run import Run
from xfeat.training.sspc import train as train_sspc

# All of them, whatever the defaults are.
TINY_WORDS = [
    word
    for name, value in TINY.model_dump(exclude_none=True).items()
    if name not in ("classes", "memory")
    for word in ("--set", f"{name}={value}")
]


@pytest.fixture(scope="module")
def run(caches: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of image and text, to read only."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("runs") / "run"
    train([FeatureCache(caches["image"]), FeatureCache(caches["text"])], path, TINY)
    return path


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def rows(said: str, *names: str) -> dict[str, list[str]]:
    """Words of the table's rows, by the first."""
    table = [line.split() for line in said.splitlines() if line.startswith("  ")]
    return {words[0]: words for words in table if words[0] in names}


def test_a_run_is_trained_told_and_evaluated(
    xfeat: Xfeat, caches: Mapping[str, Path], run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ("train", "ciim", caches["image"], caches["text"], "--out", out, *TINY_WORDS, "--device", "cpu")
    code, said, err = xfeat(*words)
    assert (code, err) == (0, "")
    lines = said.splitlines()
    assert lines[0].startswith("CIIM: 2 modalities together in ")
    notes = {name: json.loads((out / "branches" / f"{name}.json").read_text()) for name in ("image", "text")}
    found = rows(said, "image", "text")
    assert found["text"][1:] == ["7", "40", "0", notes["text"]["sha256"][:8]]
    assert found["image"][1:4] == ["12", "40", "0"]
    assert "  epoch 4 of 4, batches of 3 classes x 4 rows of every modality" in lines
    assert "  without: " not in said
    assert lines[-2:] == [f"run       {out}", f"Next: xfeat eval {out}"]
    assert max(map(len, lines[:-2])) <= 80
    assert files(out / "branches") == files(run / "branches"), "as from Python"
    code, said, _ = xfeat("eval", out)
    assert code == 0
    assert "image->text" in said
    refused(xfeat(*words), "holds a run already: continue it with --resume")
    before = files(out)
    code, said, _ = xfeat(*words, "--resume")
    assert (code, said.count("(kept)")) == (0, 2)
    assert max(map(len, said.splitlines()[:-2])) <= 80
    assert files(out) == before


def test_what_was_left_out_is_told(xfeat: Xfeat, tmp_path: Path) -> None:
    image, text = blobs("image"), without_class(blobs("text"), "ant")
    labels = image.labels.copy()
    mine = [row for row, split in enumerate(image.split) if split == "train" and labels[row] != 2][:3]
    labels[mine] = -1
    made = [one.write(tmp_path / one.modality).path for one in (replace(image, labels=labels), text)]
    words = ("--set", "classes=[ant, bee]", "--set", "within=0")
    code, said, _ = xfeat("train", "ciim", *made, "--out", tmp_path / "run", *TINY_WORDS, *words)
    assert code == 0
    outside = sum(
        json.loads(file.read_text())["outside_rows"] for file in (tmp_path / "run" / "branches").glob("*.json")
    )
    assert outside > 20
    assert "  note: 3 rows of image without a label left out" in said
    assert f"  2 classes trained on, {outside} rows of others left out" in said
    assert "  text has no training rows of 1 class: ant" in said
    assert max(map(len, said.splitlines()[:-2])) <= 80


@pytest.mark.parametrize(
    ("words", "off"),
    [
        (["intervention=false"], "the intervention with its properties"),
        (["pairs=0", "separation=0", "sufficiency=0"], "pairs, sufficiency, separation"),
        (["hybrid=0"], "hybrid, interaction"),
        (["single=0", "interaction=0"], "single, interaction"),
    ],
)
def test_what_took_no_part_is_told(
    xfeat: Xfeat, caches: Mapping[str, Path], tmp_path: Path, words: list[str], off: str
) -> None:
    more = [part for word in words for part in ("--set", word)]
    asked = (caches["image"], caches["text"], "--out", tmp_path / "run", *TINY_WORDS, "--set", "epochs=1", *more)
    code, said, _ = xfeat("train", "ciim", *asked)
    assert code == 0
    assert f"  without: {off}" in said.splitlines()


def test_long_names_of_modalities_fit(xfeat: Xfeat, tmp_path: Path) -> None:
    names = [f"a_modality_with_a_name_of_48_characters_number_{number}" for number in (1, 2, 3)]
    made = [blobs(name).write(tmp_path / str(number)).path for number, name in enumerate(names)]
    code, said, _ = xfeat("train", "ciim", *made[:2], "--out", tmp_path / "run", *TINY_WORDS)
    assert code == 0
    table = [line for line in said.splitlines() if line.startswith("  ")]
    assert max(map(len, table)) <= 80
    assert [line.split()[0] for line in table if "..." in line] == [f"{name[:18]}...{name[-6:]}" for name in names[:2]]
    code, said, _ = xfeat("add", made[2], "--run", tmp_path / "run")
    assert code == 0
    assert max(len(line) for line in said.splitlines() if line.startswith("  ")) <= 80


def test_seeds_become_a_group_that_is_evaluated_and_goes_on_where_it_stopped(
    xfeat: Xfeat, caches: Mapping[str, Path], run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    claim_group(out, [0, 1], "ciim", resume=False)  # an earlier command finished seed 0
    shutil.copytree(run, out / "seed0")
    before = files(out)
    two = (caches["image"], caches["text"])
    words = ["train", "ciim", *two, "--out", out, *TINY_WORDS, "--device", "cpu", "--seeds", "0-1", "--resume"]
    code, said, err = xfeat(*words)
    assert (code, err) == (0, "")
    lines = said.splitlines()
    assert lines[0].startswith("CIIM: 2 seeds of 2 modalities in ")
    assert rows(said, "0", "1") == {"0": ["0", "4/4"], "1": ["1", "4/4"]}
    assert "  batches of 3 classes x 4 rows of every modality" in lines
    assert lines[-2:] == [f"group     {out}", f"Next: xfeat eval {out}"]
    assert files(out).items() >= before.items()

    alone = tmp_path / "alone"
    assert xfeat("train", "ciim", *two, "--out", alone, *TINY_WORDS, "--seed", "1")[0] == 0
    features = FeatureCache(caches["text"]).load().features
    found, same, other = (
        load_branch(path / "branches" / "text.safetensors").embed(features, torch.device("cpu"))
        for path in (out / "seed1", alone, run)
    )
    torch.testing.assert_close(found, same, atol=1e-3, rtol=1e-3)  # the number of threads decides the last bits
    assert (found - other).abs().max() > 0.1

    code, said, _ = xfeat("eval", out)
    assert code == 0
    assert "2 seeds, mean +- standard deviation: 0, 1" in said
    refused(xfeat("add", caches["audio"], "--run", out), f"{out} is a group of seeds: name one of its runs")
    resumed = xfeat("train", "ciim", *two, "--out", out, *TINY_WORDS, "--resume")
    refused(resumed, "holds a group of seeds: continue it with its --seeds")


def test_a_newcomer_joins_and_no_other_file_of_a_branch_changes(
    xfeat: Xfeat, caches: Mapping[str, Path], run: Path, tmp_path: Path
) -> None:
    own = tmp_path / "run"
    shutil.copytree(run, own)
    before = files(own)
    code, out, err = xfeat("add", caches["audio"], "--run", own)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("CIIM: 1 modality in ")
    assert rows(out, "audio")["audio"][1:4] == ["5", "40", "0"]
    assert "  without: " not in out, "separation has no meaning for one modality alone"
    assert "audio joined against the run's hybrid proxies; no other branch was touched." in lines
    assert lines[-1] == f"Next: xfeat eval {own}"
    after = files(own)
    assert after.keys() - before.keys() == {"branches/audio.json", "branches/audio.safetensors"}
    assert {name for name in before if after[name] != before[name]} == {"config.yaml", "log.jsonl"}
    code, said, _ = xfeat("eval", own)
    assert code == 0
    assert "audio->text" in said
    refused(xfeat("add", caches["audio"], "--run", own), "has a modality 'audio' already")
    two = (caches["image"], caches["text"])
    assert xfeat("train", "ciim", *two, "--out", own, *TINY_WORDS, "--resume")[0] == 0
    assert files(own) == after


def test_adding_says_what_it_cannot_do_in_one_line(
    xfeat: Xfeat, caches: Mapping[str, Path], run: Path, tmp_path: Path
) -> None:
    sspc, own, audio = tmp_path / "sspc", tmp_path / "run", caches["audio"]
    train_sspc(paired(tmp_path / "p", "video", "touch", classes=("ant", "bee", "cow")), sspc, SSPC_TINY)
    shutil.copytree(run, own)
    strange = replace(blobs("video"), classes=("ant", "bee", "dog")).write(tmp_path / "strange").path
    before = files(tmp_path)
    refused(xfeat("add", audio, "--run", sspc), "was trained with sspc, which cannot be added to")
    refused(xfeat("add", audio, "--run", tmp_path / "no"), "does not exist: not a run")
    refused(xfeat("add", tmp_path / "no", "--run", own), "not a feature cache")
    refused(xfeat("add", caches["text"], "--run", own), "has a modality 'text' already")
    refused(xfeat("add", strange, "--run", own), "the run does not know 'dog'")
    assert files(tmp_path).items() >= before.items()
    (own / "shared.safetensors").write_bytes(b"")
    refused(xfeat("add", audio, "--run", own), "is not finished (no whole shared.safetensors)", "--resume")
    refused(xfeat("eval", own), "shared.safetensors is not a whole safetensors file")


def test_bad_words_and_bad_data_are_one_line(xfeat: Xfeat, caches: Mapping[str, Path], tmp_path: Path) -> None:
    image, text, out = caches["image"], caches["text"], tmp_path / "run"
    several = multi_label_blobs("audio").write(tmp_path / "several").path
    bare = replace(blobs("audio"), labels=None).write(tmp_path / "bare").path
    for words, message in (
        ((image,), "CIIM needs two modalities or more, got image"),
        ((image, text, image), "two caches hold modality 'image'"),
        ((image, several), "CIIM needs one class a row; drcl takes several"),
        ((image, bare), "has no labels"),
        ((image, text, "--set", "hybird=3"), "unknown setting 'hybird': did you mean hybrid"),
        ((image, text, "--set", "scale=0"), "setting scale=0"),
        ((image, text, "--set", "memory=1K"), "raise it (--set memory=...)"),
        ((image, text, "--set", "classes=[dog]"), "'dog' is no class of the caches (there is ant, bee, cow)"),
        ((image, text, "--set", "classes=ant"), "1 class to train on: a metric needs two or more"),
        ((image, text, "--set", "single=0", "--set", "hybrid=0", "--set", "pairs=0"), "leave nothing to train for"),
        ((image, text, "--config", "wikipedia"), "config wikipedia is for drcl, not for ciim"),
        ((image, text, "--seeds", "0-1", "--set", "classes=ant"), "1 class to train on"),
    ):
        refused(xfeat("train", "ciim", "--out", out, *TINY_WORDS, *words), message)
        assert not out.exists(), "a training that cannot start leaves nothing behind"
    refused(xfeat("train", "ciim", image, text, "--out", out, *TINY_WORDS, "--set", "lr=1e30"), "ciim: ", "lower")
    assert not (out / "branches").exists()


def test_class_names_that_look_alike_are_noted(xfeat: Xfeat, caches: Mapping[str, Path], tmp_path: Path) -> None:
    text = replace(blobs("text"), classes=("Ant", "bee", "cow")).write(tmp_path / "text").path
    code, _, err = xfeat("train", "ciim", caches["image"], text, "--out", tmp_path / "run", *TINY_WORDS)
    assert code == 0
    assert "note: class 'ant' of image and 'Ant' of text count as two classes" in err


def test_eval_says_that_some_classes_were_trained_on(xfeat: Xfeat, caches: Mapping[str, Path], tmp_path: Path) -> None:
    words = (caches["image"], caches["text"], "--out", tmp_path / "run", *TINY_WORDS, "--set", "classes=[ant, cow]")
    assert xfeat("train", "ciim", *words)[0] == 0
    assert "trained on 2 of 3 classes" in xfeat("eval", tmp_path / "run")[2]
    assert "trained on" not in xfeat("eval", tmp_path / "run", "--classes", "seen")[2]


def test_ctrl_c_is_one_line_and_the_same_command_resumes(
    xfeat: Xfeat, caches: Mapping[str, Path], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "ciim", caches["image"], caches["text"], *TINY_WORDS)
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
    assert files(tmp_path / "run" / "branches") == files(run / "branches")


def test_commands_for_runs_of_another_method_refuse_in_one_line(
    xfeat: Xfeat, caches: Mapping[str, Path], run: Path, tmp_path: Path
) -> None:
    drcl = tmp_path / "drcl"
    assert xfeat("train", "drcl", caches["audio"], "--out", drcl, *QUICK)[0] == 0
    before = files(run)
    for words in (
        ("add-class", caches["image"], caches["text"], "--run", run, "--out", tmp_path / "grown"),
        ("join", run, drcl, "--out", tmp_path / "joined"),
        ("join", drcl, run, "--out", tmp_path / "joined"),
        ("prior", "show", run),
        ("anchors", "show", run),
        ("eval", run, "--weights", "ema"),
    ):
        code, _, err = xfeat(*words)
        assert code == 2, (words, err)
        assert err.startswith("xfeat: "), (words, err)
        assert err.count("\n") == 1, (words, err)
    assert files(run) == before
    assert not (tmp_path / "joined").exists()
    assert not (tmp_path / "grown").exists()
