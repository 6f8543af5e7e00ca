from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.building import CLASSES, Blobs, blobs, multi_label_blobs
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.methods.base import BranchData
from xfeat.training.data import InputScale, class_columns, fit_scale, load_branch_data, multi_hot


def load(cache: FeatureCache, **changes: Any) -> tuple[BranchData, InputScale]:
    options = {"standardize": False, "val_fraction": 0.2, "seed": 0, "device": torch.device("cpu"), **changes}
    return load_branch_data(cache, options.pop("classes", CLASSES), **options)


def rows_of(features: torch.Tensor, samples: Blobs) -> list[int]:
    """Which rows of the cache these are."""
    return [int(np.flatnonzero((samples.features == row).all(axis=1))[0]) for row in features.numpy()]


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 20))
def test_scaling_is_the_mean_and_deviation_of_the_training_rows(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    features = (rng.normal(size=(rows, 4)) * [1, 100, 1e-3, 0] + [0, 1e4, 1, 7]).astype(np.float32)
    scale = fit_scale(features, standardize=True)
    exact = features.astype(np.float64)
    deviation = np.sqrt(((exact - exact.mean(0)) ** 2).mean(0))
    deviation[3] = 1  # constant
    if rows == 1:
        deviation[:] = 1
    np.testing.assert_allclose(scale.mean, exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(scale.std, deviation, rtol=1e-5)
    np.testing.assert_allclose(
        scale(features), (features - scale.mean.numpy()) / scale.std.numpy(), rtol=1e-5, atol=1e-5
    )
    assert (scale(features)[:, 3] == 0).all()
    if rows > 1:
        np.testing.assert_allclose(scale(features)[:, 0].mean(), 0, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e8, -3e5])
def test_a_constant_dimension_stays_small(value: float) -> None:
    features = np.full((1000, 1), value, np.float32)
    assert fit_scale(features, standardize=True)(features).abs().max() <= 1e-6 * max(1.0, abs(value))


def test_no_scaling_is_the_identity_even_for_half_precision() -> None:
    features = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float16)
    scaled = fit_scale(features, standardize=False)(features)
    assert scaled.dtype == torch.float32
    np.testing.assert_array_equal(scaled.numpy(), features.astype(np.float32))


def test_scaling_takes_statistics_of_the_rows_that_are_trained_on(tmp_path: Path) -> None:
    for val in (True, False):
        data, scale = load(blobs("image", val=val).write(tmp_path / str(val)), standardize=True)
        torch.testing.assert_close(data.train.features.mean(0), torch.zeros(12), atol=1e-5, rtol=0)
        torch.testing.assert_close(data.train.features.std(0, correction=0), torch.ones(12), atol=1e-4, rtol=0)
        assert data.val.features.mean(0).abs().max() > 1e-3
        assert (scale.std > 0).all()


def test_splits_are_kept_where_there_is_a_val_split(tmp_path: Path) -> None:
    samples = blobs("image", val=True)
    data, _ = load(samples.write(tmp_path / "c"))
    split = np.array(samples.split)
    np.testing.assert_array_equal(data.train.features, samples.features[split == "train"])
    np.testing.assert_array_equal(data.val.features, samples.features[split == "val"])
    np.testing.assert_array_equal(data.train.targets.argmax(1), samples.labels[split == "train"])
    assert (data.modality, data.dim, data.classes) == ("image", 12, 3)


def test_test_rows_are_not_looked_at(tmp_path: Path) -> None:
    samples = blobs("image")
    wild = samples.features.copy()
    testing = np.array(samples.split) == "test"
    wild[testing] = 1e30
    labels = np.where(testing, -1, samples.labels)
    one, scale = load(samples.write(tmp_path / "one"), standardize=True)
    two, other = load(replace(samples, features=wild, labels=labels).write(tmp_path / "two"), standardize=True)
    for a, b in ((one.train, two.train), (one.val, two.val)):
        assert torch.equal(a.features, b.features)
        assert torch.equal(a.targets, b.targets)
    assert torch.equal(scale.mean, other.mean)
    assert torch.equal(scale.std, other.std)


def test_rows_are_held_out_class_by_class(tmp_path: Path) -> None:
    samples = blobs("image", rows=90)
    data, _ = load(samples.write(tmp_path / "c"))
    train, val = rows_of(data.train.features, samples), rows_of(data.val.features, samples)
    assert sorted(train + val) == [row for row, split in enumerate(samples.split) if split == "train"]
    assert len(val) == round(0.2 * len(train + val))
    for label in range(3):
        there = sum(samples.labels[row] == label for row in train + val)
        assert abs(sum(samples.labels[row] == label for row in val) - 0.2 * there) < 1


def test_the_rows_held_out_depend_on_seed_and_modality_alone(tmp_path: Path) -> None:
    samples = blobs("image")
    cache = samples.write(tmp_path / "image")
    first = load(cache)[0].val.features
    torch.manual_seed(5)
    np.random.seed(5)  # global states must not matter
    assert torch.equal(load(cache)[0].val.features, first)
    assert not torch.equal(load(cache, seed=1)[0].val.features, first)
    other = replace(samples, modality="text").write(tmp_path / "text")
    assert not torch.equal(load(other)[0].val.features, first)


@pytest.mark.parametrize(("fraction", "held"), [(0.01, 1), (0.5, 4), (0.99, 5)])
def test_a_class_keeps_a_row_and_the_total_is_what_was_asked(tmp_path: Path, fraction: float, held: int) -> None:
    samples = blobs("image", rows=9)
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 2, -1])  # class 2 has one row
    split = ["train"] * 8 + ["test"]
    data, _ = load(replace(samples, labels=labels, split=split).write(tmp_path / "c"), val_fraction=fraction)
    assert set(data.train.targets.argmax(1).tolist()) == {0, 1, 2}
    assert len(data.val) == held
    assert len(data.train) + len(data.val) == 8


def test_many_small_classes_give_no_more_than_the_fraction(tmp_path: Path) -> None:
    samples = blobs("image", rows=120)
    labels, split = np.arange(120) // 3 % 40, ["train"] * 120
    many = replace(samples, labels=labels, split=split, classes=tuple(f"{c:02d}" for c in range(40)))
    data, _ = load(many.write(tmp_path / "c"), classes=many.classes, val_fraction=0.1)
    assert (len(data.train), len(data.val)) == (108, 12)
    assert (data.train.targets.sum(0) > 0).all()


def test_nothing_can_be_held_out_of_single_rows(tmp_path: Path) -> None:
    samples = replace(blobs("image", rows=3), labels=np.arange(3), split=["train"] * 3)
    with pytest.raises(InputError, match="every class has one training row"):
        load(samples.write(tmp_path / "c"))


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    samples = blobs("image", val=True)
    plain = load(samples.write(tmp_path / "plain"))[0]
    shuffled = load(samples.with_classes(("cow", "ant", "bee")).write(tmp_path / "shuffled"))[0]
    assert torch.equal(plain.train.targets, shuffled.train.targets)
    turned = load(samples.write(tmp_path / "plain"), classes=("bee", "cow", "ant"))[0]
    assert torch.equal(turned.train.targets, plain.train.targets[:, [1, 2, 0]])


def test_samples_of_several_classes_weigh_as_much_as_others(tmp_path: Path) -> None:
    samples = multi_label_blobs("image")
    data, _ = load(samples.write(tmp_path / "c"))
    for rows in (data.train, data.val):
        torch.testing.assert_close(rows.targets.sum(1), torch.ones(len(rows)))
        assert set(rows.targets.unique().tolist()) == {0.0, 0.5, 1.0}
        hot = samples.labels[rows_of(rows.features, samples)]
        np.testing.assert_array_equal(rows.targets.numpy() > 0, hot > 0)


def test_multi_hot_of_indices_leaves_rows_without_a_class_empty() -> None:
    expected = [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    np.testing.assert_array_equal(multi_hot(np.array([1, -1, 0]), [0, 1, 2]), expected)
    np.testing.assert_array_equal(multi_hot(np.array(expected, np.uint8), [2, 0, 1])[0], [0, 0, 1])


def test_columns_of_other_classes_name_both_differences() -> None:
    assert class_columns(["a", "b", "c"], ["c", "a", "b"], "x") == [2, 0, 1]
    with pytest.raises(InputError, match=r"^x: classes differ .*only here: 'b'; missing here: 'c'"):
        class_columns(["a", "b"], ["a", "c"], "x")
    with pytest.raises(InputError, match=r"only here: none; missing here: 'b'"):
        class_columns(["a"], ["a", "b"], "x")


def no_labels(samples: Blobs) -> Blobs:
    return replace(samples, labels=None)


def no_training_rows(samples: Blobs) -> Blobs:
    return replace(samples, split=["test"] * len(samples.split))


def a_row_without_label(samples: Blobs) -> Blobs:
    labels = samples.labels.copy()
    labels[[4, 5]] = -1
    return replace(samples, labels=labels)


def a_row_without_any_class(samples: Blobs) -> Blobs:
    hot = np.eye(3, dtype=np.uint8)[samples.labels]
    hot[4] = 0
    return replace(samples, labels=hot)


def other_classes(samples: Blobs) -> Blobs:
    return replace(samples, classes=("ant", "bee", "dog"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (no_labels, ["has no labels", "bad"]),
        (no_training_rows, ["no rows in split 'train'", "splits there: test", "bad"]),
        (a_row_without_label, ["sample 'image/004' in split 'train' has no label", "(2 without one)", "bad"]),
        (a_row_without_any_class, ["sample 'image/004' in split 'train' has no label", "(1 without one)", "bad"]),
        (other_classes, ["only here: 'dog'", "missing here: 'cow'", "bad"]),
    ],
)
def test_rows_that_cannot_be_trained_on_are_named(tmp_path: Path, change: Any, words: list[str]) -> None:
    cache = change(blobs("image")).write(tmp_path / "bad")
    with pytest.raises(InputError) as caught:
        load(cache)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
