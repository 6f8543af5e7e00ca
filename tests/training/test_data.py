"""A branch's data, in memory and streamed: the same rows, the same scale."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.cache.building import write_cache
from tests.training.building import CLASSES, Blobs, blobs, multi_label_blobs
from xfeat.cache import Columns, FeatureCache, Plan
from xfeat.errors import InputError
from xfeat.methods.base import BranchData, Rows
from xfeat.training.data import ModalityRows, check_rows
from xfeat.training.resident import InputScale, ResidentRows
from xfeat.training.streaming import StreamedRows

CPU = torch.device("cpu")
ALL, NONE = 1 << 30, 0  # bytes of memory
EITHER = pytest.mark.parametrize("memory", [ALL, NONE], ids=["resident", "streamed"])


def load(cache: FeatureCache, memory: int = ALL, **changes: Any) -> tuple[BranchData, InputScale]:
    options = {"standardize": False, "val_fraction": 0.2, "seed": 0, **changes}
    return ModalityRows(cache, options.pop("classes", CLASSES), CPU, memory).branch_data(**options)


def everything(rows: Rows) -> tuple[Tensor, Tensor]:
    pieces = list(rows.pieces())
    return torch.cat([x for x, _ in pieces]), torch.cat([y for _, y in pieces])


def rows_of(features: Tensor, samples: Blobs) -> list[int]:
    """Which rows of the cache these are."""
    return [int(np.flatnonzero((samples.features == row).all(axis=1))[0]) for row in features.numpy()]


def test_what_fits_lies_in_memory_and_what_does_not_is_streamed(tmp_path: Path) -> None:
    cache = blobs("image").write(tmp_path / "c")
    exactly = 40 * 12 * 4  # training rows, width, bytes
    assert isinstance(load(cache, exactly)[0].train, ResidentRows)
    assert isinstance(load(cache, exactly - 1)[0].train, StreamedRows)


@EITHER
def test_splits_are_kept_where_there_is_a_val_split(tmp_path: Path, memory: int) -> None:
    samples = blobs("image", val=True)
    data, scale = load(samples.write(tmp_path / "c", shard_rows=8), memory)
    split = np.array(samples.split)
    for rows, name in ((data.train, "train"), (data.val, "val")):
        x, y = everything(rows)
        np.testing.assert_array_equal(x, samples.features[split == name])
        np.testing.assert_array_equal(y, np.eye(3)[samples.labels[split == name]])
        assert x.dtype == y.dtype == torch.float32
        assert len(rows) == len(x)
    assert (data.modality, data.dim, data.classes, data.unlabelled) == ("image", 12, 3, 0)
    assert (data.train.device, data.train.dim, data.train.classes) == (CPU, 12, 3)
    np.testing.assert_array_equal(data.counts, np.bincount(samples.labels[split == "train"]))
    assert torch.equal(scale.mean, torch.zeros(12))


@pytest.mark.parametrize("val", [False, True])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("several", [False, True])
def test_streaming_changes_neither_rows_nor_scale(tmp_path: Path, val: bool, standardize: bool, several: bool) -> None:
    samples = blobs("image", val=val)
    if several:
        samples = multi_label_blobs("image")
    cache = samples.write(tmp_path / "c", shard_rows=8)
    resident, scale = load(cache, standardize=standardize)
    streamed, other = load(cache, NONE, standardize=standardize)
    torch.testing.assert_close(other.mean, scale.mean, rtol=1e-7, atol=0)
    torch.testing.assert_close(other.std, scale.std, rtol=1e-7, atol=0)
    assert torch.equal(streamed.counts, resident.counts)
    for one, two in ((resident.train, streamed.train), (resident.val, streamed.val)):
        assert isinstance(two, StreamedRows)
        torch.testing.assert_close(everything(one)[0], everything(two)[0], rtol=1e-6, atol=1e-6)
        assert torch.equal(everything(one)[1], everything(two)[1])


@EITHER
def test_scaling_takes_statistics_of_the_rows_that_are_trained_on(tmp_path: Path, memory: int) -> None:
    for val in (True, False):
        cache = blobs("image", val=val).write(tmp_path / str(val), shard_rows=8)
        data, scale = load(cache, memory, standardize=True)
        x = everything(data.train)[0]
        torch.testing.assert_close(x.mean(0), torch.zeros(12), atol=1e-5, rtol=0)
        torch.testing.assert_close(x.std(0, correction=0), torch.ones(12), atol=1e-4, rtol=0)
        assert everything(data.val)[0].mean(0).abs().max() > 1e-3
        assert (scale.std > 0).all()


@EITHER
def test_test_rows_are_not_looked_at(tmp_path: Path, memory: int) -> None:
    samples = blobs("image")
    wild = samples.features.copy()
    testing = np.array(samples.split) == "test"
    wild[testing] = 1e30
    labels = np.where(testing, -1, samples.labels)
    one, scale = load(samples.write(tmp_path / "one"), memory, standardize=True)
    two, other = load(replace(samples, features=wild, labels=labels).write(tmp_path / "two"), memory, standardize=True)
    for a, b in ((one.train, two.train), (one.val, two.val)):
        for mine, theirs in zip(everything(a), everything(b), strict=True):
            assert torch.equal(mine, theirs)
    assert torch.equal(scale.mean, other.mean)
    assert torch.equal(scale.std, other.std)
    assert two.unlabelled == 0


@EITHER
def test_what_is_held_out_depends_on_seed_and_modality(tmp_path: Path, memory: int) -> None:
    samples = blobs("image")
    cache = samples.write(tmp_path / "image")
    data = load(cache, memory)[0]
    train, val = (rows_of(everything(rows)[0], samples) for rows in (data.train, data.val))
    assert sorted(train + val) == [row for row, split in enumerate(samples.split) if split == "train"]
    assert len(val) == 8
    assert rows_of(everything(load(cache, memory)[0].val)[0], samples) == val
    assert rows_of(everything(load(cache, memory, seed=1)[0].val)[0], samples) != val
    other = replace(samples, modality="text").write(tmp_path / "text")
    assert rows_of(everything(load(other, memory)[0].val)[0], samples) != val


def test_one_reading_serves_every_seed(tmp_path: Path) -> None:
    cache = blobs("image").write(tmp_path / "image")
    rows = ModalityRows(cache, CLASSES, CPU, ALL)
    for seed in (0, 1):
        data, scale = rows.branch_data(standardize=True, val_fraction=0.2, seed=seed)
        expected, its = load(cache, standardize=True, seed=seed)
        assert torch.equal(scale.mean, its.mean)
        for mine, theirs in zip(everything(data.train), everything(expected.train), strict=True):
            assert torch.equal(mine, theirs)
        assert data.train.table is rows.table  # type: ignore[attr-defined]


@EITHER
def test_rows_without_a_label_train_nothing_and_are_counted(tmp_path: Path, memory: int) -> None:
    samples = blobs("image")
    labels = samples.labels.copy()
    labels[[4, 5, 0]] = -1  # two of train, one of test
    data, _ = load(replace(samples, labels=labels).write(tmp_path / "c", shard_rows=8), memory)
    found = rows_of(torch.cat([everything(rows)[0] for rows in (data.train, data.val)]), samples)
    assert sorted(found) == [row for row, name in enumerate(samples.split) if name == "train" and row not in (4, 5)]
    assert data.unlabelled == 2


@EITHER
def test_samples_of_several_classes_weigh_as_much_as_others(tmp_path: Path, memory: int) -> None:
    samples = multi_label_blobs("image")
    data, _ = load(samples.write(tmp_path / "c"), memory)
    for rows in (data.train, data.val):
        x, y = everything(rows)
        torch.testing.assert_close(y.sum(1), torch.ones(len(rows)))
        assert set(y.unique().tolist()) == {0.0, 0.5, 1.0}
        np.testing.assert_array_equal(y.numpy() > 0, samples.labels[rows_of(x, samples)] > 0)
    torch.testing.assert_close(data.counts, everything(data.train)[1].sum(0))


@EITHER
def test_classes_that_the_cache_lacks_have_no_rows(tmp_path: Path, memory: int) -> None:
    cache = blobs("image").write(tmp_path / "c")
    data, _ = load(cache, memory, classes=("yak", *CLASSES))
    assert data.classes == 4
    assert data.counts[0] == 0
    assert everything(data.train)[1].shape[1] == 4


@EITHER
def test_half_precision_is_kept_on_the_device_and_widened_in_batches(tmp_path: Path, memory: int) -> None:
    samples = blobs("image")
    columns = Columns([str(row) for row in range(60)], samples.split, CLASSES, samples.labels)
    cache = write_cache(tmp_path / "c", Plan("image", {"b": 1}, 12, columns, "float16", shard_rows=8), samples.features)
    data, _ = load(cache, memory)
    half = samples.features.astype(np.float16).astype(np.float32)
    assert all((half == row).all(1).any() for row in everything(data.train)[0].numpy())
    if memory:
        assert data.train.table.features.dtype == torch.float16  # type: ignore[attr-defined]


@EITHER
def test_nothing_can_be_held_out_of_single_rows(tmp_path: Path, memory: int) -> None:
    samples = replace(blobs("image", rows=3), labels=np.arange(3), split=["train"] * 3)
    with pytest.raises(InputError, match="every class has one training row"):
        load(samples.write(tmp_path / "c"), memory)


def test_a_cache_is_checked_without_its_checksums(tmp_path: Path) -> None:
    bare = replace(blobs("image"), labels=None).write(tmp_path / "bare")
    with pytest.raises(InputError, match="bare has no labels"):
        check_rows(bare, CLASSES)
    samples = blobs("image")
    cache = samples.write(tmp_path / "c")
    damage(cache, samples.features[1])
    check_rows(cache, CLASSES)


def damage(cache: FeatureCache, row: np.ndarray) -> None:
    """Change one byte of one row on disk."""
    for path in cache.path.glob("*.h5"):
        content = bytearray(path.read_bytes())
        place = content.find(row.tobytes())
        if place >= 0:
            content[place] ^= 1
            path.write_bytes(content)
            return
    raise AssertionError("no such row")


@EITHER
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_damaged_row_is_found_before_it_is_trained_on(
    tmp_path: Path, memory: int, standardize: bool, split: str
) -> None:
    samples = blobs("image", val=True)
    # Sorted by split, so that a shard may hold validation rows alone.
    order = np.argsort(samples.split, kind="stable")
    samples = replace(
        samples,
        features=samples.features[order],
        labels=samples.labels[order],
        split=[samples.split[row] for row in order],
    )
    cache = samples.write(tmp_path / "c", shard_rows=5)
    damage(cache, samples.features[len(order) - 1 if split == "val" else samples.split.index("train") + 9])
    with pytest.raises(InputError, match="differ from their checksum"):
        an_epoch_of_each(cache, memory, standardize)


def an_epoch_of_each(cache: FeatureCache, memory: int, standardize: bool) -> None:
    data, _ = load(cache, memory, standardize=standardize)
    for rows in (data.train, data.val):
        list(rows.epoch(8, torch.Generator()))
