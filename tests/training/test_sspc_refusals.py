"""What SSPC cannot train on: one line each, and nothing half-written."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.building import files
from tests.training.paired_building import (
    constant,
    constant_tokens,
    paired,
    sspc_error,
    strange,
    tiny,
    unpaired,
    untrained,
    views,
    write_views,
)
from xfeat.cache import FeatureCache


@pytest.fixture
def two(tmp_path: Path) -> list[FeatureCache]:
    return paired(tmp_path, "image", "text")


BAD_DATA: list[tuple[Any, dict[str, Any], str]] = [
    (unpaired, {}, "text has no pair keys"),
    (strange, {}, "no pair key is in two modalities"),
    (constant, {}, "the features of text are the same in all 40 training rows"),
    (constant_tokens, {}, "the features of text are the same in all 40 training rows"),
    (untrained, {}, "text: no rows in split 'train' (splits there: test)"),
    (None, {"batch_size": 41}, "batch_size=41 is larger than the 40 training instances"),
    (None, {"required": 7}, "required=7 anchors of 6"),
    (None, {"depth": 1, "heads": 3}, "heads=3 do not divide input_dim=16"),
    (None, {"weights": "ema", "ema": 0.0}, "weights=ema, but ema=0 keeps no averaged weights"),
    (None, {"memory": "1K"}, "SSPC draws paired rows at random and holds them in memory"),
    (None, {"memory": "much"}, "setting memory='much'"),
    (None, {"classes": ["a"]}, "classes=['a'] is set, but no cache has labels"),
    (None, {"modality_weight": {"audio": 0.1}}, "modality_weight.audio is set, but the caches hold image, text"),
]


@pytest.mark.parametrize(("change", "settings", "words"), BAD_DATA)
def test_what_cannot_be_trained_is_one_line_and_leaves_nothing(
    tmp_path: Path, change: Any, settings: dict[str, Any], words: str
) -> None:
    made = views("image", "text")
    if change:
        made["text"] = change(made["text"])
    found = sspc_error(write_views(tmp_path, made), tmp_path / "run", tiny(**settings))
    assert words in found
    assert set(files(tmp_path / "run")) <= {".lock"}


def test_a_modality_whose_rows_are_all_alone_is_named(tmp_path: Path) -> None:
    made = views("image", "text", "audio")
    made["audio"] = strange(made["audio"])
    found = sspc_error(write_views(tmp_path, made), tmp_path / "run")
    assert found == "no training row of audio shares its pair key with another modality: leave audio out"


def test_caches_that_do_not_fit_together_are_one_line(two: list[FeatureCache], tmp_path: Path) -> None:
    for caches, words in (
        (two[:1], "SSPC needs two modalities or more, got image"),
        ([*two, two[0]], "two caches hold modality 'image'"),
        ([], "SSPC needs two modalities or more, got none"),
    ):
        assert words in sspc_error(caches, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_rate_that_blows_up_is_one_line_and_leaves_no_branch(two: list[FeatureCache], tmp_path: Path) -> None:
    found = sspc_error(two, tmp_path / "run", tiny(lr=1e30))
    assert found.startswith("sspc: ")
    assert found.endswith("lower the learning rate")
    assert not (tmp_path / "run" / "branches").exists()


def test_a_folder_of_other_files_is_left_alone(two: list[FeatureCache], tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    assert "holds other files: choose a new or empty folder" in sspc_error(two, folder)
    assert files(folder) == {"notes.txt": b"mine"}
