import json
import pickle
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.cache.building import make_features, make_plan, write_cache
from xfeat.cache import CacheWriter, FeatureCache
from xfeat.cache.verify import verify
from xfeat.errors import InputError


def test_splits_are_selected_with_all_their_columns(tmp_path: Path) -> None:
    plan = make_plan()
    cache = write_cache(tmp_path / "c", plan)
    keep = np.array([name in ("val", "test") for name in plan.columns.split])
    block = cache.load(["val", "test"])
    np.testing.assert_array_equal(block.features, make_features(plan)[keep])
    assert block.ids == [name for name, kept in zip(plan.columns.ids, keep, strict=True) if kept]
    assert block.pair == [name for name, kept in zip(plan.columns.pair or [], keep, strict=True) if kept]
    np.testing.assert_array_equal(block.labels, np.asarray(plan.columns.labels)[keep])


def test_streaming_gives_the_same_rows_as_loading(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    blocks = list(cache.blocks())
    assert [len(block) for block in blocks] == [16, 16, 16, 2]
    np.testing.assert_array_equal(np.concatenate([block.features for block in blocks]), cache.load().features)


def test_an_open_cache_can_be_pickled(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    again = pickle.loads(pickle.dumps(cache))
    np.testing.assert_array_equal(again.load().features, cache.load().features)


def flip(path: Path, needle: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(needle)] ^= 1
    path.write_bytes(content)


def test_a_flipped_feature_byte_is_found_by_load_and_verify(tmp_path: Path) -> None:
    plan = make_plan()
    cache = write_cache(tmp_path / "c", plan)
    flip(tmp_path / "c" / "00001.h5", make_features(plan)[20].tobytes())
    with pytest.raises(InputError, match=r"00001\.h5: features of rows 0 to 15 differ from their checksum"):
        cache.load()
    assert len(cache.load(check=False)) == 50
    assert any("00001.h5" in line for line in verify(cache.path))


def test_a_flipped_byte_in_another_column_is_always_found(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    flip(tmp_path / "c" / "00000.h5", "größe/00003".encode())
    with pytest.raises(InputError, match="ids, labels or another column"):
        cache.load(check=False)


@pytest.mark.parametrize("keep", [0, 10, 1000, -1])
def test_a_truncated_shard_is_named(tmp_path: Path, keep: int) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    path = tmp_path / "c" / "00002.h5"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"00002\.h5 is truncated or damaged"):
        cache.load()
    assert len(verify(cache.path)) == 1


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    (tmp_path / "c" / "00002.h5").unlink()
    with pytest.raises(InputError, match=r"00002\.h5 is missing"):
        cache.load()


def test_a_shard_of_another_cache_is_refused(tmp_path: Path) -> None:
    one, other = write_cache(tmp_path / "a", make_plan()), write_cache(tmp_path / "b", make_plan(seed=1))
    (one.path / "00001.h5").write_bytes((other.path / "00001.h5").read_bytes())
    with pytest.raises(InputError, match="another fingerprint"):
        one.load()


def test_shards_of_the_same_fingerprint_but_other_samples_do_not_pass_verify(tmp_path: Path) -> None:
    one = write_cache(tmp_path / "a", make_plan())
    other = write_cache(tmp_path / "b", make_plan(), make_features(make_plan(), seed=5))
    (one.path / "00001.h5").write_bytes((other.path / "00001.h5").read_bytes())
    assert verify(one.path) == ["the shards are not those the manifest was written for"]


@pytest.mark.parametrize("kind", ["soft", "external", "external data", "group"])
def test_links_are_refused(tmp_path: Path, kind: str) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    with h5py.File(tmp_path / "c" / "00000.h5", "a") as file:
        if kind == "soft":
            file["more"] = h5py.SoftLink("/features")
        elif kind == "external":
            file["more"] = h5py.ExternalLink("/etc/passwd", "/x")
        elif kind == "external data":
            file.create_dataset("more", (4,), "u1", external=[("/etc/passwd", 0, 4)])
        else:
            file.create_group("more")
    for read in (cache.load, lambda: cache.features(0), lambda: cache.features(0, check=False)):
        with pytest.raises(InputError, match="refused"):
            read()


def test_features_that_lie_elsewhere_are_refused(tmp_path: Path) -> None:
    one, other = (write_cache(tmp_path / name, make_plan()) for name in "ab")
    with h5py.File(one.path / "00000.h5", "a") as file:
        del file["features"]
        file["features"] = h5py.ExternalLink(str(other.path / "00000.h5"), "/features")
    for check in (True, False):
        with pytest.raises(InputError, match="'features' is a link, a group or an external dataset: refused"):
            one.features(0, check=check)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_features_of_a_shard_alone_are_those_of_its_rows(tmp_path: Path, dtype: str) -> None:
    cache = write_cache(tmp_path / "c", make_plan(dtype=dtype))
    whole = cache.load(ok_only=False).features
    for check in (True, False):
        shards = [cache.features(shard, check=check) for shard in range(4)]
        assert [shard.shape for shard in shards] == [(16, 6), (16, 6), (16, 6), (2, 6)]
        assert {shard.dtype for shard in shards} == {np.dtype(dtype)}
        np.testing.assert_array_equal(np.concatenate(shards), whole)


def test_failed_rows_keep_their_place_among_the_features_of_a_shard(tmp_path: Path) -> None:
    plan = make_plan(rows=20)
    with CacheWriter(tmp_path / "c", plan) as writer:
        for shard in list(writer.missing):
            start, stop = writer.manifest.span(shard)
            status = ["unreadable" if row == 3 else "ok" for row in range(start, stop)]
            writer.write(shard, make_features(plan)[start:stop], status)
        writer.finish()
    found = FeatureCache(tmp_path / "c").features(0)
    assert not found[3].any()
    np.testing.assert_array_equal(np.delete(found, 3, 0), np.delete(make_features(plan)[:16], 3, 0))


def test_a_flipped_byte_among_the_features_of_a_shard_is_found_where_it_is_looked_for(tmp_path: Path) -> None:
    plan = make_plan()
    cache = write_cache(tmp_path / "c", plan)
    flip(tmp_path / "c" / "00001.h5", make_features(plan)[20].tobytes())
    with pytest.raises(InputError, match=r"00001\.h5: features of rows 0 to 15 differ from their checksum"):
        cache.features(1)
    np.testing.assert_array_equal(cache.features(0), make_features(plan)[:16])
    unchecked = cache.features(1, check=False)
    assert (unchecked != make_features(plan)[16:32]).any(axis=1).tolist() == [row == 4 for row in range(16)]


def test_the_features_of_a_shard_that_is_not_there(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    (tmp_path / "c" / "00002.h5").unlink()
    with pytest.raises(InputError, match=r"00002\.h5 is missing"):
        cache.features(2)
    assert len(cache.features(3)) == 2


@pytest.mark.parametrize("keep", [0, 10, 1000, -1])
def test_the_features_of_a_truncated_shard(tmp_path: Path, keep: int) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    path = tmp_path / "c" / "00002.h5"
    path.write_bytes(path.read_bytes()[:keep])
    for check in (True, False):
        with pytest.raises(InputError, match=r"00002\.h5 is truncated or damaged"):
            cache.features(2, check=check)


def test_the_features_of_another_caches_shard_are_refused(tmp_path: Path) -> None:
    one, other = write_cache(tmp_path / "a", make_plan()), write_cache(tmp_path / "b", make_plan(seed=1))
    (one.path / "00001.h5").write_bytes((other.path / "00001.h5").read_bytes())
    for check in (True, False):
        with pytest.raises(InputError, match="another fingerprint"):
            one.features(1, check=check)


def test_features_that_are_not_what_the_manifest_says(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    (cache.path / "00003.h5").write_bytes((cache.path / "00001.h5").read_bytes())
    with pytest.raises(InputError, match=r"00003\.h5 is truncated or damaged \(features are \(16, 6\)"):
        cache.features(3, check=False)


def test_an_unfinished_cache_is_not_read(tmp_path: Path) -> None:
    plan = make_plan()
    with CacheWriter(tmp_path / "c", plan) as writer:
        writer.write(0, make_features(plan)[:16])
    with pytest.raises(InputError, match="unfinished"):
        FeatureCache(tmp_path / "c")
    assert verify(tmp_path / "c") == ["unfinished: run the command that writes it again, it resumes"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modality": "../../outside"}, "modality '../../outside': use letters"),
        ({"modality": "x" * 49}, "48 at most"),
        ({"shard_rows": 0}, "shard_rows is 0"),
        ({"rows": "50"}, "rows is '50'"),
        ({"rows": -5}, "rows is -5"),
        ({"rows": True}, "rows is True"),
        ({"dim": 2.5}, "dim is 2.5"),
        ({"dtype": "O"}, "dtype 'O'"),
        ({"classes": "abc"}, "classes must be a list"),
        ({"label_kind": "some"}, "label_kind is 'some'"),
        ({"counts": {}}, "counts do not add up"),
        ({"rows": 49}, "counts do not add up"),
    ],
)
def test_a_manifest_is_not_believed(tmp_path: Path, change: dict[str, object], message: str) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    path = cache.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    for read in (FeatureCache, verify):
        with pytest.raises(InputError, match=re.escape(message)):
            read(cache.path)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 10**13, "counts": {"ok": 10**13, "failed": 0, "split": {"train": 10**13}}},
        {"dim": 10**12},
        {"dim": 5},
        {"dtype": "float16"},
        {"classes": ["cat"]},
        {"label_kind": "multi"},
        {"label_kind": "none"},
    ],
)
def test_a_manifest_that_does_not_fit_its_shards_is_refused_before_memory_is_taken(
    tmp_path: Path, change: dict[str, object]
) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    path = cache.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=re.escape(str(cache.path))):
        FeatureCache(cache.path).load()
    assert verify(cache.path)


def test_classes_in_another_order_do_not_pass_verify(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    path = cache.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "classes": ["dog", "cat", "鳥"]}))
    assert verify(cache.path) == ["the shards are not those the manifest was written for"]


def test_columns_can_be_read_without_the_features(tmp_path: Path) -> None:
    plan = make_plan()
    block = write_cache(tmp_path / "c", plan).load(["train"], with_features=False)
    assert block.features.shape == (17, 0)
    assert block.ids == plan.columns.ids[::3]


def test_a_manifest_that_cannot_be_trusted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        FeatureCache(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no manifest\.json"):
        FeatureCache(tmp_path)
    cache = write_cache(tmp_path / "c", make_plan())
    path = cache.path / "manifest.json"
    document = json.loads(path.read_text())
    for text, message in (
        (path.read_text()[:100], "is damaged"),
        ("[]", "is damaged"),
        (json.dumps({**document, "schema": 99}), "has schema 99"),
        (json.dumps({**document, "fingerprint": {**document["fingerprint"], "config": {}}}), "was edited"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            FeatureCache(cache.path)
