"""CIIM runs: what they learn, and what they do and do not depend on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.building import blobs, files
from tests.training.ciim_building import (
    CPU,
    ENOUGH,
    TINY,
    log,
    note,
    renamed,
    retrieval,
    tiny,
    trained_files,
    without_class,
    write,
    write_tiny,
)
from xfeat.cache import FeatureCache
from xfeat.training.ciim import train
from xfeat.training.loading import load_branch

PARTS = ("single", "hybrid", "interaction", "pairs")
PROPERTIES = ("invariance", "separation", "independence", "sufficiency")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[FeatureCache]:
    return write_tiny(tmp_path_factory.mktemp("two"), "image", "text")


@pytest.fixture(scope="module")
def run(two: list[FeatureCache], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to read only."""
    path = tmp_path_factory.mktemp("runs") / "run"
    torch.set_num_threads(1)  # as in the tests: the last bits depend on it
    train(two, path, TINY)
    return path


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {*PARTS, *PROPERTIES}),
        ({"intervention": False}, set(PARTS)),
        ({"hybrid": 0.0, "single": 0.0, "intervention": False}, {"pairs"}),
        ({"pairs": 0.0, "single": 0.0}, {"hybrid", *PROPERTIES}),
        (
            {"skip": True, "standardize": False, "input_noise": 0.0, "interventions": 1},
            {*PARTS, *PROPERTIES} - {"independence"},
        ),
    ],
)
def test_unpaired_modalities_meet_in_one_space(
    two: list[FeatureCache], tmp_path: Path, changes: dict[str, Any], expected: set[str]
) -> None:
    train(two, tmp_path / "run", tiny(**{**ENOUGH, **changes}))
    found = retrieval(tmp_path / "run")
    assert set(found) == {"image->text", "text->image"}
    assert min(found.values()) > 0.7, "chance is a third"
    rows = log(tmp_path / "run")
    assert {key.removeprefix("train_") for key in rows[0] if key.startswith("train_")} == {"loss", *expected}
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert all(np.isfinite(value) for row in rows for key, value in row.items() if key.startswith("train_"))


def test_a_run_says_what_it_was_trained_on(two: list[FeatureCache], run: Path) -> None:
    assert set(files(run)) == {
        ".lock",
        "config.yaml",
        "log.jsonl",
        "shared.json",
        "shared.safetensors",
        *(f"branches/{name}.{kind}" for name in ("image", "text") for kind in ("json", "safetensors")),
    }
    found = note(run)
    assert (found["method"], found["modality"], found["stage"]) == ("ciim", "text", "ciim")
    assert (found["in_dim"], found["out_dim"]) == (7, 12)
    splits = two[1].manifest.counts["split"]
    assert (found["train_rows"], found["val_rows"]) == (splits["train"], 0)
    assert (found["epoch"], found["epochs"], found["seed"]) == (4, 4, 0)
    assert (found["untrained_classes"], found["unlabelled_rows"], found["outside_rows"]) == ([], 0, 0)
    shared = json.loads((run / "shared.json").read_text())
    assert shared["sha256"] == found["shared"]
    assert shared["modalities"] == ["image", "text"]
    assert shared["classes"] == ["ant", "bee", "cow"]
    assert {row["modality"] for row in log(run)} == {"all"}


def test_a_seed_gives_the_same_bytes_and_another_seed_others(
    two: list[FeatureCache], run: Path, tmp_path: Path
) -> None:
    torch.manual_seed(99)
    train(two, tmp_path / "same", TINY)
    for name, content in files(run).items():
        if name != "config.yaml":  # it holds the way to the caches
            assert files(tmp_path / "same")[name] == content, name
    train(two, tmp_path / "other", TINY, seed=1)
    for name, content in trained_files(tmp_path / "other").items():
        assert content != trained_files(run)[name]


def test_the_order_of_the_caches_changes_no_byte(tmp_path: Path) -> None:
    caches = write(tmp_path, blobs("image", val=True), without_class(blobs("text", val=True), "ant"), blobs("audio"))
    found = []
    for number, order in enumerate(([0, 1, 2], [2, 0, 1])):
        path = tmp_path / str(number)
        outcome = train([caches[place] for place in order], path, tiny(select="best", val_fraction=0.2))
        assert list(outcome.branches) == [caches[place].manifest.modality for place in order]
        found.append({n: c for n, c in files(path).items() if n != "config.yaml"})
    assert found[0] == found[1]


def test_modalities_that_lack_classes_meet_in_those_they_share(tmp_path: Path) -> None:
    image, text, audio = blobs("image"), without_class(blobs("text"), "ant"), without_class(blobs("audio"), "cow")
    outcome = train(write(tmp_path, image, text, audio), tmp_path / "run", tiny(**ENOUGH))
    lacking = {name: one["untrained_classes"] for name, one in outcome.branches.items()}
    assert lacking == {"image": [], "text": ["ant"], "audio": ["cow"]}
    found = retrieval(tmp_path / "run", classes=["bee"])
    assert len(found) == 6
    everything = retrieval(tmp_path / "run")
    assert everything["image->text"] > 0.65
    assert everything["text->audio"] > 0.65, "they share bee alone, and image holds the rest together"


def test_a_class_of_one_modality_alone_is_trained_on(tmp_path: Path) -> None:
    image = blobs("image")
    text = renamed(without_class(blobs("text"), "ant"), "bee", "cow")
    train(write(tmp_path, image, text), tmp_path / "run", tiny(**ENOUGH))
    vectors = load_branch(tmp_path / "run/branches/image.safetensors").embed(image.features, CPU)
    cosines, same = vectors @ vectors.T, torch.from_numpy(image.labels[:, None] == image.labels)
    ant = torch.from_numpy(image.labels == 0)
    assert cosines[ant][:, ant].mean() > cosines[ant][:, ~ant].mean() + 0.5
    assert cosines[same].mean() > cosines[~same].mean() + 0.5


def test_the_best_epoch_on_val_is_kept(tmp_path: Path) -> None:
    caches = write_tiny(tmp_path, "image", "text", val=True, noise=1.5)
    epochs = []
    for seed in range(4):
        run = tmp_path / str(seed)
        train(caches, run, tiny(select="best", epochs=12, lr=0.1, lr_schedule="constant"), seed=seed)
        rows = log(run)
        scores = [row["val_score"] for row in rows]
        assert [row["val_retrieval"] for row in rows] == scores
        best = rows[int(np.argmax(scores))]
        epochs.append(best["epoch"])
        for name in ("image", "text"):
            assert (note(run, name)["epoch"], note(run, name)["score"]) == (best["epoch"], max(scores))
        found = retrieval(run, "val")
        assert sum(found.values()) / 2 == pytest.approx(max(scores), abs=1e-6), "the files hold that epoch"
    assert min(epochs) < 12, "the test needs a best epoch that is not the last"


def test_without_val_rows_the_last_epoch_is_kept(run: Path) -> None:
    assert note(run)["epoch"] == 4
    assert {key for row in log(run) for key in row if key.startswith("val_")} == {"val_score"}


def test_fewer_rows_than_a_batch_takes(tmp_path: Path) -> None:
    few = blobs("text", rows=9)
    outcome = train(write(tmp_path, blobs("image"), few), tmp_path / "run", tiny(**ENOUGH, batch_samples=6))
    assert outcome.branches["text"]["train_rows"] == 6
    assert retrieval(tmp_path / "run")["image->text"] > 0.6
