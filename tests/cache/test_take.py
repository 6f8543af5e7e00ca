import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cache.building import make_features, make_plan, write_cache
from xfeat.cache import CacheWriter, FeatureCache
from xfeat.errors import InputError

ROWS = 50


@pytest.fixture(scope="module", params=["float32", "float16"])
def cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    """Three full shards and one of two rows; every seventh row has failed."""
    plan = make_plan(ROWS, dtype=request.param)
    path = tmp_path_factory.mktemp("take")
    with CacheWriter(path / "c", plan) as writer:
        for shard in list(writer.missing):
            start, stop = writer.manifest.span(shard)
            status = ["ok" if row % 7 else "unreadable" for row in range(start, stop)]
            writer.write(shard, make_features(plan)[start:stop], status)
        writer.finish()
    return FeatureCache(path / "c")


@settings(max_examples=60)
@given(rows=st.lists(st.integers(0, ROWS - 1), max_size=80))
def test_rows_are_those_of_the_whole_in_the_order_asked(cache: FeatureCache, rows: list[int]) -> None:
    whole = cache.load(ok_only=False).features
    for given_as in (rows, np.array(rows, dtype=np.int64), np.array(rows, dtype=np.uint8)):
        found = cache.take(given_as)
        assert (found.shape, found.dtype) == ((len(rows), 6), whole.dtype)
        np.testing.assert_array_equal(found, whole[np.array(rows, dtype=np.int64)])


def test_failed_rows_are_zeros_and_the_result_is_a_copy(cache: FeatureCache) -> None:
    found = cache.take([7, 8])
    assert not found[0].any()
    assert found[1].all()
    found[:] = 1
    assert not cache.take([7]).any()


def test_all_rows_in_one_array(cache: FeatureCache) -> None:
    whole = cache.load(ok_only=False).features
    for check in (True, False):
        found = cache.array(check=check)
        assert found.dtype == whole.dtype
        np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize("rows", [[0, ROWS], [-1], [2**40], np.array([2**63], dtype=np.uint64)])
def test_rows_that_are_not_there(cache: FeatureCache, rows: list[int]) -> None:
    with pytest.raises(IndexError, match=r"of a cache of 50: rows count from 0 to 49"):
        cache.take(rows)


@pytest.mark.parametrize("rows", [[0.0], [True, False], ["a"], [[1, 2]], 3, [2**70]])
def test_what_is_no_list_of_rows(cache: FeatureCache, rows: list[int]) -> None:
    with pytest.raises(InputError, match=r"they are \(k,\) whole numbers"):
        cache.take(rows)


def test_a_cache_that_has_been_read_from_can_be_pickled(cache: FeatureCache) -> None:
    found = cache.take([3, 1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(cache)).take([3, 1]), found)


def rewrite(path: Path, change: Callable[[h5py.File, np.ndarray], None]) -> None:
    with h5py.File(path, "a") as file:
        features = file["features"][...]
        del file["features"]
        change(file, features)


def as_chunks(file: h5py.File, features: np.ndarray) -> None:
    file.create_dataset("features", data=features, chunks=(4, 6))


def as_link(file: h5py.File, features: np.ndarray) -> None:
    file["elsewhere"] = features
    file["features"] = h5py.SoftLink("/elsewhere")


def as_external(file: h5py.File, features: np.ndarray) -> None:
    file.create_dataset("features", features.shape, features.dtype, external=[("/etc/passwd", 0, features.nbytes)])


def as_virtual(file: h5py.File, features: np.ndarray) -> None:
    layout = h5py.VirtualLayout(features.shape, features.dtype)
    layout[:] = h5py.VirtualSource("00001.h5", "features", features.shape)
    file.create_virtual_dataset("features", layout)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (as_chunks, "do not lie byte after byte"),
        (as_link, "'features' is a link, a group or an external dataset: refused"),
        (as_external, "'features' is a link, a group or an external dataset: refused"),
        (as_virtual, "'features' is a link, a group or an external dataset: refused"),
        (lambda file, features: None, "truncated or damaged"),
        (lambda file, features: file.create_dataset("features", data=features[:, :5]), r"features are \(16, 5\)"),
        (lambda file, features: file.create_dataset("features", data=features.astype(">f4")), "features are"),
        (lambda file, features: file.create_group("features"), "refused"),
    ],
)
def test_features_that_lie_otherwise_are_refused(
    tmp_path: Path, change: Callable[[h5py.File, np.ndarray], None], message: str
) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    rewrite(tmp_path / "c" / "00000.h5", change)
    with pytest.raises(InputError, match=message):
        cache.take([17, 0])
    assert cache.take([17]).shape == (1, 6)


def test_chunked_features_are_loaded_all_the_same(tmp_path: Path) -> None:
    plan = make_plan()
    cache = write_cache(tmp_path / "c", plan)
    rewrite(tmp_path / "c" / "00000.h5", as_chunks)
    np.testing.assert_array_equal(cache.load().features, make_features(plan))
    np.testing.assert_array_equal(cache.load(["train"]).features, make_features(plan)[::3])
    np.testing.assert_array_equal(cache.array(), make_features(plan))


@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("keep", [0, 10, 1000, -1])
def test_a_shard_that_ends_too_early_is_named(tmp_path: Path, keep: int, opened: bool) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    if opened:
        cache.take([33])
    path = tmp_path / "c" / "00002.h5"
    path.write_bytes(path.read_bytes()[:keep])
    for read in (lambda: cache.take([33]), cache.array):
        with pytest.raises(InputError, match=str(tmp_path)):
            read()


def test_the_shards_that_are_there_now_are_read(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    other = write_cache(tmp_path / "d", make_plan(), make_features(make_plan(), seed=5))
    before = cache.take([16])
    (other.path / "00001.h5").replace(cache.path / "00001.h5")
    assert (cache.take([16]) != before).all()
    (cache.path / "00001.h5").unlink()
    with pytest.raises(InputError, match=r"00001\.h5 is missing"):
        cache.take([16])


def test_the_shard_of_another_cache_is_refused(tmp_path: Path) -> None:
    one, other = write_cache(tmp_path / "a", make_plan()), write_cache(tmp_path / "b", make_plan(seed=1))
    (one.path / "00001.h5").write_bytes((other.path / "00001.h5").read_bytes())
    for read in (lambda: one.take([16]), one.array):
        with pytest.raises(InputError, match="another fingerprint"):
            read()


def test_the_first_damaged_shard_is_named_with_its_rows(tmp_path: Path) -> None:
    plan = make_plan()
    cache = write_cache(tmp_path / "c", plan)
    for shard in (1, 2):
        path = tmp_path / "c" / f"{shard:05d}.h5"
        content = bytearray(path.read_bytes())
        content[content.index(make_features(plan)[16 * shard].tobytes())] ^= 1
        path.write_bytes(content)
    for read in (cache.array, cache.load, lambda: cache.load(["train"]), lambda: cache.load([])):
        with pytest.raises(InputError, match=r"00001\.h5: features of rows 0 to 15 differ from their checksum"):
            read()


@pytest.mark.skipif(sys.platform != "linux", reason="the list of open files is Linux's")
def test_no_file_and_no_mapping_stays_open(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    cache.take(range(50))
    cache.array()
    cache.load(["train"])
    path = tmp_path / "c" / "00003.h5"
    path.write_bytes(path.read_bytes()[:-1])
    for read in (cache.load, cache.array, lambda: cache.take([49])):
        with pytest.raises(InputError):
            read()
    opened = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    assert not [name for name in opened if name.startswith(str(tmp_path))]
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
