"""What becomes of columns when a cache grows: changes of kind, of classes, and caches from before source keys."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.cache.growing import Extraction, grown, ids, manifest
from xfeat.cache import CacheWriter, Columns, FeatureCache, Plan
from xfeat.errors import InputError


def test_a_class_that_was_renamed_leaves_nothing(tmp_path: Path) -> None:
    samples = manifest(ids(*range(10)))
    samples.run(tmp_path / "c")
    samples.columns = dataclasses.replace(samples.columns, classes=["ant", "bee", "cat", "hound"])
    assert samples.run(tmp_path / "c") == []
    assert FeatureCache(tmp_path / "c").manifest.classes == ["ant", "bee", "cat", "hound"]


def columns_of_kind(kind: str, samples: list[str]) -> Columns:
    columns = manifest(samples).columns
    return {
        "single": columns,
        "multi": manifest(samples, multi=True).columns,
        "none": dataclasses.replace(columns, classes=(), labels=None),
        "camera": dataclasses.replace(columns, camera=["c"] * len(columns)),
        "no pair": dataclasses.replace(columns, pair=None),
    }[kind]


KINDS = ["single", "multi", "none", "camera", "no pair"]


@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("old", KINDS)
def test_columns_may_change_in_kind_while_every_row_is_named(tmp_path: Path, old: str, new: str) -> None:
    before, after = manifest(ids(*range(9))), manifest(ids(*range(10)))
    before.columns, after.columns = columns_of_kind(old, ids(*range(9))), columns_of_kind(new, ids(*range(10)))
    before.run(tmp_path / "c")
    if old != new:
        assert grown(tmp_path / "c", after).changed == 9
    assert after.run(tmp_path / "c", shards=1) + after.run(tmp_path / "c") == ids(9)
    fresh = dataclasses.replace(after)
    fresh.run(tmp_path / "fresh")
    assert FeatureCache(tmp_path / "c").manifest == FeatureCache(tmp_path / "fresh").manifest
    if old != new:
        before.columns = columns_of_kind(old, ids(*range(8)))
        before.sources = before.sources[:8]
        with pytest.raises(InputError, match=r"no longer names .* of another kind"):
            before.run(tmp_path / "c")


def test_a_cache_from_before_source_keys_counts_as_moved(tmp_path: Path) -> None:
    samples = manifest(ids(*range(6)))
    write_without_sources(tmp_path / "c", samples)
    more = manifest(ids(0, 1, 2, 3, 4, 6), seed=1)
    plan = grown(tmp_path / "c", more)
    assert (plan.added, plan.gone, plan.moved) == (1, 1, 5)
    assert plan.sources[5] == 0  # nobody can encode it again: it stays as it is
    assert more.run(tmp_path / "c") == ids(0, 1, 2, 3, 4, 6)
    np.testing.assert_array_equal(FeatureCache(tmp_path / "c").load().features[5], np.full(6, 5.0))


def write_without_sources(path: Path, samples: Extraction) -> None:
    plan = Plan("image", {"family": "test"}, 6, samples.columns, shard_rows=samples.shard_rows)
    with CacheWriter(path, plan) as writer:
        for shard in list(writer.missing):
            start, stop = writer.manifest.span(shard)
            writer.write(shard, np.repeat(np.arange(start, stop, dtype=np.float32)[:, None], 6, axis=1))
        writer.finish()
