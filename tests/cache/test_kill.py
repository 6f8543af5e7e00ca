"""Kill -9 at random moments: at most the shard in work is lost, and the resumed cache is the uninterrupted one."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cache.building import assert_same_tokens, make_features, make_plan, make_tokens, write_cache
from tests.cache.killing import nursery
from xfeat.cache import FeatureCache, Plan
from xfeat.cache.verify import verify

KILLS = 30


def planned() -> Plan:
    return make_plan(rows=500, dim=64, shard_rows=50, token_dim=8)


def work(path: Path) -> None:
    write_cache(path, planned())


@pytest.mark.skipif(sys.platform == "win32", reason="kills children that are forked")
def test_thirty_kills_lose_at_most_the_shard_in_work(tmp_path: Path) -> None:
    plan = planned()
    whole = write_cache(tmp_path / "whole", plan)
    moments = random.Random(0)
    longest = 0.1
    kills = attempt = 0
    with nursery("tests.cache.test_kill") as children:
        while kills < KILLS:
            attempt += 1
            assert attempt < 20 * KILLS, "the writer always finished before it could be killed"
            path = tmp_path / f"killed-{attempt}"
            if children.killed(path, moments.uniform(0.0, longest)):
                kills += 1
            else:
                longest *= 0.8  # finished first: this does not count, aim earlier
            there = {shard.name: shard.read_bytes() for shard in path.glob("*.h5")}
            for name, content in there.items():
                assert content == (whole.path / name).read_bytes(), f"{name} is there but not whole"
            write_cache(path, plan)
            assert verify(path) == []
            for name, content in there.items():
                assert (path / name).read_bytes() == content
            block = FeatureCache(path).load(with_tokens=True)
            np.testing.assert_array_equal(block.features, make_features(plan))
            assert_same_tokens(block.tokens, make_tokens(plan))
            assert [p.name for p in path.glob("*.tmp")] == []
