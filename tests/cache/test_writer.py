import dataclasses
import multiprocessing
import resource
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cache.building import make_features, make_plan, write_cache
from xfeat.cache import CacheWriter, Columns, FeatureCache
from xfeat.cache.keys import source_keys
from xfeat.errors import InputError


@given(rows=st.integers(1, 40), shard_rows=st.integers(1, 20), dtype=st.sampled_from(["float16", "float32"]))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: int, shard_rows: int, dtype: str
) -> None:
    plan = make_plan(rows, shard_rows=shard_rows, dtype=dtype)
    features = make_features(plan)
    cache = write_cache(tmp_path_factory.mktemp("cache"), plan, features)
    block = cache.load()
    assert block.features.dtype == dtype
    np.testing.assert_array_equal(block.features, features.astype(dtype))
    assert (block.ids, block.split) == (plan.columns.ids, plan.columns.split)
    assert (block.pair, block.camera) == (plan.columns.pair, plan.columns.camera)
    np.testing.assert_array_equal(block.labels, plan.columns.labels)
    assert cache.manifest.shards == len(list(cache.path.glob("*.h5"))) == -(-rows // shard_rows)
    assert cache.manifest.counts == {
        "ok": rows,
        "failed": 0,
        "split": {name: plan.columns.split.count(name) for name in dict.fromkeys(plan.columns.split)},
    }


def test_features_are_contiguous_and_uncompressed_so_that_they_can_be_mapped(tmp_path: Path) -> None:
    write_cache(tmp_path / "c", make_plan())
    with h5py.File(tmp_path / "c" / "00000.h5") as file:
        assert file["features"].chunks is None
        assert file["features"].compression is None
        assert file["features"].id.get_offset() is not None


def test_an_unlabelled_unpaired_cache_has_no_such_columns(tmp_path: Path) -> None:
    plan = dataclasses.replace(make_plan(3), columns=Columns(["a", "b", "c"], ["train"] * 3))
    cache = write_cache(tmp_path / "c", plan)
    block = cache.load()
    assert (block.labels, block.pair, block.camera) == (None, None, None)
    assert cache.manifest.label_kind == "none"


def test_multi_hot_labels_keep_their_shape(tmp_path: Path) -> None:
    labels = np.array([[1, 0], [1, 1], [0, 0]], np.uint8)
    plan = dataclasses.replace(make_plan(3), columns=Columns(["a", "b", "c"], ["train"] * 3, ["x", "y"], labels))
    cache = write_cache(tmp_path / "c", plan)
    np.testing.assert_array_equal(cache.load().labels, labels)
    assert cache.manifest.label_kind == "multi"


def test_a_failed_row_is_kept_as_zeros_with_its_reason(tmp_path: Path) -> None:
    plan = make_plan(4, shard_rows=4)
    features = make_features(plan)
    features[2] = np.nan
    with CacheWriter(tmp_path / "c", plan) as writer:
        writer.write(0, features, ["ok", "ok", "truncated file", "ok"])
        assert writer.failed_shards == [0]
        assert writer.finish().counts["failed"] == 1
    everything = FeatureCache(tmp_path / "c").load(ok_only=False)
    assert everything.status[2] == "truncated file"
    assert (everything.features[2] == 0).all()
    assert plan.columns.ids[2] not in FeatureCache(tmp_path / "c").load().ids


def test_a_second_run_of_a_finished_cache_has_nothing_to_do(tmp_path: Path) -> None:
    plan = make_plan()
    write_cache(tmp_path / "c", plan)
    with CacheWriter(tmp_path / "c", plan) as writer:
        assert writer.missing == []
        assert writer.manifest.complete


def test_a_damaged_shard_is_written_again_on_resume(tmp_path: Path) -> None:
    plan = make_plan()
    before = write_cache(tmp_path / "c", plan).load()
    path = tmp_path / "c" / "00001.h5"
    path.write_bytes(path.read_bytes()[:-100])
    with CacheWriter(tmp_path / "c", plan) as writer:
        assert writer.damaged == writer.missing == [1]
        start, stop = writer.manifest.span(1)
        writer.write(1, make_features(plan)[start:stop])
        writer.finish()
    np.testing.assert_array_equal(FeatureCache(tmp_path / "c").load().features, before.features)


def test_a_cache_counts_as_unfinished_while_one_of_its_shards_is_replaced(tmp_path: Path) -> None:
    plan = make_plan()
    write_cache(tmp_path / "c", plan)
    with CacheWriter(tmp_path / "c", plan) as writer:
        writer.write(0, make_features(plan, seed=7)[:16])
        with pytest.raises(InputError, match="unfinished"):
            FeatureCache(tmp_path / "c")
        writer.finish()
    np.testing.assert_array_equal(FeatureCache(tmp_path / "c").load().features[:16], make_features(plan, seed=7)[:16])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 70000.0])
def test_a_value_that_cannot_be_stored_names_the_sample_and_leaves_nothing(tmp_path: Path, value: float) -> None:
    plan = make_plan(4, shard_rows=4, dtype="float16")
    features = make_features(plan)
    features[1, 3] = value
    with (
        CacheWriter(tmp_path / "c", plan) as writer,
        pytest.raises(InputError, match=r"sample 'größe/00001' are not finite"),
    ):
        writer.write(0, features)
    assert list((tmp_path / "c").glob("*.h5*")) == []


def test_another_fingerprint_is_refused_and_the_difference_printed(tmp_path: Path) -> None:
    write_cache(tmp_path / "c", make_plan())
    with (
        pytest.raises(InputError, match=r"another fingerprint \(seed: 0 -> 1\)"),
        CacheWriter(tmp_path / "c", make_plan(seed=1)),
    ):
        pass


def test_other_samples_are_refused(tmp_path: Path) -> None:
    plan = make_plan()
    write_cache(tmp_path / "c", plan)
    renamed = dataclasses.replace(plan.columns, split=["train"] * 50)
    keys = source_keys(plan.columns.ids)
    for changed in (dataclasses.replace(plan, columns=renamed), dataclasses.replace(plan, sources=keys)):
        with pytest.raises(InputError, match="other samples"), CacheWriter(tmp_path / "c", changed):
            pass
    with (
        pytest.raises(InputError, match=r"another number of rows \(50 instead of 49\)"),
        CacheWriter(tmp_path / "c", make_plan(49)),
    ):
        pass


def test_only_leftovers_of_a_write_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.mkdir()
    for name in ("00003.h5.tmp", "manifest.json.tmp"):
        (path / name).write_bytes(b"half")
    write_cache(path, make_plan())
    assert not list(path.glob("*.tmp"))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "notes.tmp").write_text("precious")
    with pytest.raises(InputError, match="holds other files"), CacheWriter(tmp_path / "d", make_plan()):
        pass
    assert (tmp_path / "d" / "notes.tmp").read_text() == "precious"


def test_a_disk_that_takes_no_more_is_one_line_and_keeps_finished_shards(tmp_path: Path) -> None:
    plan = make_plan()
    features = make_features(plan)
    with CacheWriter(tmp_path / "c", plan) as writer:
        writer.write(0, features[:16])
        assert 0 not in writer.missing
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            writer.write(1, features[16:32])
            with pytest.raises(InputError, match=r"00001\.h5 cannot be written"):
                writer.write(2, features[32:48])
            assert writer.missing == [1, 2, 3]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
    write_cache(tmp_path / "c", plan)
    np.testing.assert_array_equal(FeatureCache(tmp_path / "c").load().features, features)


def test_a_folder_with_other_files_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="holds other files"), CacheWriter(tmp_path, make_plan()):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["photo.jpg"]


def _open_writer(path: Path, answer: "multiprocessing.queues.Queue[str]") -> None:
    try:
        with CacheWriter(path, make_plan()):
            answer.put("opened")
    except InputError as error:
        answer.put(str(error))


def test_a_second_process_is_refused_while_the_first_writes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    with CacheWriter(tmp_path / "c", make_plan()):
        process = context.Process(target=_open_writer, args=(tmp_path / "c", answer))
        process.start()
        assert "another process is writing" in answer.get(timeout=60)
        process.join()
    with CacheWriter(tmp_path / "c", make_plan()) as writer:
        assert len(writer.missing) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modality": "a/b"}, "use letters"),
        ({"dtype": "bfloat16"}, "float16 or float32"),
        ({"columns": Columns([], [])}, "no samples"),
    ],
)
def test_plans_that_cannot_be(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CacheWriter(tmp_path / "c", dataclasses.replace(make_plan(), **change))  # type: ignore[arg-type]
    assert not (tmp_path / "c").exists()
