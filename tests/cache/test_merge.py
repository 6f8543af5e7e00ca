"""Parts written apart, joined: the same bytes as a cache written in one piece, whatever the parts' sizes."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cache.building import make_features, make_plan, make_tokens
from xfeat.cache import CacheWriter, FeatureCache, Manifest, Plan, Tokens
from xfeat.cache.keys import source_keys
from xfeat.cache.merge import find_parts, merge, part_path
from xfeat.cache.verify import verify
from xfeat.errors import InputError

ROWS = 60


def whole_plan(*, rows: int = ROWS, token_dim: int = 3, shard_rows: int = 8, keyed: bool = True) -> Plan:
    plan = make_plan(rows, token_dim=token_dim, shard_rows=shard_rows)
    return dataclasses.replace(plan, sources=source_keys(plan.columns.ids) if keyed else None)


def write_rows(path: Path, plan: Plan, start: int, stop: int, *, failed: int | None = None) -> Path:
    """Some rows of a plan as a cache of their own; one of them failed."""
    features, tokens = make_features(plan), make_tokens(plan)
    content = np.random.default_rng(0).integers(1, 255, (len(plan.columns), 16)).astype(np.uint8)
    keys = None if plan.sources is None else plan.sources[start:stop]
    part = dataclasses.replace(plan, columns=plan.columns.rows(start, stop), sources=keys)
    with CacheWriter(path, part) as writer:
        for shard in list(writer.missing):
            first, last = (start + row for row in writer.manifest.span(shard))
            writer.write(
                shard,
                features[first:last],
                ["torn" if row == failed else "ok" for row in range(first, last)],
                None if tokens is None else tokens.slice(first, last),
                None if plan.sources is None else content[first:last],
            )
        writer.finish()
    return path


def tokens_of(plan: Plan) -> Tokens:
    tokens = make_tokens(plan)
    assert tokens is not None
    return tokens


def write_parts(tmp_path: Path, plan: Plan, cuts: list[int], *, failed: int | None = None) -> list[Path]:
    cuts = [0, *cuts, len(plan.columns)]
    return [
        write_rows(
            part_path(tmp_path / "c", number, len(cuts) - 1), plan, cuts[number], cuts[number + 1], failed=failed
        )
        for number in range(len(cuts) - 1)
    ]


def same_but_parts(one: Manifest, other: Manifest) -> bool:
    return dataclasses.replace(one, parts=[]) == dataclasses.replace(other, parts=[])


@settings(max_examples=12)
@given(
    cuts=st.lists(st.integers(1, ROWS - 1), min_size=1, max_size=4, unique=True).map(sorted),
    token_dim=st.sampled_from([0, 3]),
    shard_rows=st.sampled_from([7, 8, 64]),
    keyed=st.booleans(),
    failed=st.none() | st.integers(0, ROWS - 1),
)
def test_a_merge_is_what_one_extraction_would_have_written(
    tmp_path_factory: pytest.TempPathFactory,
    cuts: list[int],
    token_dim: int,
    shard_rows: int,
    keyed: bool,
    failed: int | None,
) -> None:
    tmp_path = tmp_path_factory.mktemp("caches")
    plan = whole_plan(token_dim=token_dim, shard_rows=shard_rows, keyed=keyed)
    parts = write_parts(tmp_path, plan, cuts, failed=failed)
    assert find_parts(tmp_path / "c") == parts
    steps: list[int] = []
    manifest = merge(parts, tmp_path / "c", lambda rows=1, note="": steps.append(rows))
    assert sum(steps) == ROWS
    whole = write_rows(tmp_path / "whole", plan, 0, ROWS, failed=failed)
    assert same_but_parts(manifest, FeatureCache(whole).manifest)
    assert manifest.content == FeatureCache(whole).manifest.content
    for shard in whole.glob("*.h5"):
        assert (tmp_path / "c" / shard.name).read_bytes() == shard.read_bytes()
    assert verify(tmp_path / "c") == []


def aged(path: Path) -> None:
    """Set the shards' times back: what is written after that has another time, however coarse the disk's clock is."""
    for shard in path.glob("*.h5"):
        os.utime(shard, (0, 0))


def written(path: Path) -> set[str]:
    """The shards that were written since."""
    return {shard.name for shard in path.glob("*.h5") if shard.stat().st_mtime_ns}


def test_a_merge_resumes_and_has_nothing_to_do_twice(tmp_path: Path) -> None:
    plan = whole_plan()
    parts = write_parts(tmp_path, plan, [20, 40])
    wanted = merge(parts, tmp_path / "c")
    aged(tmp_path / "c")
    assert merge(parts, tmp_path / "c") == wanted
    assert written(tmp_path / "c") == set()
    (tmp_path / "c" / "00003.h5").unlink()
    assert merge(parts, tmp_path / "c") == wanted
    assert written(tmp_path / "c") == {"00003.h5"}
    with CacheWriter(tmp_path / "c", plan) as writer:  # what was merged is extracted further like any other
        assert writer.missing == []


def test_parts_that_were_written_again_are_merged_again(tmp_path: Path) -> None:
    plan = whole_plan()
    parts = write_parts(tmp_path, plan, [20], failed=30)
    assert merge(parts, tmp_path / "c").counts["failed"] == 1
    write_rows(tmp_path / "again", plan, 20, ROWS)
    again = [parts[0], tmp_path / "again"]
    manifest = merge(again, tmp_path / "c")
    assert manifest.counts["failed"] == 0
    assert verify(tmp_path / "c") == []
    assert same_but_parts(manifest, FeatureCache(write_rows(tmp_path / "whole", plan, 0, ROWS)).manifest)


def test_rows_may_come_from_any_caches_of_one_fingerprint(tmp_path: Path) -> None:
    plan = whole_plan()
    late, early = write_rows(tmp_path / "late", plan, 35, ROWS), write_rows(tmp_path / "early", plan, 0, 35)
    merge([late, early], tmp_path / "c")
    assert FeatureCache(tmp_path / "c").load().ids == [*plan.columns.ids[35:], *plan.columns.ids[:35]]


def test_parts_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no parts beside"):
        find_parts(tmp_path / "c")
    with pytest.raises(InputError, match="no parts beside"):
        find_parts(tmp_path / "no" / "c")
    parts = write_parts(tmp_path, whole_plan(), [10, 20, 30])
    (tmp_path / "c.part-1-of-4x").mkdir()
    (tmp_path / "cc.part-0-of-2").mkdir()
    assert find_parts(tmp_path / "c") == parts
    for number in (1, 3):
        parts[number].rename(tmp_path / f"away-{number}")
    with pytest.raises(InputError, match=r"2 of 4 parts are missing: run --shard 1/4, 3/4 first"):
        find_parts(tmp_path / "c")
    (tmp_path / "c.part-0-of-2").mkdir()
    with pytest.raises(InputError, match="are parts of 2 and of 4"):
        find_parts(tmp_path / "c")


def other_class(plan: Plan) -> Plan:
    return dataclasses.replace(plan, columns=dataclasses.replace(plan.columns, classes=["cat", "dog", "bird"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plan: dataclasses.replace(plan, fingerprint={"family": "x"}), r"fingerprints \(family: 'test' -> 'x'"),
        (lambda plan: dataclasses.replace(plan, modality="text"), r"modality \(image and text\)"),
        (lambda plan: dataclasses.replace(plan, dtype="float16"), r"dtype \(float32 and float16\)"),
        (lambda plan: dataclasses.replace(plan, dim=5), r"width \(6 and 5\)"),
        (lambda plan: dataclasses.replace(plan, token_dim=0), r"width of tokens \(3 and 0\)"),
        (other_class, "differ in classes"),
        (lambda plan: dataclasses.replace(plan, sources=None), "only one of .* has source"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path: Path, change: "object", message: str) -> None:
    plan = whole_plan()
    parts = [
        write_rows(tmp_path / "a", plan, 0, 20),
        write_rows(tmp_path / "b", change(plan), 20, 40),  # type: ignore[operator]
    ]
    with pytest.raises(InputError, match=message) as error:
        merge(parts, tmp_path / "c")
    assert all(str(part) in str(error.value) for part in parts)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("name", ["pair", "camera", "labels"])
def test_parts_with_other_columns_are_refused(tmp_path: Path, name: str) -> None:
    plan = whole_plan()
    change: dict[str, object] = {name: None} | ({"classes": ()} if name == "labels" else {})
    less = dataclasses.replace(plan, columns=dataclasses.replace(plan.columns, **change))  # type: ignore[arg-type]
    parts = [write_rows(tmp_path / "a", plan, 0, 20), write_rows(tmp_path / "b", less, 20, 40)]
    with pytest.raises(InputError, match=name if name != "labels" else "kind of labels"):
        merge(parts, tmp_path / "c")


def test_an_id_in_two_parts_is_named_with_both(tmp_path: Path) -> None:
    plan = whole_plan()
    parts = [write_rows(tmp_path / "a", plan, 0, 20), write_rows(tmp_path / "b", plan, 19, 40)]
    with pytest.raises(InputError, match=rf"id 'größe/00019' is in {parts[0]} and in {parts[1]}"):
        merge(parts, tmp_path / "c")


def test_what_cannot_be_merged(tmp_path: Path) -> None:
    plan = whole_plan()
    part = write_rows(tmp_path / "a", plan, 0, 20)
    for parts, out, message in (
        ([], tmp_path / "c", "nothing to merge"),
        ([part], tmp_path / "x" / ".." / "a", "is one of the parts"),
        ([part, part], tmp_path / "c", "named twice"),
        ([part, tmp_path / "no"], tmp_path / "c", "does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            merge(parts, out)
    other = write_rows(tmp_path / "b", plan, 20, 40)
    write_rows(tmp_path / "c", plan, 0, ROWS)
    with pytest.raises(InputError, match="another number of rows"):
        merge([part, other], tmp_path / "c")


def test_all_unfinished_parts_are_named(tmp_path: Path) -> None:
    plan = whole_plan()
    parts = [write_rows(tmp_path / name, plan, 0, 20) for name in "abc"]
    part = dataclasses.replace(plan, columns=plan.columns.rows(0, 20), sources=source_keys(plan.columns.ids[:20]))
    for path in parts[1:]:
        with CacheWriter(path, part) as writer:
            writer.write(0, make_features(plan)[:8], tokens=tokens_of(plan).slice(0, 8))
    with pytest.raises(InputError, match=rf"unfinished: {parts[1]}, {parts[2]}; run"):
        merge(parts, tmp_path / "d")
