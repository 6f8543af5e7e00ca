"""Shards that are short: what a writer keeps of them, and gives back."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.cache.building import make_features, make_plan, make_tokens
from tests.cache.growing import Extraction
from xfeat.cache import CacheWriter, Columns, FeatureCache, Plan, Tokens
from xfeat.cache.keys import source_keys
from xfeat.cache.verify import verify
from xfeat.errors import InputError


def sourced(plan: Plan) -> Plan:
    return dataclasses.replace(plan, sources=source_keys(plan.columns.ids))


def content_of(rows: int) -> np.ndarray:
    return np.arange(1, rows * 16 + 1, dtype=np.uint8).reshape(rows, 16)


def tokens_of(plan: Plan) -> Tokens:
    tokens = make_tokens(plan)
    assert tokens is not None
    return tokens


def test_a_short_shard_stays_missing_and_is_given_back(tmp_path: Path) -> None:
    plan = sourced(make_plan(20, shard_rows=8, token_dim=3))
    features, tokens, status = make_features(plan), tokens_of(plan), ["ok", "ok", "torn", "ok", "ok"]
    with CacheWriter(tmp_path / "c", plan) as writer:
        writer.write(0, features[:5], status, tokens.slice(0, 5), content_of(5))
        assert writer.missing == [0, 1, 2]
        assert writer.damaged == writer.failed_shards == []
        with pytest.raises(ValueError, match="3 shards are not written"):
            writer.finish()
    with pytest.raises(InputError, match="unfinished"):
        FeatureCache(tmp_path / "c")
    assert verify(tmp_path / "c") == ["unfinished: run the command that writes it again, it resumes"]
    with CacheWriter(tmp_path / "c", plan) as writer:
        assert (writer.missing, writer.damaged) == ([0, 1, 2], [])
        kept = writer.kept(0)
        assert kept is not None
        assert kept.places.tolist() == [0, 1, 2, 3, 4]
        assert kept.status == status
        np.testing.assert_array_equal(kept.features[[0, 1, 3, 4]], features[[0, 1, 3, 4]])
        np.testing.assert_array_equal(kept.content, content_of(5))
        assert kept.tokens is not None
        assert kept.tokens.lengths.tolist() == [0 if row == 2 else tokens.lengths[row] for row in range(5)]
        assert writer.kept(1) is None
        writer.write(0, features[:8], tokens=tokens.slice(0, 8), content=content_of(8))
        assert writer.missing == [1, 2]


def test_rows_behind_a_short_write_stay_with_the_sources_they_have(tmp_path: Path) -> None:
    plan = sourced(make_plan(8, shard_rows=8, token_dim=3))
    features, tokens = make_features(plan), tokens_of(plan)
    with CacheWriter(tmp_path / "c", plan) as writer:
        writer.write(0, features, None, tokens, content_of(8))
        writer.finish()
    assert plan.sources is not None
    moved = plan.sources.copy()
    moved[[1, 6]] += 1
    grown = dataclasses.replace(plan, sources=moved, grown_from=plan.manifest().samples)
    other = make_features(plan, seed=9)
    with CacheWriter(tmp_path / "c", grown) as writer:
        kept = writer.kept(0)
        assert kept is not None
        assert kept.places.tolist() == [0, 2, 3, 4, 5, 7]
        writer.write(0, other[:4], None, tokens.slice(0, 4), content_of(4))
        assert writer.missing == [0]
        kept = writer.kept(0)
        assert kept is not None
        assert kept.places.tolist() == [0, 1, 2, 3, 4, 5, 7]
        np.testing.assert_array_equal(kept.features, np.concatenate([other[:4], features[[4, 5, 7]]]))
        np.testing.assert_array_equal(kept.content, content_of(8)[kept.places])
        assert kept.tokens is not None
        np.testing.assert_array_equal(kept.tokens.values, tokens.rows(kept.places).values)
        # All that moved is written, what follows is as it was: the shard is done.
        writer.write(0, other[:7], None, tokens.slice(0, 7), content_of(7))
        assert writer.missing == []
        writer.finish()
    np.testing.assert_array_equal(FeatureCache(tmp_path / "c").load().features, [*other[:7], features[7]])
    assert verify(tmp_path / "c") == []


def test_rows_of_other_samples_are_not_kept(tmp_path: Path) -> None:
    plan = make_plan(8, shard_rows=8)
    with CacheWriter(tmp_path / "c", plan) as writer:
        writer.write(0, make_features(plan)[:4])
    ids = list(plan.columns.ids)
    ids[0], ids[2] = "new 0", "new 2"
    columns = dataclasses.replace(plan.columns, ids=ids)
    with CacheWriter(
        tmp_path / "c", dataclasses.replace(plan, columns=columns, grown_from=plan.manifest().samples)
    ) as writer:
        kept = writer.kept(0)
        assert kept is not None
        assert kept.places.tolist() == [1, 3]
        writer.write(0, make_features(plan)[:2])
        kept = writer.kept(0)
        assert kept is not None
        assert kept.places.tolist() == [0, 1]


def test_contents_and_rows_of_shards_on_disk(tmp_path: Path) -> None:
    plan = sourced(make_plan(20, shard_rows=8, token_dim=3))
    features, tokens, content = make_features(plan), tokens_of(plan), content_of(20)
    content[1] = 0
    with CacheWriter(tmp_path / "c", plan) as writer:
        writer.write(0, features[:8], ["ok"] * 7 + ["torn"], tokens.slice(0, 8), content[:8])
        writer.write(1, features[8:11], None, tokens.slice(8, 11), content[8:11])
        writer.write(2, features[16:], ["torn"] * 4, tokens.slice(16, 20))
        found = {shard: (keys, ok.tolist()) for shard, keys, ok in writer.contents()}
        assert {shard: ok for shard, (_, ok) in found.items()} == {
            0: [True, False, True, True, True, True, True, False],  # unknown content, failed
            1: [True] * 3,
            2: [False] * 4,
        }
        np.testing.assert_array_equal(found[0][0], content[:8])
        places = np.array([5, 0, 5])
        rows, sequences = writer.fetch(0, places)
        np.testing.assert_array_equal(rows, features[places])
        assert sequences is not None
        np.testing.assert_array_equal(sequences.values, tokens.rows(places).values)
        np.testing.assert_array_equal(writer.fetch(0, places, content[places])[0], rows)
        for other in (np.array([5, 0, 6]), np.array([5, 0, 7])):  # of other content, failed
            with pytest.raises(InputError, match=r"00000\.h5 does not hold the rows that others are copies of"):
                writer.fetch(0, other, content[[5, 0, 5 if other[2] == 6 else 7]])
        rows, sequences = writer.fetch(2, np.array([3]))
        assert sequences is not None
        assert (rows.tolist(), len(sequences.values), sequences.lengths.tolist()) == ([[0.0] * 6], 0, [0])


def test_a_damaged_file_gives_nothing(tmp_path: Path) -> None:
    samples = Extraction(Columns(["a", "b"], ["train"] * 2), ["a", "b"])
    samples.run(tmp_path / "c", shards=1, rows=1)
    shard = tmp_path / "c" / "00000.h5"
    shard.write_bytes(shard.read_bytes()[:-20])
    plan = Plan("image", {"family": "test"}, 6, samples.columns, sources=source_keys(samples.sources), shard_rows=16)
    with CacheWriter(tmp_path / "c", plan) as writer:
        assert (writer.damaged, writer.missing) == ([0], [0])
        assert writer.kept(0) is None
        assert list(writer.contents()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"features": np.zeros((0, 6))},
        {"features": np.zeros((9, 6))},
        {"features": np.zeros((8, 5))},
        {"status": ["ok"]},
        {"content": np.zeros((8, 15), np.uint8)},
        {"content": np.zeros((8, 16), np.int64)},
    ],
)
def test_shapes_that_do_not_fit_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with CacheWriter(tmp_path / "c", make_plan(20, shard_rows=8)) as writer:
        with pytest.raises(ValueError, match=r"shard (0 )?takes"):
            writer.write(0, **{"features": np.zeros((8, 6)), **wrong})  # type: ignore[arg-type]
        assert writer.missing == [0, 1, 2]
