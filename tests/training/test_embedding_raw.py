from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.pairs import paired
from tests.training.building import CLASSES, blobs, multi_label_blobs
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.training.embedding_raw import embed_raw, embed_raw_zero_shot


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
    other = replace(blobs("text"), classes=("Ant", "Bee", "dog")).write(tmp_path / "other")
    with pytest.raises(InputError, match=r"other share no class .*\(is 'ant' the same as 'Ant'\?\)"):
        embed_raw([image, other], "test")


def test_features_as_they_are_meet_in_the_union_of_classes(tmp_path: Path) -> None:
    image, text = blobs("image"), replace(blobs("text"), classes=("COW", "bee", "dog"))
    found = embed_raw([image.write(tmp_path / "image"), text.write(tmp_path / "text")], "test")
    union = ["COW", "ant", "bee", "cow", "dog"]
    for name, samples in {"image": image, "text": text}.items():
        tested = samples.labels[np.array(samples.split) == "test"]
        assert [union[label] for label in found.items[name].labels] == [samples.classes[label] for label in tested]
    assert found.notes == ["class 'cow' of image and 'COW' of text count as two classes"]


def test_rows_without_a_key_are_left_out_and_counted(tmp_path: Path) -> None:
    samples = paired("image")
    keys = ["" if row < 4 else key for row, key in enumerate(samples.keys or [])]
    found = embed_raw([replace(samples, keys=keys).write(tmp_path / "image")], "test", protocol="instance")
    assert found.unkeyed == {"image": 2}
    assert found.items["image"].keys == [f"i{row}" for row in range(6, 96, 3)]


def test_zero_shot_of_features_as_they_are(tmp_path: Path) -> None:
    image = paired("image").write(tmp_path / "image")
    prompts = replace(paired("image").rows(range(12)), modality="words").write(tmp_path / "words")
    queries, sources = embed_raw_zero_shot([image], "test", prompts=prompts)
    assert (len(queries.ids["image"]), len(sources.ids["words"])) == (32, 12)
    np.testing.assert_array_equal(queries.items["image"].vectors, paired("image").features[::3])


def test_retrieval_of_unseen_classes_needs_their_names(tmp_path: Path) -> None:
    image = paired("image").write(tmp_path / "image")
    for classes in (None, "unseen", "seen"):
        with pytest.raises(InputError, match="with --raw: name the classes to count as unseen, --classes"):
            embed_raw([image], "test", protocol="zero-shot-retrieval", classes=classes)
    alone = embed_raw([image], "test", protocol="zero-shot-retrieval", classes="bee,dog")
    assert (alone.unseen, alone.chosen, len(alone.ids["image"])) == (["bee", "dog"], ["bee", "dog"], 16)
    among = embed_raw([image], "test", protocol="zero-shot-retrieval", classes="bee,dog", gallery_classes="all")
    assert (among.unseen, among.chosen, len(among.ids["image"])) == (["bee", "dog"], None, 32)
