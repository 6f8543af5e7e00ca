"""Growing a cache: whatever a manifest becomes, rows keep their places and only new ones are encoded."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cache.growing import CLASSES, assert_same_growth, embedded, facts, grown, ids, manifest, stored_facts
from xfeat.cache import FeatureCache
from xfeat.cache.growth import grow
from xfeat.cache.keys import source_keys
from xfeat.cache.verify import verify
from xfeat.errors import InputError

names = st.lists(st.sampled_from([f"s{number:02d}" for number in range(24)]), min_size=1, max_size=20, unique=True)
orders = st.permutations(CLASSES)


@given(old=names, new=names, classes=orders, multi=st.booleans(), data=st.data())
def test_the_laws_of_growth(
    tmp_path_factory: pytest.TempPathFactory,
    old: list[str],
    new: list[str],
    classes: list[str],
    multi: bool,
    data: st.DataObject,
) -> None:
    if not set(old) & set(new):
        new.append(old[0])
    path = tmp_path_factory.mktemp("cache") / "c"
    before = manifest(old, 1, multi=multi)
    assert before.run(path) == old
    after = manifest(new, 2, classes=tuple(classes[:3]), multi=multi)

    plan = grown(path, after)
    assert plan.columns.ids[: len(old)] == old  # places never move
    added = [name for name in new if name not in old]
    assert plan.columns.ids[len(old) :] == added  # new ones come last, in the order of the manifest
    named = {name: row for row, name in enumerate(new)}
    assert plan.rows.tolist() == [named.get(name, -1) for name in plan.columns.ids]
    was, wanted, is_now = facts(before.columns), facts(after.columns), facts(plan.columns)
    assert is_now == {name: wanted.get(name, was.get(name)) for name in plan.columns.ids}
    assert plan.columns.classes[:3] == classes[:3]
    assert (plan.added, plan.gone) == (len(added), len(set(old) - set(new)))
    assert plan.changed == sum(was[name] != wanted[name] for name in old if name in wanted)
    assert plan.moved == 0

    shutil.copytree(path, whole := path.with_name("whole"))
    assert after.run(whole) == added  # nothing is encoded twice
    assert stored_facts(FeatureCache(whole)) == is_now
    assert verify(whole) == []
    again = grow(whole, after.columns, source_keys(after.sources))
    if again is not None:
        assert_same_growth(again, plan)
        assert (again.added, again.changed, again.moved, again.gone) == (0, 0, 0, plan.gone)
    assert after.run(whole) == []

    kills = data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), max_size=3))
    for shards, rows in kills:
        after.run(path, shards=shards, rows=rows)
        interrupted = grow(path, after.columns, source_keys(after.sources))
        if interrupted is not None:
            assert_same_growth(interrupted, plan)
    after.run(path)
    assert FeatureCache(path).manifest == FeatureCache(whole).manifest
    for shard in whole.glob("*.h5"):
        assert (path / shard.name).read_bytes() == shard.read_bytes()


@given(names=st.lists(names, min_size=2, max_size=5), data=st.data())
def test_a_manifest_that_changes_while_growth_is_interrupted(
    tmp_path_factory: pytest.TempPathFactory, names: list[list[str]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cache") / "c"
    known: dict[str, list[tuple[object, ...]]] = {}
    for number, named in enumerate(names):
        named = list(dict.fromkeys(["anchor", *named]))
        samples = manifest(named, number, classes=tuple(data.draw(orders)))
        last = number == len(names) - 1
        samples.run(path, shards=None if last else data.draw(st.integers(1, 3)), rows=data.draw(st.integers(1, 4)))
        for name, fact in facts(samples.columns).items():
            known.setdefault(name, []).append(fact)
    samples.run(path)
    cache = FeatureCache(path)
    assert verify(path) == []
    found = stored_facts(cache)
    assert facts(samples.columns).items() <= found.items()
    # A row no longer named has what it had when its shard was last written.
    assert all(fact in known[name] for name, fact in found.items())
    block = cache.load()
    for name, features in zip(block.ids, block.features, strict=True):
        np.testing.assert_array_equal(features, embedded(f"{name}.png", 6))


def test_no_cache_and_the_same_samples_are_no_growth(tmp_path: Path) -> None:
    samples = manifest(ids(*range(6)))
    keys = source_keys(samples.sources)
    assert grow(tmp_path / "c", samples.columns, keys) is None
    samples.run(tmp_path / "c", shards=1)
    assert grow(tmp_path / "c", samples.columns, keys) is None


def test_a_moved_sample_is_encoded_again_and_only_that(tmp_path: Path) -> None:
    samples = manifest(ids(*range(10)))
    samples.run(tmp_path / "c")
    samples.sources[5] = "elsewhere.png"
    assert (grown(tmp_path / "c", samples).moved, grown(tmp_path / "c", samples).changed) == (1, 0)
    assert samples.run(tmp_path / "c") == ids(5)
    np.testing.assert_array_equal(FeatureCache(tmp_path / "c").load().features[5], embedded("elsewhere.png", 6))


@pytest.mark.parametrize("damage", ["delete", "cut"])
def test_places_of_a_damaged_shard_go_to_samples_found_nowhere_else(tmp_path: Path, damage: str) -> None:
    before = manifest(ids(*range(12)))
    before.run(tmp_path / "c")
    shard = tmp_path / "c" / "00001.h5"
    shard.unlink() if damage == "delete" else shard.write_bytes(shard.read_bytes()[:-50])
    after = manifest(ids(0, 4, 5, 6, 7, 1, 2, 3, 8, 9, 10, 11, 12, 13), seed=3)
    plan = grown(tmp_path / "c", after)
    assert plan.columns.ids == ids(*range(14))
    assert plan.added == 6
    assert after.run(tmp_path / "c") == ids(4, 5, 6, 7, 12, 13)
    assert verify(tmp_path / "c") == []


def test_a_damaged_last_shard_whose_samples_are_gone_is_removed(tmp_path: Path) -> None:
    manifest(ids(*range(9))).run(tmp_path / "c")
    (tmp_path / "c" / "00002.h5").write_bytes(b"")
    manifest(ids(*range(8)), seed=1).run(tmp_path / "c")
    assert sorted(path.name for path in (tmp_path / "c").glob("*.h5")) == ["00000.h5", "00001.h5"]
    assert verify(tmp_path / "c") == []


def test_too_few_samples_for_the_places_of_a_damaged_shard(tmp_path: Path) -> None:
    manifest(ids(*range(12))).run(tmp_path / "c")
    (tmp_path / "c" / "00001.h5").unlink()
    with pytest.raises(InputError, match="shards held 4 rows, and the manifest names only 2"):
        manifest(ids(0, 1, 2, 3, 4, 5, 8, 9, 10, 11)).run(tmp_path / "c")


def test_another_data_set_is_refused(tmp_path: Path) -> None:
    manifest(ids(*range(9))).run(tmp_path / "c")
    with pytest.raises(InputError, match=r"another data set: none of its 9 ids .* choose a new --out"):
        manifest(["x", "y"]).run(tmp_path / "c")


def test_a_cache_without_a_readable_row_becomes_anything(tmp_path: Path) -> None:
    manifest(ids(1, 2)).run(tmp_path / "c", shards=0)
    assert manifest(["x", "y"]).run(tmp_path / "c") == ["x", "y"]
