"""What a baseline cannot be fitted on: one line each, and nothing half-written; runs that are there already."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.baseline_building import CCA, LEARNED, RAW, RIDGE, SEMANTIC, baseline_error, note
from tests.training.building import Blobs, blobs, files
from tests.training.ciim_building import renamed, without_class, write
from tests.training.paired_building import strange, views, write_views
from tests.training.test_ciim_refusals import ants, bare, others, unlabelled, untrained
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.methods.baseline_settings import BaselineSettings, CcaSettings, RidgeSettings, SemanticSettings
from xfeat.training import baselines
from xfeat.training.baselines import train, train_group
from xfeat.training.group import members
from xfeat.training.linear_store import load_linear, save_linear
from xfeat.training.store import save_note


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[FeatureCache]:
    return write(tmp_path_factory.mktemp("two"), blobs("image"), blobs("text"))


def constant(one: Blobs) -> Blobs:
    return replace(one, features=np.ones_like(one.features))


def only_dogs(one: Blobs) -> Blobs:
    """A class that links the caches and has no training row in both."""
    split = ["train" if label else "test" for label in one.labels]
    return renamed(replace(one, split=split), "ant", "elk", "fox")


@pytest.mark.parametrize(
    ("settings", "change", "both", "words"),
    [
        *((one, untrained, False, "text: no rows in split 'train' (splits there: test)") for one in LEARNED),
        *((one, unlabelled, False, "no rows in split 'train' with a label (40 rows have none)") for one in LEARNED),
        *((one, others, False, "share no class") for one in LEARNED),
        (CCA, bare, False, "text has no labels, and the caches share no pair keys: cca needs one or the other"),
        (CcaSettings(match="keys"), None, False, "has no pair keys: this method needs them"),
        (CCA, constant, False, "no direction of image, text correlates across modalities"),
        (CCA, only_dogs, False, "no class has training rows in two modalities: nothing to match by"),
        (CcaSettings(memory="1K"), None, False, "covariances of 19 dimensions"),
        (CcaSettings(memory="much"), None, False, "setting memory='much'"),
        (CcaSettings(classes=["dog"]), None, False, "'dog' is no class"),
        (SEMANTIC, bare, False, "text has no labels: training needs them"),
        (SEMANTIC, ants, True, "1 class to train on: telling classes apart takes two or more"),
        (SEMANTIC, constant, False, "text: the features are the same in all 40 training rows"),
        (SemanticSettings(memory="1K"), None, False, "the 40 training rows of image in float64"),
        (RIDGE, constant, True, "the features are the same in all"),
        (RidgeSettings(classes=["ant"]), None, False, "1 class to train on"),
        (RAW, None, False, "must have one width to be compared: image 12, text 7 dimensions; extract them with"),
    ],
)
def test_what_cannot_be_fitted_is_one_line_and_leaves_nothing(
    tmp_path: Path, settings: BaselineSettings, change: object, both: bool, words: str
) -> None:
    image, text = blobs("image"), blobs("text")
    if callable(change):
        image, text = change(image) if both else image, change(text)
    caches = write(tmp_path, image, text)
    assert words in baseline_error(caches, tmp_path / "run", settings)
    with pytest.raises(InputError):
        train_group(caches, tmp_path / "group", settings, [0, 1])
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "group").exists()


def test_chosen_classes_that_a_modality_lacks(tmp_path: Path) -> None:
    caches = write(tmp_path, blobs("image"), without_class(without_class(blobs("text"), "bee"), "cow"))
    for settings in (CcaSettings(classes=["bee", "cow"]), RidgeSettings(classes=["bee", "cow"])):
        assert "text: no training row is of the chosen classes (bee, cow)" in baseline_error(
            caches, tmp_path / "run", settings
        )


def test_a_modality_without_rows_of_a_shared_class(tmp_path: Path) -> None:
    caches = write(tmp_path, blobs("image"), blobs("audio"), only_dogs(blobs("text")))
    found = baseline_error(caches, tmp_path / "run", CCA)
    assert "no training row of text is of a class that another modality has: leave text out" in found


def test_keys_that_nothing_shares(tmp_path: Path) -> None:
    made = views("image", "text", "audio")
    keyless = write_views(tmp_path / "a", {"image": strange(made["image"]), "text": made["text"]})
    assert "cca needs one or the other" in baseline_error(keyless, tmp_path / "run", CCA)
    assert "no pair key is in two modalities" in baseline_error(keyless, tmp_path / "run", CcaSettings(match="keys"))
    made["audio"] = strange(made["audio"])
    found = baseline_error(write_views(tmp_path / "b", made), tmp_path / "run", CCA)
    assert "no training row of audio shares its pair key with another modality: leave audio out" in found


def test_caches_that_do_not_fit_together(two: list[FeatureCache], tmp_path: Path) -> None:
    for settings in (*LEARNED, RAW):
        assert "two caches hold modality 'image'" in baseline_error([*two, two[0]], tmp_path / "run", settings)
        assert "no caches given" in baseline_error([], tmp_path / "run", settings)
    assert "CCA needs two modalities or more, got image" in baseline_error(two[:1], tmp_path / "run", CCA)
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_kept_and_continued_only_as_it_was_begun(two: list[FeatureCache], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(two, run, CCA).fresh
    before = files(run)
    assert "holds a run already: continue it with --resume" in baseline_error(two, run, CCA)
    for settings, seed, words in (
        (CcaSettings(power=2), 0, "settings.power: 1.0 -> 2.0"),
        (RIDGE, 0, "method: 'cca' -> "),
        (CCA, 1, "seed: 0 -> 1"),
    ):
        assert words in baseline_error(two, run, settings, seed=seed, resume=True)
    outcome = train(two, run, CCA, resume=True)
    assert not outcome.fresh
    assert outcome.branches["text"] == note(run)
    assert files(run) == before


def test_an_interrupted_run_ends_as_if_it_had_not_been(
    two: list[FeatureCache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(two, whole, CCA)

    def stopped(path: Path, *rest: object) -> None:
        if path.stem == "text":
            raise KeyboardInterrupt
        save_linear(path, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(baselines, "save_linear", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(two, run, CCA)
    assert set(files(run / "branches")) == {"image.json", "image.safetensors"}
    assert train(two, run, CCA, resume=True).fresh
    assert files(run) == files(whole)


def test_a_group_is_fitted_once_and_its_members_are_equal(
    two: list[FeatureCache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = []
    monkeypatch.setitem(
        baselines.FITS, "ridge", lambda *given, fit=baselines.FITS["ridge"]: fitted.append(1) or fit(*given)
    )
    out = tmp_path / "group"
    outcomes = train_group(two, out, RIDGE, [4, 1])
    assert len(fitted) == 1
    assert [one.branches["text"]["seed"] for one in outcomes.values()] == [4, 1]
    runs = members(out)
    assert files(runs[4], "*.safetensors") == files(runs[1], "*.safetensors")
    shutil.rmtree(runs[1])
    assert [one.fresh for one in train_group(two, out, RIDGE, [4, 1], resume=True).values()] == [False, True]
    for seeds, settings, resume, words in (
        ([4, 1], RIDGE, False, "holds a group already"),
        ([4, 2], RIDGE, True, "was started with ridge and seeds [4, 1]"),
        ([4, 1], RidgeSettings(penalty=1), True, "settings.penalty: None -> 1.0"),
    ):
        with pytest.raises(InputError) as caught:
            train_group(two, out, settings, seeds, resume=resume)
        assert words in str(caught.value)


def test_a_branch_that_does_not_fit_its_note_is_one_line(two: list[FeatureCache], tmp_path: Path) -> None:
    train(two, tmp_path / "run", SEMANTIC)
    path = tmp_path / "run" / "branches" / "text.safetensors"
    right = note(tmp_path / "run")
    for wrong in ({"in_dim": 5}, {"out_dim": 2}, {"activation": "relu"}, {"similarity": "euclidean"}):
        save_note(path.with_suffix(".json"), {**right, **wrong})
        with pytest.raises(InputError, match="does not fit its note"):
            load_linear(path)
    save_note(path.with_suffix(".json"), {**right, "sha256": ""})
    with pytest.raises(InputError, match=r"is not the file that text\.json was written for"):
        load_linear(path)
