import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from tests.training.building import CLASSES, TINY, Blobs, blobs, multi_label_blobs
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.training.drcl import train
from xfeat.training.embedding import embed_raw, embed_run
from xfeat.training.store import load_branch

CPU = torch.device("cpu")


def with_unlabelled_test_rows(samples: Blobs) -> tuple[Blobs, list[int]]:
    rows = [row for row, split in enumerate(samples.split) if split == "test"][:3]
    labels = samples.labels.copy()
    labels[rows] = -1
    return replace(samples, labels=labels), rows


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Text has its classes in another order, and three test rows without a label."""
    text, _ = with_unlabelled_test_rows(blobs("text").with_classes(("cow", "ant", "bee")))
    caches = [blobs("image").write(tmp_path / "image"), text.write(tmp_path / "text")]
    train(caches, tmp_path / "run", TINY)
    return tmp_path / "run"


def test_rows_labels_and_the_runs_class_order(run: Path) -> None:
    found = embed_run(run, "test", CPU)
    assert list(found.items) == ["image", "text"]
    assert not found.multi_label
    assert found.unlabelled == {"image": 0, "text": 3}
    for name in ("image", "text"):
        samples = blobs(name)
        rows = [row for row, split in enumerate(samples.split) if split == "test"]
        rows = rows[found.unlabelled[name] :]
        assert found.ids[name] == [f"{name}/{row:03d}" for row in rows]
        np.testing.assert_array_equal(found.items[name].labels, samples.labels[rows])
        branch = load_branch(run / "branches" / f"{name}.safetensors")
        with torch.no_grad():
            expected = branch.head(branch.scale(samples.features[rows]))
        vectors = torch.as_tensor(found.items[name].vectors)
        torch.testing.assert_close(vectors, expected)
        torch.testing.assert_close(vectors, normalize(vectors, dim=1))


def test_another_split(run: Path) -> None:
    assert len(embed_run(run, "train", CPU).ids["image"]) == 40


def test_a_split_that_is_not_there(run: Path) -> None:
    with pytest.raises(InputError, match=r"image: no rows in split 'dev' \(splits there: test, train\)"):
        embed_run(run, "dev", CPU)


def test_a_cache_that_was_remade_with_another_fingerprint(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "image")
    replace(blobs("image"), backbone="other blobs").write(tmp_path / "image")
    with pytest.raises(InputError, match="was made anew since run was trained"):
        embed_run(run, "test", CPU)


def test_a_branch_that_is_missing(run: Path) -> None:
    (run / "branches" / "text.json").unlink()
    with pytest.raises(InputError, match=r"text\.json does not exist: the run is not finished"):
        embed_run(run, "test", CPU)


def test_a_split_without_any_label(tmp_path: Path) -> None:
    samples = blobs("image")
    labels = np.where(np.array(samples.split) == "test", -1, samples.labels)
    cache = replace(samples, labels=labels).write(tmp_path / "image")
    with pytest.raises(InputError, match="no row of split 'test' has a label"):
        embed_raw([cache], "test")


def test_features_as_they_are(tmp_path: Path) -> None:
    image = blobs("image")
    text = replace(image, modality="text").with_classes(CLASSES[::-1])
    found = embed_raw([image.write(tmp_path / "image"), text.write(tmp_path / "text")], "test")
    testing = np.array(image.split) == "test"
    for item in found.items.values():
        np.testing.assert_array_equal(item.vectors, image.features[testing])
        np.testing.assert_array_equal(item.labels, image.labels[testing])


def test_one_cache_of_several_classes_makes_all_labels_multi_hot(tmp_path: Path) -> None:
    many, one = multi_label_blobs("image"), blobs("text")
    found = embed_raw([many.write(tmp_path / "image"), one.write(tmp_path / "text")], "test")
    assert found.multi_label
    np.testing.assert_array_equal(found.items["image"].labels, many.labels[np.array(many.split) == "test"])
    expected = np.eye(3, dtype=np.uint8)[one.labels[np.array(one.split) == "test"]]
    np.testing.assert_array_equal(found.items["text"].labels, expected)


def test_features_as_they_are_need_caches_that_fit(tmp_path: Path) -> None:
    image: FeatureCache = blobs("image").write(tmp_path / "image")
    with pytest.raises(InputError, match="two caches hold modality 'image'"):
        embed_raw([image, image], "test")
    bare = replace(blobs("text"), labels=None).write(tmp_path / "bare")
    with pytest.raises(InputError, match="bare has no labels"):
        embed_raw([image, bare], "test")
    other = replace(blobs("text"), classes=("ant", "bee", "dog")).write(tmp_path / "other")
    with pytest.raises(InputError, match="only here: 'dog'"):
        embed_raw([image, other], "test")
