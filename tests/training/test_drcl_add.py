"""A modality that joins touches nothing that is there."""

import shutil
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.building import LONGER, MODALITIES, TINY, against, blobs, files, settings
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.training.drcl import add, train
from xfeat.training.run import Run
from xfeat.training.store import load_note, load_prior, save_prior


def test_adding_touches_no_other_file(caches: dict[str, FeatureCache], together: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train([caches["image"], caches["text"]], run, TINY)
    before = files(run)
    outcome = add(caches["audio"], run)
    after = files(run)
    assert set(after) - set(before) == {
        f"{d}/audio.{e}" for d in ("branches", "candidates") for e in ("json", "safetensors")
    }
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"config.yaml", "log.jsonl", "prior.json"}
    assert after["log.jsonl"].startswith(before["log.jsonl"])
    assert outcome.fresh == ["audio"]
    assert list(outcome.branches) == ["audio"]

    # The newcomer is the one that training everything at once against the same prior gives.
    whole = tmp_path / "whole"
    train(list(caches.values()), whole, against(run))
    for modality in MODALITIES:
        name = f"branches/{modality}.safetensors"
        assert (whole / name).read_bytes() == after[name]
    assert after["candidates/audio.safetensors"] == (together / "candidates" / "audio.safetensors").read_bytes()


def test_a_run_resumes_after_a_modality_joined(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    run = tmp_path / "run"
    train([caches["image"], caches["text"]], run, TINY)
    add(caches["audio"], run)
    before = files(run)
    assert train([caches["image"], caches["text"]], run, TINY, resume=True).fresh == []
    assert files(run) == before


def test_an_unfinished_run_takes_no_newcomer(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    run = tmp_path / "run"
    train([caches["image"], caches["text"]], run, TINY)
    (run / "branches" / "text.json").unlink()
    before = files(run)
    with pytest.raises(InputError, match=r"is not finished \(no branch of text\)"):
        add(caches["audio"], run)
    assert files(run) == before


def test_two_that_join_at_once_both_stay(
    caches: dict[str, FeatureCache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    train([caches["image"]], run, TINY)
    lock = Run.locked

    def another_was_faster(self: Run) -> AbstractContextManager[None]:
        monkeypatch.setattr(Run, "locked", lock)
        add(caches["text"], run)
        return self.locked()

    monkeypatch.setattr(Run, "locked", another_was_faster)
    add(caches["audio"], run)
    assert set(Run(run).load_config().modalities) == {"image", "text", "audio"}
    assert set(load_note(run / "prior.json")["candidates"]) == {"image", "text", "audio"}


@pytest.mark.parametrize(("noise", "higher"), [(0.01, True), (20.0, False)])
def test_the_newcomers_score_is_noted_and_replaces_nothing(tmp_path: Path, noise: float, higher: bool) -> None:
    run = tmp_path / "run"
    train(
        [blobs("image", noise=1.0).write(tmp_path / "image"), blobs("text", noise=1.0).write(tmp_path / "text")],
        run,
        LONGER,
    )
    before = load_note(run / "prior.json")
    outcome = add(blobs("audio", noise=noise).write(tmp_path / "audio"), run)
    note = load_note(run / "prior.json")
    assert note == outcome.prior
    assert (note["candidates"].pop("audio")["score"] > before["score"]) is higher
    assert note == before
    assert load_prior(run / "prior.safetensors").sha256 == before["sha256"]


def test_adding_to_a_run_whose_prior_was_not_learned_learns_none(
    caches: dict[str, FeatureCache], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train([caches["image"]], run, settings(prior="orthogonal"))
    add(caches["audio"], run)
    assert not (run / "candidates").exists()
    assert (run / "branches" / "audio.safetensors").is_file()


def test_adding_is_refused_where_it_makes_no_sense(
    caches: dict[str, FeatureCache], together: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(together, run)
    before = files(run)
    other = replace(blobs("video"), classes=("ant", "bee", "dog")).write(tmp_path / "video")
    strange = replace(blobs("video"), classes=("cat", "dog", "elk")).write(tmp_path / "strange")
    bare = replace(blobs("video"), labels=None).write(tmp_path / "bare")
    for cache, path, message in (
        (caches["audio"], run, "has a modality 'audio' already"),
        (other, run, "the run does not know 'dog'"),
        (strange, run, "has classes 'cat', 'dog', 'elk', none of the run's"),
        (bare, run, "has no labels"),
        (caches["audio"], tmp_path / "no", "does not exist: not a run"),
        (caches["audio"], tmp_path, r"has no config\.yaml: not a run"),
    ):
        with pytest.raises(InputError, match=message):
            add(cache, path)
    assert files(run) == before


def test_adding_against_another_prior_than_the_other_branches_is_refused(
    caches: dict[str, FeatureCache], tmp_path: Path
) -> None:
    train([caches["image"], caches["text"]], tmp_path / "run", TINY)
    prior = load_prior(tmp_path / "run" / "prior.safetensors")
    save_prior(tmp_path / "run" / "prior.safetensors", -prior.weight, prior.classes)
    before = files(tmp_path / "run")
    with pytest.raises(InputError, match="is not the prior that other branches were trained against"):
        add(caches["audio"], tmp_path / "run")
    assert files(tmp_path / "run") == before


def test_an_addition_that_was_killed_and_comes_again_from_another_cache_starts_anew(
    caches: dict[str, FeatureCache], tmp_path: Path
) -> None:
    run, expected = tmp_path / "run", tmp_path / "expected"
    train([caches["image"]], run, TINY)
    shutil.copytree(run, expected)
    config = (run / "config.yaml").read_bytes()
    add(caches["audio"], run)
    (run / "config.yaml").write_bytes(config)  # as if killed in the last moment
    another = blobs("audio", seed=5).write(tmp_path / "another")
    add(another, run)
    add(another, expected)
    assert files(run / "branches") == files(expected / "branches")
    assert files(run / "candidates") == files(expected / "candidates")
