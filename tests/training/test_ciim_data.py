"""Which rows CIIM reads: nothing of the test split, nothing of classes that are not trained on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.building import Blobs, blobs
from tests.training.ciim_building import (
    TINY,
    log,
    tiny,
    trained_files,
    with_splits,
    without_class,
    write,
    write_tiny,
)
from xfeat.training.ciim import train
from xfeat.training.ciim_store import load_causal


def test_classes_of_test_rows_alone_change_nothing(tmp_path: Path) -> None:
    """As where the identities that are looked for are no training identities: they are no reason to draw otherwise."""
    made = [blobs(name) for name in ("image", "text")]
    plain = train(write(tmp_path / "plain", *made), tmp_path / "run", tiny(batch_classes=None, batch_samples=None))
    more = [with_unseen(one) for one in made]
    outcome = train(write(tmp_path / "more", *more), tmp_path / "other", tiny(batch_classes=None, batch_samples=None))
    for name, one in outcome.branches.items():
        settings, before = one["settings"], plain.branches[name]["settings"]
        assert settings["batch_classes"] == before["batch_classes"] == 3
        assert settings["batch_samples"] == before["batch_samples"]
        assert one["train_rows"] == plain.branches[name]["train_rows"]
        assert one["untrained_classes"] == ["dog", "elk", "fox"]
    for ours, theirs in zip(log(tmp_path / "other"), log(tmp_path / "run"), strict=True):
        # As large, though not the same: more proxies are drawn.
        assert ours["train_single"] == pytest.approx(theirs["train_single"], rel=0.5)


def with_unseen(some: Blobs) -> Blobs:
    """The same rows, and test rows of three classes more."""
    count = len(some.features)
    features = np.concatenate([some.features, some.features[:12] + 1])
    labels = np.concatenate([some.labels, 3 + np.arange(12) % 3])
    assert len(features) == count + 12
    return replace(
        some,
        features=features,
        labels=labels,
        split=[*some.split, *["test"] * 12],
        classes=("ant", "bee", "cow", "dog", "elk", "fox"),
    )


def test_a_batch_of_more_classes_than_have_rows_is_cut_and_the_course_of_the_rate_with_it(tmp_path: Path) -> None:
    """The loop counts batches by their size: one that is never drawn in full would end the course too late."""
    made = [with_unseen(blobs(name)) for name in ("image", "text")]
    outcome = train(write(tmp_path, *made), tmp_path / "run", tiny(batch_classes=6, batch_samples=4, epochs=2))
    settings = outcome.branches["image"]["settings"]
    assert (settings["batch_classes"], settings["batch_samples"]) == (3, 4)


def changed(some: Blobs, split: str, classes: tuple[int, ...] = (0, 1, 2)) -> Blobs:
    """Other features in some rows."""
    mine = np.array([s == split for s in some.split]) & np.isin(some.labels, classes)
    assert mine.any()
    features = some.features.copy()
    features[mine] += 7 * np.random.default_rng(0).normal(size=some.features.shape[1]).astype(np.float32)
    return replace(some, features=features)


@pytest.mark.parametrize("select", ["last", "best"])
def test_test_rows_reach_nothing(tmp_path: Path, select: str) -> None:
    made = [blobs(name, val=True) for name in ("image", "text")]
    train(write(tmp_path / "as is", *made), tmp_path / "run", tiny(select=select))
    train(write(tmp_path / "c", *(changed(one, "test") for one in made)), tmp_path / "other", tiny(select=select))
    assert trained_files(tmp_path / "other") == trained_files(tmp_path / "run")
    assert log(tmp_path / "other") == log(tmp_path / "run")


@pytest.mark.parametrize("val", [True, False])
def test_rows_of_classes_that_are_not_chosen_reach_nothing(tmp_path: Path, val: bool) -> None:
    """Neither training, nor the scale of inputs, nor the choice of an epoch, nor which rows are held out for it."""
    made = [blobs(name, val=val) for name in ("image", "text")]
    settings = tiny(classes=["a*", "cow"], select="best", val_fraction=0.25)
    outcome = train(write(tmp_path / "as is", *made), tmp_path / "run", settings)
    for one in outcome.branches.values():
        assert one["settings"]["classes"] == ["ant", "cow"]
        assert one["settings"]["batch_classes"] == 2
        assert one["outside_rows"] > 5
        assert one["val_rows"] > 2
    others = [changed(one, "train", (1,)) for one in made]
    if val:
        others = [changed(one, "val", (1,)) for one in others]
    train(write(tmp_path / "c", *others), tmp_path / "other", settings)
    fewer = [without_class(one, "bee") for one in made]
    assert all(trained_files(tmp_path / "other")[n] == c for n, c in trained_files(tmp_path / "run").items())
    assert log(tmp_path / "other") == log(tmp_path / "run")
    train(write(tmp_path / "fewer", *fewer), tmp_path / "alone", tiny(select="best", val_fraction=0.25))
    assert trained_files(tmp_path / "alone") == trained_files(tmp_path / "run"), "as if there were no other classes"


def test_without_val_rows_some_of_train_are_held_out_to_choose_by(tmp_path: Path) -> None:
    two = write_tiny(tmp_path, "image", "text")
    outcome = train(two, tmp_path / "run", tiny(select="best", val_fraction=0.2))
    for name, one in outcome.branches.items():
        assert (one["train_rows"], one["val_rows"]) == (32, 8), name
    assert "val_retrieval" in log(tmp_path / "run")[0]


def test_one_modality_without_val_rows_scores_nothing_and_all_its_rows_are_trained_on(tmp_path: Path) -> None:
    caches = write(tmp_path, blobs("image", val=True), with_splits(blobs("text"), "train", "test"))
    outcome = train(caches, tmp_path / "run", tiny())
    assert {name: one["val_rows"] > 0 for name, one in outcome.branches.items()} == {"image": True, "text": False}
    assert set(log(tmp_path / "run")[0]) >= {"val_score"}
    assert "val_retrieval" not in log(tmp_path / "run")[0]


def test_val_rows_of_a_class_that_was_never_trained(tmp_path: Path) -> None:
    made = {name: blobs(name, val=True) for name in ("image", "text")}
    moved = [
        replace(
            one,
            split=["val" if label == 2 and s == "train" else s for s, label in zip(one.split, one.labels, strict=True)],
        )
        for one in made.values()
    ]
    outcome = train(write(tmp_path, *moved), tmp_path / "run", tiny(select="best"))
    assert outcome.branches["text"]["untrained_classes"] == ["cow"]
    assert outcome.branches["text"]["settings"]["batch_classes"] == 2
    assert all(0 < row["val_score"] <= 1 for row in log(tmp_path / "run"))


def test_rows_without_a_label_are_counted_and_left_out(tmp_path: Path) -> None:
    image = blobs("image")
    bare = image.labels.copy()
    mine = [row for row in range(60) if image.split[row] == "train"][:5]
    bare[mine] = -1
    outcome = train(write(tmp_path, replace(image, labels=bare), blobs("text")), tmp_path / "run", TINY)
    assert (outcome.branches["image"]["unlabelled_rows"], outcome.branches["image"]["train_rows"]) == (5, 35)


@pytest.mark.parametrize("standardize", [True, False])
def test_inputs_are_scaled_by_the_training_rows(tmp_path: Path, standardize: bool) -> None:
    made = [blobs(name, val=True) for name in ("image", "text")]
    train(write(tmp_path, *made), tmp_path / "run", tiny(standardize=standardize, classes=["ant", "cow"], epochs=1))
    for one in made:
        branch = load_causal(tmp_path / "run" / "branches" / f"{one.modality}.safetensors")
        mine = np.array([s == "train" for s in one.split]) & (one.labels != 1)
        rows = one.features[mine].astype(np.float64)
        expected = (rows.mean(0), rows.std(0)) if standardize else (np.zeros_like(rows[0]), np.ones_like(rows[0]))
        assert branch.scale.mean.numpy() == pytest.approx(expected[0], rel=1e-5, abs=1e-5)
        assert branch.scale.std.numpy() == pytest.approx(expected[1], rel=1e-5)
