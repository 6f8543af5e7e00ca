"""SSPC runs: what they learn, what they do not depend on, and going on after an interruption."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.building import files
from tests.training.paired_building import SPLITS, TINY, View, paired, tiny, views, write_views
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.evaluation.instance import evaluate_instances
from xfeat.training.embedding import embed_run
from xfeat.training.loading import load_branch
from xfeat.training.sspc import train

CPU = torch.device("cpu")
SIX = ("image", "text", "audio", "video", "depth", "touch")
NO_VAL = ("train", "train", "test")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[FeatureCache]:
    return paired(tmp_path_factory.mktemp("two"), "image", "text", captions={"text": 2})


@pytest.fixture(scope="module")
def run(two: list[FeatureCache], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to read only."""
    path = tmp_path_factory.mktemp("runs") / "run"
    torch.set_num_threads(1)  # as in the tests: the last bits depend on it
    train(two, path, TINY)
    return path


def branches(path: Path) -> dict[str, bytes]:
    return files(path / "branches", "*.safetensors")


def note(path: Path, modality: str = "text") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "branches" / f"{modality}.json").read_text(encoding="utf-8"))
    return found


def log(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def recall(path: Path, split: str = "test", metric: str = "R@1", **options: Any) -> dict[str, tuple[float, float]]:
    """Value and chance by pair."""
    found = evaluate_instances(embed_run(path, split, CPU, protocol="instance", **options).items)
    return {pair: (one.metrics[metric], one.chance[metric]) for pair, one in found.pairs.items()}


def assert_learned(path: Path, modalities: Sequence[str]) -> None:
    found = recall(path)
    assert set(found) == {f"{a}->{b}" for a in modalities for b in modalities if a != b}
    value, chance = np.mean(list(found.values()), axis=0)
    assert value > min(0.4, 4 * chance), found
    assert all(one > by_chance for one, by_chance in found.values()), found


LEARN: Mapping[str, Any] = {"epochs": 10, "lr": 0.03, "input_dim": 24, "iterations": 2}


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {}),
        ({"beta": 0.0}, {}),
        ({"assignment": "single", "input_anchors": "raw"}, {"captions": {"text": 3}}),
        ({"depth": 1, "heads": 2, "lr": 0.005, "epochs": 20}, {"tokens": ["text"]}),
        ({"depth": 1, "heads": 2, "lr": 0.005, "epochs": 20}, {"tokens": ["image", "text"], "missing": {"text": 0.3}}),
        ({"slices": "continuous", "dropout": 0.1, "input_noise": 0.1}, {"missing": {"image": 0.3, "text": 0.3}}),
        ({"views": 2, "epochs": 5}, {"captions": {"text": 2, "image": 2}, "classes": ("a", "b")}),
        ({"lr_schedule": "exponential", "select": "best"}, {"splits": SPLITS}),
    ],
)
def test_a_run_learns_who_belongs_together(tmp_path: Path, changes: dict[str, Any], options: dict[str, Any]) -> None:
    caches = paired(tmp_path, "image", "text", **{"count": 90, "splits": NO_VAL, **options})
    train(caches, tmp_path / "run", tiny(**{**LEARN, **changes}))
    assert_learned(tmp_path / "run", ("image", "text"))
    course = [row["train_loss"] for row in log(tmp_path / "run")]
    assert all(np.isfinite(course))
    parts = {key for row in log(tmp_path / "run") for key in row if key.startswith("train_")}
    consistent = {"train_consistency"} if changes.get("beta", 1) else set()
    assert parts == {"train_loss", "train_contrastive"} | consistent


def test_six_modalities_train_by_the_same_code(tmp_path: Path) -> None:
    missing = {"touch": 0.3, "video": 0.5}
    caches = paired(tmp_path, *SIX, count=120, missing=missing, tokens=["depth"], splits=NO_VAL)
    outcome = train(caches, tmp_path / "run", tiny(**{**LEARN, "epochs": 8}, modality_weight={"audio": 0.5}))
    assert list(outcome.branches) == list(SIX)
    assert_learned(tmp_path / "run", SIX)
    assert {name for name, one in outcome.branches.items() if one["tokens"]} == {"depth"}
    assert outcome.branches["touch"]["with_modality"] < outcome.branches["image"]["with_modality"]


def test_tokens_off_reads_the_pooled_vectors(tmp_path: Path) -> None:
    made = views("image", "text", tokens=["text"])
    caches = write_views(tmp_path / "tokens", made)
    plain = write_views(tmp_path / "plain", {**made, "text": made["text"].change(tokens=None)})
    train(caches, tmp_path / "run", tiny(tokens="off"))
    train(plain, tmp_path / "other", tiny())
    assert branches(tmp_path / "run") == branches(tmp_path / "other")
    train(caches, tmp_path / "third", tiny())
    assert branches(tmp_path / "third") != branches(tmp_path / "other")


def test_a_seed_gives_the_same_bytes_and_another_seed_others(
    two: list[FeatureCache], run: Path, tmp_path: Path
) -> None:
    torch.manual_seed(99)
    train(two, tmp_path / "same", TINY)
    assert files(tmp_path / "same" / "branches") == files(run / "branches")
    assert (tmp_path / "same" / "log.jsonl").read_bytes() == (run / "log.jsonl").read_bytes()
    train(two, tmp_path / "other", TINY, seed=1)
    for name, content in branches(tmp_path / "other").items():
        assert content != branches(run)[name]


@pytest.mark.parametrize("changes", [{}, {"dropout": 0.2, "input_noise": 0.1, "ema": 0.9}])
def test_the_order_of_the_caches_changes_no_byte_of_a_branch(tmp_path: Path, changes: dict[str, Any]) -> None:
    made = paired(tmp_path, "image", "text", "audio", captions={"text": 3, "audio": 2}, missing={"image": 0.2})
    found = []
    for number, order in enumerate(([0, 1, 2], [2, 0, 1])):
        train([made[place] for place in order], tmp_path / str(number), tiny(iterations=2, **changes))
        found.append(files(tmp_path / str(number) / "branches"))
    assert found[0] == found[1]


def test_the_best_epoch_on_val_is_kept_and_its_weights_count(two: list[FeatureCache], tmp_path: Path) -> None:
    epochs = set()
    for weights in ("raw", "ema", "auto"):
        path = tmp_path / weights
        train(two, path, tiny(select="best", weights=weights, epochs=8, lr=0.1, ema=0.9))
        rows = log(path)
        scores = [row["val_score"] for row in rows]
        best = rows[int(np.argmax(scores))]
        for modality in ("image", "text"):
            assert note(path, modality)["epoch"] == best["epoch"]
            assert note(path, modality)["score"] == best["val_score"]
        counts = weights if weights != "auto" else ("ema" if best["val_ema"] >= best["val_raw"] else "raw")
        assert note(path)["weights"] == counts
        assert best["val_score"] == best[f"val_{counts}"]
        for kind in ("raw", "ema"):
            found = recall(path, "val", "gmean", weights=kind)
            mean = sum(value for value, _ in found.values()) / len(found)
            assert mean == pytest.approx(best[f"val_{kind}"], abs=1e-6), "the file holds the weights of that epoch"
        epochs.add(best["epoch"])
    assert min(epochs) < 8, "the test needs a best epoch that is not the last"


def test_the_last_epoch_is_kept_if_nothing_is_said(run: Path, two: list[FeatureCache]) -> None:
    found = note(run)
    assert (found["epoch"], found["epochs"]) == (4, 4)
    last = log(run)[-1]
    assert found["weights"] == ("ema" if last["val_ema"] >= last["val_raw"] else "raw"), "val rows choose"
    assert found["val_instances"] == 10
    path = run / "branches" / "text.safetensors"
    raw, ema, kept = (load_branch(path, kind).embed(two[1].load().features, CPU) for kind in ("raw", "ema", "kept"))  # type: ignore[arg-type]
    assert torch.equal(kept, {"raw": raw, "ema": ema}[found["weights"]])
    assert (raw - ema).abs().max() > 1e-3


def test_without_an_average_the_weights_are_those_that_were_trained(two: list[FeatureCache], tmp_path: Path) -> None:
    train(two, tmp_path / "run", tiny(ema=0.0))
    assert note(tmp_path / "run")["weights"] == "raw"
    train(two, tmp_path / "raw", tiny(weights="raw"))
    assert note(tmp_path / "raw")["weights"] == "raw"
    with_average, without = (
        load_branch(path / "branches" / "text.safetensors").embed(two[1].load().features, CPU)
        for path in (tmp_path / "raw", tmp_path / "run")
    )
    assert torch.equal(with_average, without), "the average changes nothing of the training"


def test_without_val_rows_the_last_epoch_counts(tmp_path: Path) -> None:
    caches = paired(tmp_path, "image", "text", splits=("train", "test"))
    train(caches, tmp_path / "run", tiny(select="last"))
    found = note(tmp_path / "run")
    assert (found["epoch"], found["val_instances"], found["weights"]) == (4, 0, "ema")
    assert {key for row in log(tmp_path / "run") for key in row if key.startswith("val_")} == {"val_score"}


def test_without_val_rows_an_average_of_more_than_the_training_does_not_count(tmp_path: Path) -> None:
    caches = paired(tmp_path, "image", "text", splits=("train", "test"))
    train(caches, tmp_path / "run", tiny(ema=0.9999))
    assert note(tmp_path / "run")["weights"] == "raw"
    train(caches, tmp_path / "asked", tiny(ema=0.9999, weights="ema"))
    assert note(tmp_path / "asked")["weights"] == "ema"


def test_val_rows_that_are_no_pairs_choose_nothing(tmp_path: Path) -> None:
    made = views("image", "text")
    image = made["image"]
    keys = [f"{key}?" if split == "val" else key for key, split in zip(image.keys or (), image.split, strict=True)]
    caches = write_views(tmp_path, {**made, "image": image.change(keys=keys)})
    train(caches, tmp_path / "run", tiny(select="last"))
    assert note(tmp_path / "run")["val_instances"] == 0
    assert note(tmp_path / "run")["epoch"] == 4
    with pytest.raises(InputError, match=r"select=best.*val"):
        train(caches, tmp_path / "best", tiny(select="best"))


def test_a_queue_that_never_fills_is_refused(tmp_path: Path) -> None:
    caches = paired(tmp_path, "image", "text", splits=("train", "test"))
    with pytest.raises(InputError, match=r"queue of 9,000 .* never fills with image.*--set queue="):
        train(caches, tmp_path / "run", tiny(queue=9000))
    train(caches, tmp_path / "run", tiny(queue=9000, beta=0))  # contrastive only needs none


def disturbed(one: View, rows: Sequence[bool]) -> View:
    features = one.features.copy()
    features[np.array(rows)] += 5 * np.random.default_rng(1).normal(size=features.shape[1]).astype(np.float32)
    assert np.array(rows).any()
    return one.change(features=features)


def test_test_rows_and_rows_of_other_classes_reach_nothing(tmp_path: Path) -> None:
    """Neither training, nor the scale of inputs, nor the choice of an epoch."""
    made = views("image", "text", classes=("Latin/a", "Latin/b", "Greek/a"), splits=("train", "train", "val", "test"))
    made["text"] = made["text"].change(labels=None, classes=())
    settings = tiny(classes=["Latin/*"], select="best", weights="raw", iterations=2)
    outcome = train(write_views(tmp_path / "as is", made), tmp_path / "run", settings)
    classes = {
        key: made["image"].classes[label]
        for key, label in zip(made["image"].keys or (), made["image"].labels, strict=True)  # type: ignore[arg-type]
    }

    def changed(which: str) -> dict[str, View]:
        return {
            name: disturbed(
                one,
                [
                    split == "test" if which == "test" else split == which and classes[key] == "Greek/a"
                    for split, key in zip(one.split, one.keys or (), strict=True)
                ],
            )
            for name, one in made.items()
        }

    for which in ("test", "val", "train"):
        train(write_views(tmp_path / which, changed(which)), tmp_path / f"run-{which}", settings)
        assert branches(tmp_path / f"run-{which}") == branches(tmp_path / "run")
        assert log(tmp_path / f"run-{which}") == log(tmp_path / "run")
    for one in outcome.branches.values():
        assert (one["instances"], one["outside_rows"], one["val_instances"]) == (20, 10, 10)
        assert one["settings"]["classes"] == ["Latin/a", "Latin/b"]
    train(write_views(tmp_path / "all", made), tmp_path / "run-all", tiny(select="best", weights="raw", iterations=2))
    assert branches(tmp_path / "run-all") != branches(tmp_path / "run")


def test_rows_that_are_alone_are_counted_and_not_trained_on(tmp_path: Path) -> None:
    made = views("image", "text", missing={"text": 0.3}, splits=("train",))
    alone = len(made["image"].features) - len(made["text"].features)
    assert alone > 5
    outcome = train(write_views(tmp_path, made), tmp_path / "run", TINY)
    assert (outcome.branches["image"]["alone_rows"], outcome.branches["text"]["alone_rows"]) == (alone, 0)
    assert outcome.branches["image"]["instances"] == len(made["text"].features)


def test_views_draw_an_instance_several_times_an_epoch(two: list[FeatureCache], run: Path, tmp_path: Path) -> None:
    outcome = train(two, tmp_path / "run", tiny(views=3))
    assert (outcome.branches["text"]["instances"], outcome.branches["text"]["train_rows"]) == (40, 80)
    assert log(tmp_path / "run")[-1]["train_contrastive"] < 0.9 * log(run)[-1]["train_contrastive"]
