"""Rows that stay on disk: every row once per epoch, beside its own label, in an order that the generator decides."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.training.building import CLASSES, TINY, blobs, files, multi_label_blobs, settings
from tests.training.test_loop import CrashError
from xfeat.cache import FeatureCache
from xfeat.methods.batches import batch_count
from xfeat.methods.drcl_stages import RscObjective, SplObjective
from xfeat.training.drcl import add, train
from xfeat.training.resident import InputScale
from xfeat.training.selection import select_rows
from xfeat.training.store import load_branch
from xfeat.training.streaming import StreamedRows

CPU = torch.device("cpu")
ROWS, SHARD = 60, 8
SHARD_BYTES = SHARD * 12 * 4


def numbered(tmp_path: Path, shard_rows: int = SHARD) -> FeatureCache:
    """Row r has features r, r, ..., and label r mod 3; two rows of three are for training."""
    features = np.repeat(np.arange(ROWS, dtype=np.float32)[:, None], 12, axis=1)
    samples = replace(blobs("image", rows=ROWS), features=features, labels=np.arange(ROWS) % 3)
    return samples.write(tmp_path / "numbered", shard_rows=shard_rows)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    return numbered(tmp_path_factory.mktemp("streaming"))


def streamed(cache: FeatureCache, groups: int = 1, mine: np.ndarray | None = None) -> StreamedRows:
    """Rows with memory for so many shards in a group."""
    selection = select_rows(cache, CLASSES)
    scale = InputScale(torch.zeros(12), torch.ones(12))
    every = np.ones(len(selection.rows), bool)
    memory = 2 * groups * SHARD_BYTES
    return StreamedRows(cache, selection, every if mine is None else mine, scale, CPU, memory)


def numbers(x: Tensor) -> list[int]:
    assert (x == x[:, :1]).all()
    return x[:, 0].long().tolist()


def epoch(rows: StreamedRows, batch_size: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    return list(rows.epoch(batch_size, torch.Generator().manual_seed(seed)))


@given(batch_size=st.integers(1, 50), groups=st.integers(1, 9), seed=st.integers(0, 999), part=st.integers(0, 999))
def test_an_epoch_has_every_row_once_in_equal_batches_beside_its_own_target(
    cache: FeatureCache, batch_size: int, groups: int, seed: int, part: int
) -> None:
    mine = np.random.default_rng(part).random(40) < 0.6
    mine[part % 40] = True
    rows = streamed(cache, groups, mine)
    batches = epoch(rows, batch_size, seed)
    sizes = [len(x) for x, _ in batches]
    assert len(sizes) == batch_count(len(rows), batch_size)
    assert max(sizes) - min(sizes) <= 1
    found = [number for x, _ in batches for number in numbers(x)]
    assert sorted(found) == select_rows(cache, CLASSES).rows[mine].tolist()
    for x, y in batches:
        assert x.dtype == y.dtype == torch.float32
        np.testing.assert_array_equal(y, np.eye(3)[[number % 3 for number in numbers(x)]])


@pytest.mark.parametrize(("memory", "group"), [(0, 1), (2, 1), (4, 2), (7, 3), (16, 8), (100, 8)])
def test_as_many_shards_are_mixed_as_fit_beside_those_that_are_read(
    cache: FeatureCache, memory: int, group: int
) -> None:
    selection, scale = select_rows(cache, CLASSES), InputScale(torch.zeros(12), torch.ones(12))
    every = np.ones(40, bool)
    assert StreamedRows(cache, selection, every, scale, CPU, memory * SHARD_BYTES).group == group


def test_a_batch_mixes_the_shards_of_its_group(cache: FeatureCache) -> None:
    def shards_in_first_batch(groups: int) -> set[int]:
        (x, _), *_ = epoch(streamed(cache, groups), 10, seed=0)
        return {number // SHARD for number in numbers(x)}

    assert len(shards_in_first_batch(1)) <= 3  # 5 or 6 training rows a shard
    assert len(shards_in_first_batch(8)) >= 5


@pytest.mark.parametrize("groups", [1, 3, 8])
def test_epochs_differ_and_the_generator_alone_decides(cache: FeatureCache, groups: int) -> None:
    rows = streamed(cache, groups)

    def orders(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        return [[n for x, _ in rows.epoch(8, generator) for n in numbers(x)] for _ in range(3)]

    first = orders(0)
    assert len({str(order) for order in first}) == 3
    torch.manual_seed(7)
    np.random.seed(7)
    assert orders(0) == first
    assert orders(1) != first


def test_shards_and_the_rows_in_them_are_shuffled(cache: FeatureCache) -> None:
    found = [n for x, _ in epoch(streamed(cache, 1), 8, seed=0) for n in numbers(x)]
    shards = [n // SHARD for n in found]
    visits = [shard for place, shard in enumerate(shards) if place == 0 or shard != shards[place - 1]]
    assert sorted(visits) == list(range(8))  # a group of one shard: each is read once, whole
    assert visits != sorted(visits)
    within = [[n for n in found if n // SHARD == shard] for shard in range(8)]
    assert sum(part != sorted(part) for part in within) > 4


@pytest.mark.parametrize("most", [None, 1, 2, 7, 39, 40, 1000])
def test_pieces_are_in_order_and_spread_where_few_are_asked_for(cache: FeatureCache, most: int | None) -> None:
    rows = streamed(cache)
    pieces = list(rows.pieces(most))
    found = [number for x, _ in pieces for number in numbers(x)]
    there = select_rows(cache, CLASSES).rows
    expected = there if most is None or most >= 40 else there[[round(p) for p in np.linspace(0, 39, most)]]
    assert found == expected.tolist()
    for x, y in pieces:
        np.testing.assert_array_equal(y, np.eye(3)[[number % 3 for number in numbers(x)]])


def test_shards_without_rows_of_ours_are_passed_over(cache: FeatureCache) -> None:
    mine = np.zeros(40, bool)
    mine[[20, 21, 39]] = True
    rows = streamed(cache, 1, mine)
    there = select_rows(cache, CLASSES).rows[mine].tolist()
    assert sorted(n for x, _ in epoch(rows, 2, seed=3) for n in numbers(x)) == there
    assert [n for x, _ in rows.pieces() for n in numbers(x)] == there


def test_rows_are_scaled(cache: FeatureCache) -> None:
    selection = select_rows(cache, CLASSES)
    scale = InputScale(torch.full((12,), 30.0), torch.full((12,), 2.0))
    rows = StreamedRows(cache, selection, np.ones(40, bool), scale, CPU, 0)
    for batches in (epoch(rows, 8, seed=0), list(rows.pieces())):
        found = torch.cat([x for x, _ in batches])[:, 0] * 2 + 30
        assert sorted(found.long().tolist()) == selection.rows.tolist()


def test_rows_of_several_classes(tmp_path: Path) -> None:
    samples = multi_label_blobs("image")
    cache = samples.write(tmp_path / "c", shard_rows=SHARD)
    for x, y in epoch(streamed(cache), 8, seed=0):
        for row, target in zip(x.numpy(), y.numpy(), strict=True):
            hot = samples.labels[np.flatnonzero((samples.features == row).all(1))[0]]
            np.testing.assert_allclose(target, hot / hot.sum())


def test_an_epoch_that_is_given_up_leaves_no_reader_behind(cache: FeatureCache) -> None:
    before = threading.active_count()
    batches = streamed(cache).epoch(4, torch.Generator())
    next(batches)
    batches.close()
    assert threading.active_count() == before


# Every cache is larger than this; a group is one shard.
SMALL = settings(memory="1K")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> list[FeatureCache]:
    """Image has no val split, text has one; both have many shards."""
    folder = tmp_path_factory.mktemp("several")
    samples = blobs("image"), blobs("text", val=True)
    return [some.write(folder / some.modality, shard_rows=SHARD) for some in samples]


@pytest.fixture(scope="module")
def run(several: list[FeatureCache], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(several, out, SMALL)
    return out


def test_a_streamed_run_is_a_run_like_others(several: list[FeatureCache], run: Path, tmp_path: Path) -> None:
    train(several, tmp_path / "resident", TINY)
    assert set(files(run)) == set(files(tmp_path / "resident"))
    for modality in ("image", "text"):
        streamed, resident = (
            load_branch(p / "branches" / f"{modality}.safetensors") for p in (run, tmp_path / "resident")
        )
        torch.testing.assert_close(streamed.scale.mean, resident.scale.mean, rtol=1e-7, atol=0)
        torch.testing.assert_close(streamed.scale.std, resident.scale.std, rtol=1e-7, atol=0)
        for name in ("train_rows", "val_rows", "unlabelled_rows", "in_dim", "epochs"):
            assert streamed.note[name] == resident.note[name]
        # Another order of the same rows: as good, not the same.
        assert streamed.note["sha256"] != resident.note["sha256"]
        assert streamed.note["score"] == pytest.approx(resident.note["score"], rel=0.3)


def test_a_streamed_run_gives_the_same_bytes_again_alone_and_in_another_order(
    several: list[FeatureCache], run: Path, tmp_path: Path
) -> None:
    train(several[::-1], tmp_path / "again", SMALL)
    names = [name for name in files(run) if name.endswith(".safetensors")]
    assert {name: files(tmp_path / "again")[name] for name in names} == {name: files(run)[name] for name in names}
    train(several[:1], tmp_path / "alone", settings(memory="1K", prior=str(run / "prior.safetensors")))
    name = "branches/image.safetensors"
    assert files(tmp_path / "alone")[name] == files(run)[name]


def test_a_streamed_modality_joins(several: list[FeatureCache], run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    against = {"prior": str(run / "prior.safetensors")}
    train(several[:1], out, settings(memory="1K", **against))
    add(several[1], out)
    assert files(out / "branches", "*.safetensors") == files(run / "branches", "*.safetensors")


@pytest.mark.parametrize("crash", [5, 12, 30])
def test_an_interrupted_streamed_run_resumes_to_the_same_bytes(
    several: list[FeatureCache], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash: int
) -> None:
    steps = 0

    def crashing(kind: Any) -> Any:
        draw = kind.draw

        def drawn(self: Any, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
            nonlocal steps
            steps += 1
            if steps == crash:
                raise CrashError
            found: dict[str, Tensor] = draw(self, rows, generator)
            return found

        return drawn

    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        for kind in (SplObjective, RscObjective):
            patched.setattr(kind, "draw", crashing(kind))
        with pytest.raises(CrashError):
            train(several, out, SMALL, checkpoint_seconds=0)
    train(several, out, SMALL, resume=True, checkpoint_seconds=0)
    assert files(out) == files(run)
