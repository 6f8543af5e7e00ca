"""A modality that joins a CIIM run: it learns to meet the others, and touches nothing of theirs."""

import shutil
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.building import blobs, files
from tests.training.ciim_building import (
    CPU,
    ENOUGH,
    TINY,
    note,
    renamed,
    retrieval,
    tiny,
    without_class,
    write,
    write_tiny,
)
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.training.ciim import train
from xfeat.training.ciim_join import add
from xfeat.training.loading import load_branch
from xfeat.training.run import Run


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FeatureCache]:
    names = ("image", "text", "audio")
    return dict(zip(names, write_tiny(tmp_path_factory.mktemp("three"), *names), strict=True))


@pytest.fixture(scope="module")
def finished(three: dict[str, FeatureCache], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of image and text, to read only."""
    path = tmp_path_factory.mktemp("runs") / "run"
    torch.set_num_threads(1)  # as in the tests: the last bits depend on it
    train([three["image"], three["text"]], path, tiny(**ENOUGH))
    return path


@pytest.fixture(scope="module")
def finished_soon(three: dict[str, FeatureCache], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after a few epochs: for tests of what is written, not of what is learned."""
    path = tmp_path_factory.mktemp("runs") / "run"
    torch.set_num_threads(1)
    train([three["image"], three["text"]], path, TINY)
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def short(finished_soon: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished_soon, tmp_path / "run")
    return tmp_path / "run"


def test_a_newcomer_meets_the_others_and_touches_no_other_file(three: dict[str, FeatureCache], run: Path) -> None:
    before, embedded = (
        files(run),
        load_branch(run / "branches/text.safetensors").embed(three["text"].load().features, CPU),
    )
    outcome = add(three["audio"], run)
    after = files(run)
    assert set(after) - set(before) == {"branches/audio.json", "branches/audio.safetensors"}
    assert {name for name in before if after[name] != before[name]} == {"config.yaml", "log.jsonl"}
    assert after["log.jsonl"].startswith(before["log.jsonl"])
    assert (list(outcome.branches), outcome.fresh) == (["audio"], True)
    assert outcome.branches["audio"] == note(run, "audio")
    assert (note(run, "audio")["stage"], note(run, "audio")["shared"]) == ("join", note(run)["shared"])
    source = Run(run).load_config().modalities["audio"]
    assert source.added
    same = load_branch(run / "branches/text.safetensors").embed(three["text"].load().features, CPU)
    assert torch.equal(same, embedded)
    found = retrieval(run)
    assert len(found) == 6
    assert min(found.values()) > 0.7, "chance is a third"


@pytest.mark.parametrize(
    "changes",
    [
        {"intervention": False},
        {"single": 0.0, "pairs": 0.0, "invariance": 0.0, "sufficiency": 0.0, "independence": 0.0},
        {"select": "best", "val_fraction": 0.2, "interventions": 1},
    ],
)
def test_a_newcomer_joins_runs_of_other_forms(
    three: dict[str, FeatureCache], tmp_path: Path, changes: dict[str, Any]
) -> None:
    run = tmp_path / "run"
    train([three["image"], three["text"]], run, tiny(**ENOUGH, **changes))
    shared = files(run, "shared.*")
    add(three["audio"], run)
    assert files(run, "shared.*") == shared
    assert min(retrieval(run).values()) > 0.65
    assert note(run, "audio")["val_rows"] == (8 if changes.get("select") else 0)


def test_a_newcomer_does_not_depend_on_who_joined_before(
    three: dict[str, FeatureCache], short: Path, tmp_path: Path
) -> None:
    (video,) = write_tiny(tmp_path / "c", "video")
    shutil.copytree(short, tmp_path / "other")
    add(video, short)
    for path in (short, tmp_path / "other"):
        add(three["audio"], path)
    assert files(short, "audio.*") == files(tmp_path / "other", "audio.*")
    assert len(retrieval(short)) == 12


def test_a_newcomer_that_lacks_a_class_keeps_away_from_it(run: Path, tmp_path: Path) -> None:
    """The others hold ants; audio has none, and none of it may be taken for one."""
    audio = without_class(blobs("audio"), "ant")
    outcome = add(audio.write(tmp_path / "audio"), run)
    assert outcome.branches["audio"]["untrained_classes"] == ["ant"]
    image = blobs("image")
    theirs = load_branch(run / "branches/image.safetensors").embed(image.features, CPU)
    ours = load_branch(run / "branches/audio.safetensors").embed(audio.features, CPU)
    test, own = (torch.tensor([split == "test" for split in one.split]) for one in (image, audio))
    cosines, ant = theirs[test] @ ours[own].T, torch.from_numpy(image.labels)[test] == 0
    assert cosines[ant].mean() < 0.1
    assert cosines[~ant].max(1).values.mean() > 0.8
    assert retrieval(run)["audio->image"] > 0.65, "chance is a third"


def test_a_run_of_some_classes_takes_the_rows_of_these(three: dict[str, FeatureCache], tmp_path: Path) -> None:
    run, settings = tmp_path / "run", tiny(**ENOUGH, classes=["bee", "cow"])
    train([three["image"], three["text"]], run, settings)
    outcome = add(three["audio"], run)
    one = outcome.branches["audio"]
    assert one["settings"]["classes"] == ["bee", "cow"]
    assert one["outside_rows"] > 5
    found = retrieval(run, classes=["bee", "cow"]).values()
    assert sum(found) / len(found) > 0.8, "chance is a half"
    only_ants = without_class(without_class(blobs("video"), "bee"), "cow")
    before = files(run)
    with pytest.raises(InputError, match=r"no training row is of the chosen classes \(bee, cow\)"):
        add(only_ants.write(tmp_path / "video"), run)
    assert files(run) == before


def test_a_class_that_only_test_rows_had_is_no_class_to_meet_in(tmp_path: Path) -> None:
    """Image and text have cows to test on alone; nobody trained the proxy that a newcomer's cows would join."""
    made = [
        replace(one, split=["test" if label == 2 else s for s, label in zip(one.split, one.labels, strict=True)])
        for one in (blobs("image"), blobs("text"))
    ]
    train(write(tmp_path / "c", *made), tmp_path / "run", tiny(**ENOUGH))
    outcome = add(blobs("audio").write(tmp_path / "audio"), tmp_path / "run")
    assert outcome.branches["audio"]["untrained_classes"] == []
    assert outcome.branches["audio"]["settings"]["batch_classes"] == 3
    assert min(retrieval(tmp_path / "run", classes=["ant", "bee"]).values()) > 0.65


def test_a_run_resumes_after_a_modality_joined(three: dict[str, FeatureCache], short: Path) -> None:
    add(three["audio"], short)
    before, settings = files(short), TINY
    outcome = train([three["image"], three["text"]], short, settings, resume=True)
    assert (list(outcome.branches), outcome.fresh) == (["image", "text"], False)
    assert files(short) == before
    (short / "branches" / "text.json").unlink()
    assert train([three["image"], three["text"]], short, settings, resume=True).fresh
    after = files(short)
    assert set(after) == set(before)
    assert {name for name in before if after[name] != before[name]} <= {"log.jsonl"}, "the newcomer still fits"
    assert len(retrieval(short)) == 6


def test_two_that_join_at_once_both_stay(
    three: dict[str, FeatureCache], short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (video,) = write_tiny(tmp_path / "c", "video")
    lock = Run.locked

    def another_was_faster(self: Run) -> AbstractContextManager[None]:
        monkeypatch.setattr(Run, "locked", lock)
        add(video, short)
        return self.locked()

    monkeypatch.setattr(Run, "locked", another_was_faster)
    add(three["audio"], short)
    assert set(Run(short).load_config().modalities) == {"image", "text", "video", "audio"}


def test_adding_is_refused_where_it_makes_no_sense(three: dict[str, FeatureCache], short: Path, tmp_path: Path) -> None:
    audio = three["audio"]
    add(audio, short)
    before = files(short)
    strange = renamed(blobs("video"), "ant", "bee", "dog").write(tmp_path / "strange")
    alone = without_class(without_class(blobs("touch"), "bee"), "cow").write(tmp_path / "alone")
    bare = replace(blobs("video"), labels=None).write(tmp_path / "bare")
    tests = replace(blobs("video"), split=["test"] * 60).write(tmp_path / "tests")
    for cache, path, message in (
        (audio, short, r"has a modality 'audio' already: import or extract with another --modality"),
        (three["text"], short, r"has a modality 'text' already"),
        (strange, short, r"the run does not know 'dog'"),
        (alone, short, r"^1 class to train on: a metric needs two or more$"),
        (bare, short, r"has no labels"),
        (tests, short, r"no rows in split 'train'"),
        (audio, tmp_path / "no", r"does not exist: not a run"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            add(cache, path)
        assert "\n" not in str(caught.value)
    assert files(short) == before


def test_an_unfinished_run_takes_no_newcomer(three: dict[str, FeatureCache], short: Path) -> None:
    (short / "shared.json").unlink()
    before = files(short)
    with pytest.raises(InputError, match=r"is not finished \(no whole shared\.safetensors\): first `xfeat train"):
        add(three["audio"], short)
    (short / "branches" / "text.safetensors").unlink()
    with pytest.raises(InputError, match=r"is not finished \(no whole branch of text\): first `xfeat train"):
        add(three["audio"], short)
    assert set(before) - set(files(short)) == {"branches/text.safetensors"}


def test_without_hybrid_proxies_there_is_nothing_to_join(three: dict[str, FeatureCache], tmp_path: Path) -> None:
    run = tmp_path / "run"
    train([three["image"], three["text"]], run, TINY.model_copy(update={"hybrid": 0.0}))
    before = files(run)
    with pytest.raises(InputError, match=r"was trained with hybrid=0, without proxies to join: train all caches again"):
        add(three["audio"], run)
    assert files(run) == before


def test_a_run_with_a_branch_of_another_is_refused(three: dict[str, FeatureCache], short: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    train([three["image"], three["text"]], other, TINY, seed=5)
    for suffix in (".safetensors", ".json"):
        (short / "branches" / f"image{suffix}").write_bytes((other / "branches" / f"image{suffix}").read_bytes())
    with pytest.raises(InputError, match=r"image\.safetensors was trained with another shared\.safetensors"):
        add(three["audio"], short)
