"""Where the prior comes from: the best candidate, a named one, orthogonal columns, or a file."""

from pathlib import Path

import pytest
import torch

from tests.training.building import CLASSES, MODALITIES, TINY, files, log_rows, settings, train_error
from xfeat.cache import FeatureCache
from xfeat.training.drcl import train
from xfeat.training.store import load_note, load_prior, save_prior


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


def test_a_prior_from_a_file_is_matched_by_class_names(
    caches: dict[str, FeatureCache], together: Path, tmp_path: Path
) -> None:
    weight = load_prior(together / "prior.safetensors").weight
    save_prior(tmp_path / "turned.safetensors", weight[:, [2, 0, 1]], [CLASSES[2], CLASSES[0], CLASSES[1]])
    train([caches["image"]], tmp_path / "run", settings(prior=str(tmp_path / "turned.safetensors")))
    for name in ("prior.safetensors", "branches/image.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (together / name).read_bytes()


def test_a_prior_that_cannot_be_used_is_one_line(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    image, out = [caches["image"]], tmp_path / "run"
    save_prior(tmp_path / "other.safetensors", torch.randn(12, 3), ["ant", "bee", "dog"])
    save_prior(tmp_path / "wide.safetensors", torch.randn(20, 3), CLASSES)
    save_prior(tmp_path / "nan.safetensors", torch.full((12, 3), torch.nan), CLASSES)
    for prior, message in (
        ("candidate:text", "prior 'candidate:text': no such modality here (there are image)"),
        ("orthgonal", "prior 'orthgonal': not spl, orthogonal, candidate:MODALITY, and no such file"),
        (str(tmp_path / "other.safetensors"), "only here: 'dog'; missing here: 'cow'"),
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
