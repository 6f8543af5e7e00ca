import shutil
from pathlib import Path

import pytest

from tests.cli.asking import QUICK, refused
from tests.cli.conftest import Xfeat
from tests.training.building import blobs, files


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def test_a_newcomer_joins_and_no_other_branch_changes(xfeat: Xfeat, caches: dict[str, Path], run: Path) -> None:
    before = files(run / "branches")
    code, out, err = xfeat("add", caches["audio"], "--run", run)
    assert (code, err) == (0, "")
    assert "audio joined" in out
    assert out.splitlines()[-1] == f"Next: xfeat eval {run}"
    after = files(run / "branches")
    assert after.keys() - before.keys() == {"audio.json", "audio.safetensors"}
    assert {name: after[name] for name in before} == before
    refused(xfeat("add", caches["audio"], "--run", run), "has a modality 'audio' already")


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        (0.01, ["more than", "choosing it would mean training every branch again"]),
        (20.0, ["stays.\nNo other branch changed."]),
    ],
)
def test_the_newcomers_score_is_set_against_the_priors(
    xfeat: Xfeat, tmp_path: Path, noise: float, words: list[str]
) -> None:
    noisy = [blobs(name, noise=1.0).write(tmp_path / name).path for name in ("image", "text")]
    longer = ("--set", "spl_epochs=25")
    assert xfeat("train", "drcl", *noisy, "--out", tmp_path / "run", *QUICK, *longer)[0] == 0
    audio = blobs("audio", noise=noise).write(tmp_path / "audio").path
    code, out, _ = xfeat("add", audio, "--run", tmp_path / "run")
    assert code == 0
    for word in words:
        assert word in out
    assert max(map(len, out.splitlines()[:-1])) <= 100


def test_a_newcomer_against_a_prior_that_was_not_learned(xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    xfeat("train", "drcl", caches["image"], "--out", run, *QUICK, "--set", "prior=orthogonal")
    code, out, _ = xfeat("add", caches["audio"], "--run", run)
    assert code == 0
    assert "audio joined against the prior (orthogonal); no other branch was touched." in out


def test_bad_input_is_one_line(xfeat: Xfeat, caches: dict[str, Path], run: Path, tmp_path: Path) -> None:
    audio = caches["audio"]
    refused(xfeat("add", audio, "--run", tmp_path / "no"), "does not exist: not a run")
    refused(xfeat("add", tmp_path / "no", "--run", run), "not a feature cache")
    refused(xfeat("add", caches["text"], "--run", run), "has a modality 'text' already")
    (run / "prior.safetensors").write_bytes(b"")
    refused(xfeat("add", audio, "--run", run), "prior.safetensors is not a whole safetensors file")
    (run / "prior.safetensors").unlink()
    refused(xfeat("add", audio, "--run", run), "prior.safetensors does not exist")
    (run / "config.yaml").write_bytes(b"\xff")
    refused(xfeat("add", audio, "--run", run), "config.yaml is damaged")
