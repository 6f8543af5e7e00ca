"""Runs of the baselines: what they hold, and what they do and do not depend on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tests.training.baseline_building import CCA, LEARNED, RAW, RIDGE, SEMANTIC, note
from tests.training.building import Blobs, blobs, files, multi_label_blobs
from tests.training.ciim_building import CPU, retrieval, without_class, write
from tests.training.paired_building import paired, views, write_views
from xfeat.cache import FeatureCache
from xfeat.evaluation.protocols import evaluate
from xfeat.methods.baseline_settings import BaselineSettings, CcaSettings, RawSettings, RidgeSettings, SemanticSettings
from xfeat.training.asked import Asked
from xfeat.training.baselines import train
from xfeat.training.embedding import embed_run
from xfeat.training.embedding_raw import embed_raw
from xfeat.training.evaluating import evaluate_path
from xfeat.training.gaps import run_gaps
from xfeat.training.loading import load_branch


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[FeatureCache]:
    return write(tmp_path_factory.mktemp("two"), blobs("image", val=True), blobs("text", val=True))


def embedded(run: Path, cache: FeatureCache, split: str = "train") -> np.ndarray:
    branch = load_branch(run / "branches" / f"{cache.manifest.modality}.safetensors")
    return branch.embed(cache.load((split,)).features, CPU).numpy()


def labelled(one: Blobs, rows: Sequence[int]) -> Blobs:
    """The same samples, those rows without a label."""
    labels = one.labels.copy()
    labels[list(rows)] = -1
    return replace(one, labels=labels)


@pytest.mark.parametrize("settings", LEARNED, ids=lambda one: one.method)
def test_unpaired_modalities_meet(two: list[FeatureCache], tmp_path: Path, settings: BaselineSettings) -> None:
    run = tmp_path / "run"
    outcome = train(two, run, settings)
    assert set(files(run)) == {
        ".lock",
        "config.yaml",
        *(f"branches/{name}.{kind}" for name in ("image", "text") for kind in ("json", "safetensors")),
    }
    found = note(run)
    assert outcome.branches["text"] == found
    assert (found["method"], found["modality"], found["seed"]) == (settings.method, "text", 0)
    assert (found["in_dim"], found["out_dim"]) == (7, 2 if settings is CCA else 3)
    assert (found["train_rows"], found["val_rows"]) == (two[1].manifest.counts["split"]["train"], 0)
    assert (found["untrained_classes"], found["unlabelled_rows"]) == ([], 0)
    assert found["settings"] == settings.model_dump()
    assert min(retrieval(run).values()) > 0.8, "chance is a third"
    # A seed is a name: the same bytes, in any order of the caches.
    train(two[::-1], tmp_path / "other", settings, seed=3)
    assert files(tmp_path / "other", "*.safetensors") == files(run, "*.safetensors")


@pytest.mark.parametrize("standardize", [True, False])
def test_posteriors_are_those_of_scikit_learn(tmp_path: Path, standardize: bool) -> None:
    some = [blobs("image"), without_class(blobs("text"), "ant")]
    caches = write(tmp_path, *some)
    train(caches, tmp_path / "run", SemanticSettings(C=0.5, standardize=standardize))
    for cache, there in zip(caches, ([0, 1, 2], [1, 2]), strict=True):
        block = cache.load(("train",))
        x = block.features.astype(float)
        x = StandardScaler(with_std=standardize).fit(x).transform(x)
        expected = np.zeros((len(x), 3))
        model = LogisticRegression(C=0.5, max_iter=3000, tol=1e-8).fit(x, block.labels)
        expected[:, there] = model.predict_proba(x)
        found = embedded(tmp_path / "run", cache)
        np.testing.assert_allclose(found, expected, atol=1e-3, err_msg="up to where the solver stops")
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
        scale = load_branch(tmp_path / "run" / "branches" / f"{cache.manifest.modality}.safetensors").scale  # type: ignore[attr-defined]
        same = scale(block.features).double().numpy()
        model = LogisticRegression(C=0.5, max_iter=3000).fit(same, block.labels)
        np.testing.assert_allclose(found[:, there], model.predict_proba(same), atol=1e-6)
    assert note(tmp_path / "run")["untrained_classes"] == ["ant"]
    assert note(tmp_path / "run")["converged"]


def test_scores_are_the_ridge_regression(two: list[FeatureCache], tmp_path: Path) -> None:
    train(two, tmp_path / "run", RidgeSettings(penalty=0.3))
    block = two[0].load(("train",))
    x, y = block.features.astype(float), np.eye(3)[block.labels]
    x, y = (x - x.mean(axis=0)) / x.std(axis=0), y - y.mean(axis=0)
    scale = np.square(x).sum(axis=1).mean()
    b = np.linalg.solve(x.T @ x + 0.3 * scale * np.eye(x.shape[1]), x.T @ y)
    np.testing.assert_allclose(embedded(tmp_path / "run", two[0]), x @ b, atol=1e-5)


def test_variates_of_pairs_correlate_as_the_singular_values_say(tmp_path: Path) -> None:
    caches = paired(tmp_path, "image", "text")
    run = tmp_path / "run"
    train(caches, run, CcaSettings(regularisation=0, power=0))
    blocks = [cache.load(("train",)) for cache in caches]
    ordered = [np.argsort(block.pair) for block in blocks]
    a, b = (embedded(run, cache)[order] for cache, order in zip(caches, ordered, strict=True))
    white = []
    for block, order in zip(blocks, ordered, strict=True):
        x = block.features[order].astype(float)
        white.append(np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[0])
    rho = np.linalg.svd(white[0].T @ white[1])[1]
    np.testing.assert_allclose(note(run)["correlations"], rho, atol=1e-4)
    np.testing.assert_allclose(a.T @ b / len(a), np.diag(rho), atol=1e-3)
    assert (note(run)["match"], note(run)["groups"]) == ("keys", len(a))
    assert "untrained_classes" not in note(run)
    assert evaluate_path(run, Asked(split="test"), CPU).document["mean"]["R@5"] > 0.9, "by instance, without labels"


def test_captions_and_instances_without_a_modality(tmp_path: Path) -> None:
    caches = paired(tmp_path, "image", "text", "audio", captions={"text": 3}, missing={"audio": 0.4})
    train(caches, tmp_path / "run", CCA)
    assert note(tmp_path / "run", "image")["alone_rows"] == 0
    assert note(tmp_path / "run", "audio")["groups"] < note(tmp_path / "run", "image")["groups"]
    assert note(tmp_path / "run")["train_rows"] == 3 * note(tmp_path / "run", "image")["train_rows"]
    found = evaluate_path(tmp_path / "run", Asked(split="test"), CPU).document
    assert min(pair["R@5"] for pair in found["pairs"].values()) > 0.8


def test_rows_match_by_key_where_caches_share_keys_and_otherwise_by_class(tmp_path: Path) -> None:
    made = views("image", "text", classes=("ant", "bee", "cow"))
    caches = write_views(tmp_path, made)
    own = [f"own {row}" for row in range(len(made["text"].features))]
    (strange,) = write_views(tmp_path / "strange", {"text": made["text"].change(keys=own)})
    for place, (some, match, by) in enumerate(
        (
            (caches, "auto", "keys"),
            (caches, "class", "class"),
            ([caches[0], strange], "auto", "class"),
        )
    ):
        train(some, tmp_path / str(place), CcaSettings(match=match))
        found = note(tmp_path / str(place))
        assert found["match"] == by
        assert ("untrained_classes" in found) == (by == "class")
        assert found["out_dim"] == (2 if by == "class" else 7)


def test_classes_of_one_modality_alone_play_no_part_in_matching(tmp_path: Path) -> None:
    caches = write(tmp_path, blobs("image"), without_class(blobs("text"), "ant"), without_class(blobs("audio"), "ant"))
    train(caches, tmp_path / "run", CCA)
    found = note(tmp_path / "run", "image")
    labels = caches[0].load(("train",)).labels
    assert labels is not None
    assert found["untrained_classes"] == ["ant"]
    assert (found["alone_rows"], found["train_rows"]) == ((labels == 0).sum(), (labels != 0).sum())
    assert note(tmp_path / "run")["untrained_classes"] == ["ant"]


@pytest.mark.parametrize("settings", LEARNED, ids=lambda one: one.method)
def test_rows_of_several_classes(tmp_path: Path, settings: BaselineSettings) -> None:
    caches = write(tmp_path, multi_label_blobs("image"), blobs("text"))
    train(caches, tmp_path / "run", settings)
    found = evaluate_path(tmp_path / "run", Asked(split="test"), CPU).document["mean"]
    assert found["mAP@all"] > found["chance mAP@all"] + 0.2
    if settings is SEMANTIC:
        assert [note(tmp_path / "run", name)["activation"] for name in ("image", "text")] == ["sigmoid"] * 2
        assert embedded(tmp_path / "run", caches[0]).sum(axis=1).max() > 1.5


@pytest.mark.parametrize("settings", LEARNED, ids=lambda one: one.method)
def test_rows_without_a_label_and_of_other_classes_are_counted(tmp_path: Path, settings: BaselineSettings) -> None:
    image, text = blobs("image"), blobs("text")
    bare = [row for row, split in enumerate(text.split) if split == "train" and text.labels[row] == 0][:2]
    ants = [sum(s == "train" and label == 0 for s, label in zip(b.split, b.labels, strict=True)) for b in (image, text)]
    chosen = settings.model_copy(update={"classes": ["b*", "cow"]})
    train(write(tmp_path, image, labelled(text, bare)), tmp_path / "run", chosen)
    found = note(tmp_path / "run")
    assert (found["unlabelled_rows"], found["outside_rows"]) == (2, ants[1] - 2)
    assert note(tmp_path / "run", "image")["outside_rows"] == ants[0]
    assert found["settings"]["classes"] == ["bee", "cow"]
    assert min(retrieval(tmp_path / "run", classes=["bee", "cow"]).values()) > 0.8


def test_features_as_they_are(tmp_path: Path) -> None:
    caches = write(tmp_path, blobs("video"), blobs("touch"))
    train(caches, tmp_path / "run", RAW)
    np.testing.assert_array_equal(embedded(tmp_path / "run", caches[0]), caches[0].load(("train",)).features)
    found = evaluate(embed_run(tmp_path / "run", "test", CPU).items)
    assert found.mean == evaluate(embed_raw(caches, "test").items).mean
    train(caches, tmp_path / "scaled", RawSettings(standardize=True))
    scaled = embedded(tmp_path / "scaled", caches[0])
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-5)
    asked = Asked(split="test")
    answer = evaluate_path(tmp_path / "run", asked, CPU)
    assert list(run_gaps(tmp_path / "run", asked, answer.found, CPU).stages) == ["features", "embedding"]


def test_unlabelled_features_as_they_are_need_no_more(tmp_path: Path) -> None:
    train(paired(tmp_path, "video", "touch"), tmp_path / "run", RAW)
    assert "R@1" in evaluate_path(tmp_path / "run", Asked(split="test"), CPU).document["mean"]


def test_similarity_is_as_set(two: list[FeatureCache], tmp_path: Path) -> None:
    train(two, tmp_path / "run", SemanticSettings(similarity="inner product"))
    assert load_branch(tmp_path / "run/branches/image.safetensors").similarity == "inner product"
    train(two, tmp_path / "ridge", RIDGE)
    branch = load_branch(tmp_path / "ridge/branches/image.safetensors")
    assert branch.similarity == "cosine"
    assert branch.embed(np.zeros((0, 12), np.float32), torch.device("cpu")).shape == (0, 3)


def test_moments_do_not_feel_how_features_lie_in_shards(tmp_path: Path) -> None:
    image, text = blobs("image", rows=30), blobs("text", rows=30)
    for size in (7, 30):
        some = [one.write(tmp_path / str(size) / one.modality, shard_rows=size) for one in (image, text)]
        train(some, tmp_path / f"run{size}", CCA)
    few, one = (embedded(tmp_path / f"run{size}", some[0]) for size in (7, 30))
    np.testing.assert_allclose(few, one, atol=1e-5)
