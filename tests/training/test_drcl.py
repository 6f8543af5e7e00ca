"""What DRCL promises of a run: no branch feels its company, and no other row than its own training rows."""

import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.building import CLASSES, MODALITIES, TINY, against, blobs, files, log_rows, settings, train_error
from xfeat.cache import FeatureCache
from xfeat.training.drcl import train
from xfeat.training.store import load_note


def note_without_prior_setting(run: Path, modality: str) -> dict[str, Any]:
    note = load_note(run / "branches" / f"{modality}.json")
    note["settings"].pop("prior")
    return note


def train_notes(run: Path) -> list[dict[str, Any]]:
    return [load_note(run / "branches" / f"{modality}.json") for modality in MODALITIES]


def test_a_run_leaves_what_it_says(together: Path) -> None:
    names = {"config.yaml", "log.jsonl", "prior.json", "prior.safetensors"}
    names |= {
        f"{folder}/{m}.{end}"
        for folder in ("candidates", "branches")
        for m in MODALITIES
        for end in ("json", "safetensors")
    }
    assert set(files(together)) - {".lock"} == names
    expected = [(m, "spl", e) for m in MODALITIES for e in range(1, 5)]
    expected += [(m, "rsc", e) for m in MODALITIES for e in range(1, 7)]
    assert log_rows(together) == expected


@pytest.mark.parametrize("order", [*list(permutations(MODALITIES))[1:], ("text", "image"), ("audio", "text")])
def test_company_and_order_change_no_byte(
    caches: dict[str, FeatureCache], together: Path, tmp_path: Path, order: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    train([caches[name] for name in order], run, TINY)
    theirs = files(together / "candidates")
    mine = files(run / "candidates")
    assert mine == {name: theirs[name] for name in mine}
    if len(order) == 3:
        assert files(run / "branches") == files(together / "branches")
        assert (run / "prior.safetensors").read_bytes() == (together / "prior.safetensors").read_bytes()


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_branch_trained_alone_against_the_same_prior_is_the_same_file(
    caches: dict[str, FeatureCache], together: Path, tmp_path: Path, modality: str
) -> None:
    outcome = train([caches[modality]], tmp_path / "alone", against(together))
    assert outcome.prior["chosen"] == "file"
    name = f"branches/{modality}.safetensors"
    assert (tmp_path / "alone" / name).read_bytes() == (together / name).read_bytes()
    assert note_without_prior_setting(tmp_path / "alone", modality) == note_without_prior_setting(together, modality)


def test_the_callers_randomness_changes_no_byte_and_is_left_alone(
    caches: dict[str, FeatureCache], together: Path, tmp_path: Path
) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    train(list(caches.values()), tmp_path / "again", TINY)
    assert torch.equal(torch.get_rng_state(), before)
    assert files(tmp_path / "again" / "branches") == files(together / "branches")


def test_another_seed_is_another_run(caches: dict[str, FeatureCache], together: Path, tmp_path: Path) -> None:
    train(list(caches.values()), tmp_path / "other", TINY, seed=1)
    ours, theirs = files(together), files(tmp_path / "other")
    for name in ours:
        if name.endswith(".safetensors"):
            assert ours[name] != theirs[name]


def test_test_rows_and_their_labels_change_no_byte(together: Path, tmp_path: Path) -> None:
    samples = blobs("image")
    testing = np.array(samples.split) == "test"
    features = np.where(testing[:, None], np.float32(1e6), samples.features)
    wild = replace(samples, features=features, labels=np.where(testing, -1, samples.labels))
    assert not any(note["unlabelled_rows"] for note in train_notes(together))
    train([wild.write(tmp_path / "image")], tmp_path / "run", against(together))
    name = "branches/image.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (together / name).read_bytes()


def test_the_last_epoch_may_be_the_one_that_is_kept(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    outcome = train([caches["image"]], tmp_path / "run", settings(select="last"))
    assert outcome.branches["image"]["epoch"] == outcome.branches["image"]["epochs"] == 6


def test_caches_that_do_not_fit_together_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    image = blobs("image").write(tmp_path / "image")
    twin = blobs("image", seed=1).write(tmp_path / "twin")
    other = replace(blobs("text"), classes=("cat", "dog", "elk")).write(tmp_path / "other")
    bare = replace(blobs("text"), labels=None).write(tmp_path / "bare")
    lone = replace(blobs("text"), classes=("ant",), labels=np.zeros_like(blobs("text").labels)).write(tmp_path / "lone")
    still = replace(blobs("text"), features=np.ones_like(blobs("text").features)).write(tmp_path / "still")
    for given, message in (
        ([], "no caches given"),
        ([image, still], r"still: the features are the same in all \d+ training rows"),
        ([lone], "1 class to train on"),
        ([image, twin], "two caches hold modality 'image'"),
        ([image, other], "share no class"),
        ([image, bare], "bare has no labels"),
        ([bare, image], "bare has no labels"),
    ):
        assert re.search(message, train_error(given, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_folder_with_other_files_is_refused(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    image = [caches["image"]]
    assert "holds other files" in train_error(image, tmp_path)
    assert "thesis.tex is a file" in train_error(image, tmp_path / "thesis.tex")
    assert set(files(tmp_path)) == {"thesis.tex"}


def test_classes_in_another_order_are_matched_by_name(together: Path, tmp_path: Path) -> None:
    turned = [
        blobs("image"),
        blobs("text").with_classes(("cow", "ant", "bee")),
        blobs("audio").with_classes(CLASSES[::-1]),
    ]
    for order in (turned, turned[::-1]):
        run = tmp_path / order[0].modality
        train([samples.write(tmp_path / "c" / samples.modality) for samples in order], run, TINY)
        assert files(run / "branches", "*.safetensors") == files(together / "branches", "*.safetensors")


def test_rows_without_a_label_train_nothing_and_are_counted(together: Path, tmp_path: Path) -> None:
    """A cache with such rows gives the branch of the cache without them."""
    samples = blobs("image", val=True)
    bare = np.array([name != "test" and row % 7 == 0 for row, name in enumerate(samples.split)])
    unlabelled = replace(samples, labels=np.where(bare, -1, samples.labels))
    split = ["none" if gone else name for gone, name in zip(bare, samples.split, strict=True)]
    without = replace(samples, split=split)
    notes = []
    for name, some in (("unlabelled", unlabelled), ("without", without)):
        notes += [train([some.write(tmp_path / "c" / name)], tmp_path / name, against(together)).branches["image"]]
    assert [note["unlabelled_rows"] for note in notes] == [bare.sum(), 0]
    assert notes[0]["sha256"] == notes[1]["sha256"]


def test_a_modality_may_lack_classes_of_the_others(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    samples = blobs("text")
    few = samples.labels < 2
    two = replace(
        samples,
        features=samples.features[few],
        labels=samples.labels[few],
        split=[name for name, there in zip(samples.split, few, strict=True) if there],
        classes=CLASSES[:2],
    ).write(tmp_path / "text")
    outcome = train([caches["image"], two], tmp_path / "run", TINY)
    assert outcome.prior["classes"] == list(CLASSES)
    assert {name: note["untrained_classes"] for name, note in outcome.branches.items()} == {
        "image": [],
        "text": ["cow"],
    }


@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"class_weight": "balanced"}], ids=["bf16", "balanced"])
def test_other_ways_to_train_are_as_independent(
    caches: dict[str, FeatureCache], tmp_path: Path, changes: dict[str, Any]
) -> None:
    both, alone = tmp_path / "both", tmp_path / "alone"
    train([caches["image"], caches["text"]], both, settings(**changes))
    train([caches["text"]], alone, settings(**changes, prior=str(both / "prior.safetensors")))
    assert files(alone / "branches", "*.safetensors") == {
        name: content for name, content in files(both / "branches", "*.safetensors").items() if name.startswith("text")
    }


def test_a_memory_that_is_no_size_stands_in_no_runs_way(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    run = tmp_path / "run"
    for prior in ("spl", "orthogonal"):
        assert "memory='lots': write a size" in train_error(
            [caches["image"]], run, settings(memory="lots", prior=prior)
        )
    assert train([caches["image"]], run, TINY).fresh == ["image"]
