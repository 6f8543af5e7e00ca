"""Which rows train and which choose the epoch: by split, by label, by class names, by seed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.cache.building import make_features, make_plan
from tests.training.building import CLASSES, Blobs, blobs, multi_label_blobs
from xfeat.cache import CacheWriter, FeatureCache
from xfeat.errors import InputError
from xfeat.training.selection import Selection, select_rows


def selection(labels: list[int], val: list[bool] | None = None, classes: int = 3) -> Selection:
    held = np.array(val) if val else np.zeros(len(labels), bool)
    return Selection(np.arange(len(labels)), np.array(labels, np.int64), held, classes, 0)


def places(samples: Blobs, split: str) -> list[int]:
    return [row for row, name in enumerate(samples.split) if name == split]


@pytest.mark.parametrize("shard_rows", [7, 32, 100])
def test_rows_are_those_of_the_splits_train_and_val(tmp_path: Path, shard_rows: int) -> None:
    samples = blobs("image", val=True)
    found = select_rows(samples.write(tmp_path / "c", shard_rows=shard_rows), CLASSES)
    assert found.rows[~found.val].tolist() == places(samples, "train")
    assert found.rows[found.val].tolist() == places(samples, "val")
    assert (np.diff(found.rows) > 0).all()
    np.testing.assert_array_equal(found.labels, samples.labels[found.rows])
    assert (found.labels.dtype, found.classes, found.unlabelled) == (np.int64, 3, 0)
    np.testing.assert_array_equal(found.counts(), np.bincount(samples.labels[places(samples, "train")]))


def test_rows_that_failed_are_left_out(tmp_path: Path) -> None:
    plan = make_plan(rows=40)
    columns = replace(plan.columns, labels=np.arange(40) % 3)
    failed = [3, 4, 30]  # of train, val and train
    with CacheWriter(tmp_path / "c", replace(plan, columns=columns)) as writer:
        for shard in list(writer.missing):
            start, stop = writer.manifest.span(shard)
            status = ["unreadable" if row in failed else "ok" for row in range(start, stop)]
            writer.write(shard, make_features(plan)[start:stop], status)
        writer.finish()
    found = select_rows(FeatureCache(tmp_path / "c"), ["cat", "dog", "鳥"])
    assert found.rows.tolist() == [row for row in range(40) if row % 3 < 2 and row not in failed]
    assert found.unlabelled == 0


@pytest.mark.parametrize("multi", [False, True])
def test_rows_without_a_label_are_left_out_and_counted(tmp_path: Path, multi: bool) -> None:
    samples = blobs("image", val=True)
    bare = [places(samples, "train")[0], places(samples, "train")[7], places(samples, "val")[1]]
    labels = samples.labels.copy()
    labels[[*bare, *places(samples, "test")]] = -1
    hot = (labels[:, None] == np.arange(3)).astype(np.uint8)
    cache = replace(samples, labels=hot if multi else labels).write(tmp_path / "c", shard_rows=8)
    found = select_rows(cache, CLASSES)
    assert found.unlabelled == 3  # those of the test split are nobody's business
    expected = [row for row, name in enumerate(samples.split) if name != "test" and row not in bare]
    assert found.rows.tolist() == expected
    own = found.labels.argmax(1) if multi else found.labels
    np.testing.assert_array_equal(own, samples.labels[expected])


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    samples = blobs("image", val=True)
    plain = select_rows(samples.write(tmp_path / "plain"), CLASSES)
    shuffled = select_rows(samples.with_classes(("cow", "ant", "bee")).write(tmp_path / "shuffled"), CLASSES)
    np.testing.assert_array_equal(plain.labels, shuffled.labels)
    turned = select_rows(samples.write(tmp_path / "plain"), ("bee", "cow", "ant"))
    names = np.array(("bee", "cow", "ant"))[turned.labels]
    np.testing.assert_array_equal(names, np.array(CLASSES)[plain.labels])


def test_a_cache_may_lack_classes_of_the_run(tmp_path: Path) -> None:
    run = ("aardvark", "cow", "bee", "yak", "ant")
    samples = blobs("image")
    found = select_rows(samples.write(tmp_path / "one"), run)
    assert found.classes == 5
    np.testing.assert_array_equal(np.array(run)[found.labels], np.array(CLASSES)[samples.labels[found.rows]])
    assert [name for name, count in zip(run, found.counts(), strict=True) if count == 0] == ["aardvark", "yak"]
    several = multi_label_blobs("image")
    hot = select_rows(several.write(tmp_path / "several"), run).labels
    assert (hot.shape, hot.dtype) == ((60, 5), np.uint8)
    kept = several.labels[[row for row, name in enumerate(several.split) if name == "train"]]
    np.testing.assert_array_equal(hot[:, [4, 2, 1]], kept)
    assert not hot[:, [0, 3]].any()


def test_a_row_of_several_classes_counts_for_each_in_part() -> None:
    hot = np.array([[1, 1, 0], [0, 1, 0], [1, 1, 1]], np.uint8)
    found = Selection(np.arange(3), hot, np.array([False, False, True]), 3, 0)
    assert found.counts().tolist() == [0.5, 1.5, 0]
    assert selection([0, 0, 2, 1], [False, False, False, True]).counts().tolist() == [2, 0, 1]


@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=60),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 10**6),
)
def test_what_is_held_out_is_spread_over_the_classes_and_as_much_as_was_asked(
    labels: list[int], fraction: float, seed: int
) -> None:
    given = selection(labels, classes=5)
    counts = np.bincount(labels, minlength=5)
    most = int(np.maximum(counts - 1, 0).sum())
    if most == 0:
        with pytest.raises(InputError, match="every class has one training row"):
            given.held_out(fraction, "image", seed)
        return
    found = given.held_out(fraction, "image", seed)
    np.testing.assert_array_equal(found.rows, given.rows)
    assert not given.val.any()
    held = np.bincount(np.array(labels)[found.val], minlength=5)
    # Every class keeps a row and gives no more than its share, rounded up; within that, all that was asked for.
    able = np.minimum(np.floor(fraction * counts) + 1, np.maximum(counts - 1, 0))
    assert (held <= able).all()
    assert found.val.sum() == min(able.sum(), max(1, round(fraction * len(labels))))
    assert (held >= np.minimum(np.floor(fraction * counts), able)).all()


def test_rows_are_held_out_class_by_class(tmp_path: Path) -> None:
    samples = blobs("image", rows=90)
    found = select_rows(samples.write(tmp_path / "c"), CLASSES).held_out(0.2, "image", 0)
    assert found.rows.tolist() == places(samples, "train")
    assert found.val.sum() == round(0.2 * len(found.rows))
    for label in range(3):
        there = found.labels == label
        assert abs(found.val[there].sum() - 0.2 * there.sum()) < 1


@pytest.mark.parametrize(("fraction", "held"), [(0.01, 1), (0.5, 4), (0.99, 5)])
def test_a_class_keeps_a_row_and_the_total_is_what_was_asked(fraction: float, held: int) -> None:
    found = selection([0, 0, 0, 0, 1, 1, 1, 2]).held_out(fraction, "image", 0)
    assert set(found.labels[~found.val].tolist()) == {0, 1, 2}
    assert found.val.sum() == held


def test_many_small_classes_give_no_more_than_the_fraction() -> None:
    found = selection((np.arange(120) // 3).tolist(), classes=40).held_out(0.1, "image", 0)
    assert found.val.sum() == 12
    assert (found.counts() > 0).all()


def test_the_rows_held_out_depend_on_seed_and_modality_alone() -> None:
    given = selection([row % 3 for row in range(60)])
    first = given.held_out(0.2, "image", 0).val
    torch.manual_seed(5)
    np.random.seed(5)  # global states must not matter
    np.testing.assert_array_equal(given.held_out(0.2, "image", 0).val, first)
    for modality, seed in (("image", 1), ("text", 0)):
        assert (given.held_out(0.2, modality, seed).val != first).any()


def test_classes_that_a_cache_lacks_do_not_change_what_it_holds_out(tmp_path: Path) -> None:
    cache = blobs("image").write(tmp_path / "c")
    few = select_rows(cache, CLASSES).held_out(0.2, "image", 0)
    many = select_rows(cache, (*CLASSES, "dog", "elk")).held_out(0.2, "image", 0)
    assert few.val.sum() == many.val.sum()
    np.testing.assert_array_equal(
        np.bincount(few.labels[few.val], minlength=3), np.bincount(many.labels[many.val], minlength=5)[:3]
    )


def test_where_there_is_a_val_split_nothing_is_held_out() -> None:
    found = selection([0, 1, 2, 0], [False, False, False, True])
    np.testing.assert_array_equal(found.held_out(0.5, "image", 0).val, found.val)


def test_samples_of_several_classes_are_held_out_by_their_first(tmp_path: Path) -> None:
    found = select_rows(multi_label_blobs("image").write(tmp_path / "c"), CLASSES).held_out(0.2, "image", 0)
    assert found.val.sum() == 12
    first = found.labels.argmax(1)
    for label in range(3):
        assert abs(found.val[first == label].sum() - 0.2 * (first == label).sum()) < 1


def no_labels(samples: Blobs) -> Blobs:
    return replace(samples, labels=None)


def no_training_rows(samples: Blobs) -> Blobs:
    return replace(samples, split=["test"] * len(samples.split))


def val_alone(samples: Blobs) -> Blobs:
    return replace(samples, split=["val"] * len(samples.split))


def no_label_at_all(samples: Blobs) -> Blobs:
    return replace(samples, labels=np.full(len(samples.labels), -1))


def no_class_at_all(samples: Blobs) -> Blobs:
    return replace(samples, labels=np.zeros((len(samples.labels), 3), np.uint8))


def another_class(samples: Blobs) -> Blobs:
    return replace(samples, classes=("ant", "bee", "dog"))


def other_classes(samples: Blobs) -> Blobs:
    return replace(samples, classes=("cat", "dog", "elk"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (no_labels, ["has no labels", "bad"]),
        (no_training_rows, ["no rows in split 'train'", "splits there: test", "bad"]),
        (val_alone, ["no rows in split 'train'", "splits there: val", "bad"]),
        (no_label_at_all, ["no rows in split 'train' with a label", "40 rows have none", "bad"]),
        (no_class_at_all, ["no rows in split 'train' with a label", "40 rows have none", "bad"]),
        (another_class, ["'dog'", "bad", "add-class"]),
        (other_classes, ["'cat'", "'ant'", "bad"]),
    ],
)
def test_caches_that_cannot_be_trained_on_are_named(tmp_path: Path, change: Any, words: list[str]) -> None:
    cache = change(blobs("image")).write(tmp_path / "bad")
    with pytest.raises(InputError) as caught:
        select_rows(cache, CLASSES)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_cache_that_claims_to_be_empty_is_one_line(tmp_path: Path) -> None:
    cache = blobs("image").write(tmp_path / "c")
    path = cache.path / "manifest.json"
    nothing = {"rows": 0, "counts": {"ok": 0, "failed": 0, "split": {}}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **nothing}))
    with pytest.raises(InputError) as caught:
        select_rows(FeatureCache(cache.path), CLASSES)
    assert "\n" not in str(caught.value)
