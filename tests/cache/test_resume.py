"""Which stored cache a writer goes on with, and which it refuses."""

import dataclasses
import json
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.cache.building import make_features, make_plan, write_cache
from xfeat.cache import CacheWriter, FeatureCache, Plan, load_manifest
from xfeat.cache.keys import source_keys
from xfeat.cache.verify import verify
from xfeat.errors import InputError


def relabelled(plan: Plan, *, grown_from: str = "") -> Plan:
    labels = np.asarray(plan.columns.labels).copy()
    labels[20] = (labels[20] + 2) % 3
    return dataclasses.replace(plan, columns=dataclasses.replace(plan.columns, labels=labels), grown_from=grown_from)


def test_a_cache_that_the_plan_grew_from_is_taken_over(tmp_path: Path) -> None:
    plan = make_plan()
    write_cache(tmp_path / "c", plan)
    grown = relabelled(plan, grown_from=plan.manifest().samples)
    with CacheWriter(tmp_path / "c", grown) as writer:
        assert writer.missing == [1]
        assert not load_manifest(tmp_path / "c").complete  # before any shard
        kept = writer.kept(1)
        assert kept is not None
        writer.write(1, kept.features, kept.status)
        writer.finish()
    assert FeatureCache(tmp_path / "c").manifest == write_cache(tmp_path / "fresh", grown).manifest
    assert verify(tmp_path / "c") == []


def test_a_plan_that_grew_from_nothing_is_refused_as_other_samples(tmp_path: Path) -> None:
    write_cache(tmp_path / "c", make_plan())
    with pytest.raises(InputError, match="other samples"), CacheWriter(tmp_path / "c", relabelled(make_plan())):
        pass


def test_a_cache_that_changed_since_the_plan_was_made_is_refused(tmp_path: Path) -> None:
    plan = make_plan()
    write_cache(tmp_path / "c", plan)
    before = (tmp_path / "c" / "manifest.json").read_bytes()
    late = relabelled(plan, grown_from="0" * 64)
    with pytest.raises(InputError, match=r"changed meanwhile: .* run again"), CacheWriter(tmp_path / "c", late):
        pass
    assert (tmp_path / "c" / "manifest.json").read_bytes() == before
    # Another process may also have made just this of it.
    with CacheWriter(tmp_path / "c", dataclasses.replace(plan, grown_from="0" * 64)) as writer:
        assert writer.missing == []


def test_growth_keeps_to_its_fingerprint_and_shape(tmp_path: Path) -> None:
    plan = make_plan()
    write_cache(tmp_path / "c", plan)
    grown = relabelled(plan, grown_from=plan.manifest().samples)
    changes = [{"fingerprint": {"other": 1}}, {"dim": 7}, {"dtype": "float16"}, {"shard_rows": 8}, {"modality": "text"}]
    for change in changes:
        with (
            pytest.raises(InputError, match="another"),
            CacheWriter(tmp_path / "c", dataclasses.replace(grown, **change)),  # type: ignore[arg-type]
        ):
            pass
    assert load_manifest(tmp_path / "c").complete


def test_a_valid_shard_of_other_samples_is_written_again(tmp_path: Path) -> None:
    plan = make_plan()
    one, other = write_cache(tmp_path / "a", plan), write_cache(tmp_path / "b", relabelled(plan))
    (one.path / "00001.h5").write_bytes((other.path / "00001.h5").read_bytes())
    with CacheWriter(one.path, plan) as writer:
        assert (writer.missing, writer.damaged) == ([1], [])


def test_a_cache_from_before_source_and_content_keys_is_read_and_resumed(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    for shard in cache.path.glob("*.h5"):
        with h5py.File(shard, "a") as file:
            assert not {"source", "content"} & set(file)
            del file.attrs["classes"]
    manifest = cache.path / "manifest.json"
    document = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({key: value for key, value in document.items() if key not in ("orders", "parts")}))
    assert verify(cache.path) == []
    block = FeatureCache(cache.path).load()
    assert (block.source, block.content) == (None, None)
    with CacheWriter(cache.path, make_plan()) as writer:
        assert writer.missing == []
        assert writer.manifest.complete


def test_keys_are_read_and_selected_with_the_other_columns(tmp_path: Path) -> None:
    plan = dataclasses.replace(make_plan(20, shard_rows=8), sources=source_keys(make_plan(20).columns.ids))
    content = np.arange(320, dtype=np.uint16).astype(np.uint8).reshape(20, 16)
    with CacheWriter(tmp_path / "c", plan) as writer:
        for shard in list(writer.missing):
            start, stop = writer.manifest.span(shard)
            writer.write(shard, make_features(plan)[start:stop], content=content[start:stop])
        writer.finish()
    block = FeatureCache(tmp_path / "c").load(["val"])
    keep = np.array([name == "val" for name in plan.columns.split])
    assert plan.sources is not None
    np.testing.assert_array_equal(block.source, plan.sources[keep])
    np.testing.assert_array_equal(block.content, content[keep])


@pytest.mark.parametrize(
    ("name", "array"), [("source", np.zeros(8, np.int64)), ("content", np.zeros((8, 8), np.uint8)), ("source", None)]
)
def test_keys_of_another_shape_or_value_are_damage(tmp_path: Path, name: str, array: np.ndarray | None) -> None:
    plan = dataclasses.replace(make_plan(8, shard_rows=8), sources=source_keys(make_plan(8).columns.ids))
    with CacheWriter(tmp_path / "c", plan) as writer:
        writer.write(0, make_features(plan), content=np.ones((8, 16), np.uint8))
        writer.finish()
    with h5py.File(tmp_path / "c" / "00000.h5", "a") as file:
        changed = file[name][...] + 1 if array is None else array
        del file[name]
        file[name] = changed
    assert len(verify(tmp_path / "c")) == 1
    with CacheWriter(tmp_path / "c", plan) as writer:
        assert writer.damaged == [0]


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Files take ``limit`` bytes and no more: the system refuses the write."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_is_one_line_wherever_it_is_met(tmp_path: Path) -> None:
    plan = make_plan()
    features = make_features(plan)
    with (
        full_disk(100),
        pytest.raises(InputError, match=r"manifest\.json cannot be written \(File too large\)"),
        CacheWriter(tmp_path / "c", plan),
    ):
        pass
    with CacheWriter(tmp_path / "c", plan) as writer:
        for shard in range(4):
            start, stop = writer.manifest.span(shard)
            writer.write(shard, features[start:stop])
        assert not writer.missing
        with (
            full_disk(100),
            pytest.raises(InputError, match=r"manifest\.json cannot be written .* run again to resume"),
        ):
            writer.finish()
        assert not writer.manifest.complete
    assert list((tmp_path / "c").glob("*.tmp")) == []
    grown = relabelled(plan, grown_from=plan.manifest().samples)
    with full_disk(100), pytest.raises(InputError, match="cannot be written"), CacheWriter(tmp_path / "c", grown):
        pass
    with CacheWriter(tmp_path / "c", plan) as writer:  # the old manifest is still there, and all its shards
        assert writer.missing == []
        writer.finish()
    np.testing.assert_array_equal(FeatureCache(tmp_path / "c").load().features, features)
