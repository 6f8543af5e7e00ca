"""What CIIM cannot train on: one line each, and nothing half-written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.building import Blobs, blobs, files, multi_label_blobs
from tests.training.ciim_building import ciim_error, renamed, tiny, without_class, write, write_tiny
from xfeat.cache import FeatureCache

Change = Callable[[Blobs], Blobs]


@pytest.fixture
def two(tmp_path: Path) -> list[FeatureCache]:
    return write_tiny(tmp_path, "image", "text")


def several(one: Blobs) -> Blobs:
    return multi_label_blobs(one.modality)


def bare(one: Blobs) -> Blobs:
    return replace(one, labels=None)


def untrained(one: Blobs) -> Blobs:
    return replace(one, split=["test"] * len(one.split))


def unlabelled(one: Blobs) -> Blobs:
    labels = np.where(np.array(one.split) == "train", -1, one.labels)
    return replace(one, labels=labels)


def others(one: Blobs) -> Blobs:
    return renamed(one, "dog", "elk", "fox")


def ants(one: Blobs) -> Blobs:
    return without_class(without_class(one, "bee"), "cow")


def ants_to_train(one: Blobs) -> Blobs:
    """Rows of all classes, those of ants alone to train on."""
    split = ["test" if label else s for s, label in zip(one.split, one.labels, strict=True)]
    return replace(one, split=split)


def single_rows(one: Blobs) -> Blobs:
    """One training row of every class."""
    first = [list(one.labels).index(label) for label in range(3)]
    return replace(one, split=["train" if row in first else "test" for row in range(len(one.split))])


BAD: list[tuple[Change | None, bool, dict[str, Any], str]] = [
    (several, False, {}, "text has rows of several classes: CIIM needs one class a row; drcl takes several"),
    (bare, False, {}, "text has no labels: its classes are needed (a `label` column in the manifest)"),
    (untrained, False, {}, "text: no rows in split 'train' (splits there: test)"),
    (unlabelled, False, {}, "text: no rows in split 'train' with a label (40 rows have none)"),
    (others, False, {}, "share no class"),
    (ants, True, {}, "1 class to train on: a metric needs two or more"),
    (ants_to_train, True, {}, "1 class to train on: a metric needs two or more"),
    (ants, False, {"classes": ["bee", "cow"]}, "text: no training row is of the chosen classes (bee, cow)"),
    (single_rows, False, {"select": "best"}, "every class has one training row: nothing can be held out"),
    (None, False, {"classes": ["ant"]}, "1 class to train on: a metric needs two or more"),
    (None, False, {"classes": ["dog"]}, "'dog' is no class"),
    (None, False, {"single": 0.0, "hybrid": 0.0, "pairs": 0.0}, "leave nothing to train for"),
    (None, False, {"memory": "1K"}, "CIIM draws rows by class and holds them in memory"),
    (None, False, {"memory": "much"}, "setting memory='much'"),
]


@pytest.mark.parametrize(("change", "both", "settings", "words"), BAD)
def test_what_cannot_be_trained_is_one_line_and_leaves_nothing(
    tmp_path: Path, change: Change | None, both: bool, settings: dict[str, Any], words: str
) -> None:
    image, text = blobs("image"), blobs("text")
    if change:
        image, text = change(image) if both else image, change(text)
    found = ciim_error(write(tmp_path, image, text), tmp_path / "run", tiny(**settings))
    assert words in found
    assert not (tmp_path / "run").exists()


def test_caches_that_do_not_fit_together_are_one_line(two: list[FeatureCache], tmp_path: Path) -> None:
    for caches, words in (
        (two[:1], "CIIM needs two modalities or more, got image"),
        ([*two, two[0]], "two caches hold modality 'image'"),
        ([], "CIIM needs two modalities or more, got none"),
    ):
        assert words in ciim_error(caches, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_rate_that_blows_up_is_one_line_and_leaves_no_branch(two: list[FeatureCache], tmp_path: Path) -> None:
    found = ciim_error(two, tmp_path / "run", tiny(lr=1e30))
    assert found.startswith("ciim: ")
    assert found.endswith("lower the learning rate")
    assert not (tmp_path / "run" / "branches").exists()
    assert not (tmp_path / "run" / "shared.safetensors").exists()


def test_a_folder_of_other_files_is_left_alone(two: list[FeatureCache], tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    assert "holds other files: choose a new or empty folder" in ciim_error(two, folder)
    assert files(folder) == {"notes.txt": b"mine"}
