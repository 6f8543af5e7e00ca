"""Where the prior comes from: the best candidate, a named one, orthogonal columns, or a file."""

from pathlib import Path

import pytest
import torch

from tests.training.building import (
    CLASSES,
    MODALITIES,
    TINY,
    against,
    blobs,
    files,
    log_rows,
    settings,
    train_error,
)
from xfeat.cache import FeatureCache
from xfeat.training.drcl import add, train
from xfeat.training.run import Run
from xfeat.training.store import load_branch, load_note, load_prior, save_prior


def test_the_best_candidate_is_the_prior(caches: dict[str, FeatureCache], together: Path) -> None:
    note = load_note(together / "prior.json")
    scores = {name: candidate["score"] for name, candidate in note["candidates"].items()}
    assert set(scores) == set(MODALITIES)
    assert note["chosen"] == max(scores, key=lambda name: scores[name])
    assert note["score"] == scores[note["chosen"]]
    chosen = load_prior(together / "candidates" / f"{note['chosen']}.safetensors")
    prior = load_prior(together / "prior.safetensors")
    assert torch.equal(chosen.weight, prior.weight)
    assert (prior.sha256, note["shape"], note["classes"]) == (note["sha256"], [12, 3], list(CLASSES))


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_named_candidate_is_the_prior(
    caches: dict[str, FeatureCache], together: Path, tmp_path: Path, modality: str
) -> None:
    outcome = train(list(caches.values()), tmp_path / "run", settings(prior=f"candidate:{modality}"))
    assert outcome.prior["chosen"] == modality
    assert files(tmp_path / "run" / "candidates", "*.safetensors") == files(together / "candidates", "*.safetensors")
    chosen = load_prior(together / "candidates" / f"{modality}.safetensors")
    assert torch.equal(load_prior(tmp_path / "run" / "prior.safetensors").weight, chosen.weight)


def test_an_orthogonal_prior_is_fixed_and_no_first_stage_runs(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    outcome = train([caches["image"], caches["text"]], tmp_path / "run", settings(prior="orthogonal"))
    weight = load_prior(tmp_path / "run" / "prior.safetensors").weight
    torch.testing.assert_close(weight.T @ weight, torch.eye(3), atol=1e-6, rtol=0)
    assert outcome.prior["candidates"] == {}
    assert {stage for _, stage, _ in log_rows(tmp_path / "run")} == {"rsc"}
    train([caches["audio"]], tmp_path / "other", settings(prior="orthogonal"))
    assert torch.equal(load_prior(tmp_path / "other" / "prior.safetensors").weight, weight)
    train([caches["audio"]], tmp_path / "seed", settings(prior="orthogonal"), seed=1)
    assert not torch.equal(load_prior(tmp_path / "seed" / "prior.safetensors").weight, weight)


def test_a_prior_from_a_file_is_taken_over_whole(
    caches: dict[str, FeatureCache], together: Path, tmp_path: Path
) -> None:
    outcome = train([caches["image"]], tmp_path / "run", against(together))
    for name in ("prior.safetensors", "branches/image.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (together / name).read_bytes()
    assert outcome.prior["sha256"] == load_note(together / "prior.json")["sha256"]
    assert (outcome.prior["chosen"], outcome.prior["candidates"]) == ("file", {})
    assert not (tmp_path / "run" / "candidates").exists()


def test_the_classes_of_a_run_are_those_of_its_prior_which_may_know_more(
    caches: dict[str, FeatureCache], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    classes = ["yak", "cow", "dog", "ant", "bee"]  # in an order of its own
    sha = save_prior(tmp_path / "five.safetensors", torch.randn(12, 5), classes)
    run = tmp_path / "run"
    outcome = train([caches["image"], caches["text"]], run, settings(prior=str(tmp_path / "five.safetensors")))
    assert outcome.prior["classes"] == Run(run).load_config().classes == load_prior(run / "prior.safetensors").classes
    assert outcome.prior["classes"] == classes
    assert outcome.prior["sha256"] == load_prior(run / "prior.safetensors").sha256 == sha
    assert (run / "prior.safetensors").read_bytes() == (tmp_path / "five.safetensors").read_bytes()
    for note in outcome.branches.values():
        assert note["prior_sha256"] == sha
        assert sorted(note["untrained_classes"]) == ["dog", "yak"]
    add(caches["audio"], run)
    assert (run / "prior.safetensors").read_bytes() == (tmp_path / "five.safetensors").read_bytes()


def test_classes_of_a_prior_are_matched_by_name(
    caches: dict[str, FeatureCache], together: Path, tmp_path: Path
) -> None:
    """The order of W's columns is no matter of training, up to the rounding of sums over classes."""
    cache = blobs("image", val=True).write(tmp_path / "image")  # what is held out is drawn class by class
    weight = load_prior(together / "prior.safetensors").weight
    save_prior(tmp_path / "turned.safetensors", weight[:, [2, 0, 1]], [CLASSES[2], CLASSES[0], CLASSES[1]])
    save_prior(tmp_path / "wrong.safetensors", weight[:, [2, 0, 1]], CLASSES)
    runs = {"turned": tmp_path / "turned.safetensors", "wrong": tmp_path / "wrong.safetensors"}
    runs["same"] = together / "prior.safetensors"
    for name, prior in runs.items():
        train([cache], tmp_path / name, settings(prior=str(prior), select="last"))
    x = torch.from_numpy(cache.load(["test"]).features)
    found = {}
    for name in runs:
        branch = load_branch(tmp_path / name / "branches" / "image.safetensors")
        found[name] = branch.head((x - branch.scale.mean) / branch.scale.std)
    assert (found["turned"] * found["same"]).sum(1).min() > 0.999
    assert (found["wrong"] * found["same"]).sum(1).min() < 0.7


def test_a_prior_that_cannot_be_used_is_one_line(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    image, out = [caches["image"]], tmp_path / "run"
    save_prior(tmp_path / "other.safetensors", torch.randn(12, 3), ["ant", "bee", "dog"])
    save_prior(tmp_path / "none.safetensors", torch.randn(12, 3), ["cat", "dog", "elk"])
    save_prior(tmp_path / "wide.safetensors", torch.randn(20, 3), CLASSES)
    save_prior(tmp_path / "nan.safetensors", torch.full((12, 3), torch.nan), CLASSES)
    for prior, message in (
        ("candidate:text", "prior 'candidate:text': no such modality here (there are image)"),
        ("orthgonal", "prior 'orthgonal': not spl, orthogonal, ridge, candidate:MODALITY, and no such file"),
        (str(tmp_path / "other.safetensors"), "image: the run does not know 'cow'"),
        (str(tmp_path / "none.safetensors"), "has classes 'ant', 'bee', 'cow', none of the run's 'cat', 'dog', 'elk'"),
        (str(tmp_path / "wide.safetensors"), "out is 12, but the prior"),
        (str(tmp_path / "nan.safetensors"), "not finite"),
        (str(caches["image"].path / "manifest.json"), "is not a whole safetensors file"),
    ):
        assert message in train_error(image, out, settings(prior=prior))
    for prior in ("spl", "orthogonal", "candidate:image"):
        assert "out is 2, but 3 classes need" in train_error(image, out, settings(prior=prior, out=2))
    # None of these is a run that stands in the way of the right one.
    train(image, out, TINY)


def test_the_width_of_a_prior_from_a_file_is_taken_over(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    save_prior(tmp_path / "wide.safetensors", torch.randn(20, 3), CLASSES)
    outcome = train([caches["image"]], tmp_path / "run", settings(out=None, prior=str(tmp_path / "wide.safetensors")))
    assert outcome.branches["image"]["out_dim"] == 20
