"""Several seeds by one command, and how their group is evaluated."""

import json
from pathlib import Path

import pytest
import torch

from tests.cli.asking import QUICK, refused
from tests.cli.conftest import Xfeat
from tests.training.building import files
from xfeat.training.store import load_branch


def test_seeds_become_a_group_that_is_evaluated_and_resumed(
    xfeat: Xfeat, caches: dict[str, Path], trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    words = ("train", "drcl", caches["image"], caches["text"], "--out", out, *QUICK, "--device", "cpu")
    code, said, err = xfeat(*words, "--seeds", "0-1")
    assert (code, err) == (0, "")
    lines = said.splitlines()
    assert lines[0].startswith("DRCL: 2 seeds of 2 branches in ")
    assert lines[-2:] == [f"group     {out}", f"Next: xfeat eval {out}"]
    assert json.loads((out / "group.json").read_text()) == {"seeds": [0, 1], "method": "drcl"}
    for seed in (0, 1):
        prior = json.loads((out / f"seed{seed}" / "prior.json").read_text())
        (row,) = [line.split() for line in lines if line.split()[:1] == [str(seed)]]
        assert row == [str(seed), prior["chosen"], f"{prior['score']:.3f}", "6/6", "6/6"]
    # A member is the run of its seed, up to rounding.
    same, other = (load_branch(out / f"seed{seed}/branches/text.safetensors").head.output.weight for seed in (0, 1))
    own = load_branch(trained / "branches/text.safetensors").head.output.weight
    torch.testing.assert_close(same, own, rtol=1e-2, atol=1e-3)
    assert (other - own).abs().max() > 0.05

    code, said, _ = xfeat("eval", out)
    assert code == 0
    assert "  2 seeds, mean +- standard deviation: 0, 1" in said
    said = said.splitlines()
    (row,) = [row for row, line in enumerate(said) if line.startswith("  mean")]
    mean, spread = said[row].split(), said[row + 1].split()
    assert spread[0] == "+-"
    alone = [json.loads(xfeat("eval", out / f"seed{seed}", "--json", "-")[1])["mean"]["mAP@all"] for seed in (0, 1)]
    assert float(mean[1]) == pytest.approx(sum(alone) / 2, abs=6e-4)
    assert float(spread[1]) == pytest.approx(abs(alone[0] - alone[1]) / 2**0.5, abs=6e-4)

    before = files(out)
    refused(xfeat(*words, "--seeds", "0-1"), "holds a group already", "--resume")
    refused(xfeat(*words, "--seeds", "0-2", "--resume"), "was started with drcl and seeds [0, 1]")
    (out / "seed1" / "branches" / "text.json").unlink()
    refused(xfeat("eval", out), "seed1 is not finished (no branch of text)", "--resume")
    assert xfeat(*words, "--seeds", "0,1", "--resume")[0] == 0
    after = files(out)
    assert {name for name in before if after[name] != before[name]} <= {
        "seed1/log.jsonl",
        "seed1/branches/text.json",
        "seed1/branches/text.safetensors",
    }


@pytest.mark.parametrize("seeds", ["x", "1-", "3-1", "-1", "0,,1", "1.5", "0-1000", "0;1", "0-1-2", " "])
def test_words_that_are_no_seeds_are_one_line(
    xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path, seeds: str
) -> None:
    words = ("train", "drcl", caches["image"], "--out", tmp_path / "runs", *QUICK, f"--seeds={seeds}")
    refused(xfeat(*words), f"--seeds {seeds!r}: write 0-9, or 0,3,5")
    assert not (tmp_path / "runs").exists()


def test_a_seed_that_occurs_twice_and_bad_caches_are_one_line(
    xfeat: Xfeat, caches: dict[str, Path], trained: Path, tmp_path: Path
) -> None:
    image, out = caches["image"], tmp_path / "runs"
    refused(xfeat("train", "drcl", image, "--out", out, *QUICK, "--seeds", "0-2,1"), "a seed occurs twice")
    refused(xfeat("train", "drcl", image, image, "--out", out, *QUICK, "--seeds", "0-1"), "two caches hold modality")
    assert not out.exists()
    before = files(trained)
    refused(xfeat("train", "drcl", image, "--out", trained, *QUICK, "--seeds", "0-1"), "holds other files")
    assert files(trained) == before


def test_a_closed_form_prior(xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("train", "drcl", caches["image"], caches["text"], "--out", run, *QUICK, "--set", "prior=ridge")
    code, said, _ = xfeat(*words)
    assert code == 0
    prior = json.loads((run / "prior.json").read_text())
    scores = {name: one["score"] for name, one in prior["candidates"].items()}
    assert (prior["prior"], prior["chosen"]) == ("ridge", max(scores, key=lambda name: scores[name]))
    assert f"  * the prior, its candidate scored highest when it was chosen ({prior['score']:.3f})" in said.splitlines()
    kinds = {json.loads((run / "candidates" / f"{name}.json").read_text())["kind"] for name in scores}
    assert kinds == {"ridge"}
    assert '"stage": "spl"' not in (run / "log.jsonl").read_text()
    before = files(run)
    code, said, _ = xfeat(*words, "--resume")
    assert (code, said.count("(kept)")) == (0, 2)
    assert files(run) == before
    assert xfeat("add", caches["audio"], "--run", run)[0] == 0
    assert set(json.loads((run / "prior.json").read_text())["candidates"]) == {"image", "text", "audio"}


def test_one_seed_or_several(xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path) -> None:
    asked = xfeat("train", "drcl", *caches.values(), "--out", tmp_path / "run", "--seed", "3", "--seeds", "0-1")
    refused(asked, "--seed and --seeds: give one of them")
