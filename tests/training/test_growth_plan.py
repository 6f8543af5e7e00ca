"""Caches that do not fit a run, or teach it nothing, are refused in one line before anything is trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.building import CLASSES, TINY, blobs, settings, write_blobs
from tests.training.growing import grown
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.training.drcl import train
from xfeat.training.growth_plan import GrowthPlan, plan_growth
from xfeat.training.run import Run
from xfeat.training.store import load_prior


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(write_blobs(folder, "image", "text"), folder / "run", TINY)
    return folder / "run"


def plan(run: Path, *caches: FeatureCache) -> GrowthPlan:
    opened = Run(run)
    return plan_growth(opened, opened.load_config(), load_prior(opened.prior_file), caches)


def refusal(run: Path, *caches: FeatureCache) -> str:
    with pytest.raises(InputError) as caught:
        plan(run, *caches)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_new_classes_come_behind_the_old_in_their_own_order(run: Path, tmp_path: Path) -> None:
    found = plan(run, grown("image", ("x10", "x9", "asp")).write(tmp_path / "image"))
    assert found.classes == [*CLASSES, "asp", "x9", "x10"]
    assert found.added == found.new == found.learned["image"] == ["asp", "x9", "x10"]
    assert found.known == {"image": list(CLASSES), "text": list(CLASSES)}
    assert found.notes == []


def test_a_cache_without_rows_of_new_classes_is_not_used(run: Path, tmp_path: Path) -> None:
    image, text = grown("image").write(tmp_path / "image"), blobs("text").write(tmp_path / "text")
    found = plan(run, image, text)
    assert list(found.learned) == ["image"]
    assert found.notes == [f"{text.path} has no training rows of a class that is new to text: it was not used"]


def test_names_that_differ_by_case_are_told(run: Path, tmp_path: Path) -> None:
    found = plan(run, grown("image", ("Cow",)).write(tmp_path / "image"))
    assert found.notes == ["new class 'Cow' and the run's 'cow' count as two classes"]


def test_test_rows_that_were_trained_on_are_told(run: Path, tmp_path: Path) -> None:
    image = grown("image")
    train_rows = [row for row, split in enumerate(image.split[:60]) if split == "train"]
    image.split[train_rows[0]] = image.split[train_rows[1]] = "test"
    found = plan(run, image.write(tmp_path / "image"))
    assert found.notes == ["2 test rows of image were training rows of the run: test scores will flatter"]


def test_caches_that_do_not_fit_the_run(run: Path, tmp_path: Path) -> None:
    image = grown("image")
    path = tmp_path / "one"
    one = image.write(path)
    assert "no caches given" in refusal(run)
    assert refusal(run, grown("audio").write(tmp_path / "audio")).endswith("`xfeat add` brings a new modality")
    assert "two caches hold modality 'image'" in refusal(run, one, one)
    assert "has no labels" in refusal(run, replace(image, labels=None, classes=()).write(tmp_path / "bare"))
    wide = replace(image, features=np.pad(image.features, ((0, 0), (0, 1)))).write(tmp_path / "wide")
    assert "has 13 dimensions, the image branch" in refusal(run, wide)
    other = replace(image, backbone="another").write(tmp_path / "other")
    assert "extract the grown samples with the same backbone" in refusal(run, other)


def test_caches_that_teach_nothing(run: Path, tmp_path: Path) -> None:
    image = grown("image")
    assert refusal(run, blobs("image").write(tmp_path / "same")).startswith("no new class in image: ")
    tested = replace(image, split=[*image.split[:60], *["test"] * 20]).write(tmp_path / "tested")
    assert "class 'asp' is new, but no cache has rows of it in split 'train'" in refusal(run, tested)


def test_a_space_that_is_full(tmp_path: Path) -> None:
    train(write_blobs(tmp_path, "image"), tmp_path / "run", settings(out=4))
    full = grown("image", ("asp", "boa")).write(tmp_path / "bigger")
    message = refusal(tmp_path / "run", full)
    assert "no room for 2 more: the shared space of" in message
    assert message.endswith("has 4 dimensions (out) and 3 classes: train a run anew with --set out=10 or more")
    assert plan(tmp_path / "run", grown("image").write(tmp_path / "fits")).added == ["asp"]
