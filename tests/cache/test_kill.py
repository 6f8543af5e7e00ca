"""Kill -9 at random moments: at most the shard in work is lost, and the resumed cache is the uninterrupted one."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.cache.building import assert_same_tokens, make_features, make_plan, make_tokens, write_cache
from xfeat.cache import FeatureCache
from xfeat.cache.verify import verify

KILLS = 30
WRITER = """
import sys
from pathlib import Path
from tests.cache.building import make_plan, write_cache
print("ready", flush=True)
write_cache(Path(sys.argv[1]), make_plan(rows=1200, dim=64, shard_rows=50, token_dim=8))
"""


def start_writer(path: Path) -> "subprocess.Popen[str]":
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_thirty_kills_lose_at_most_the_shard_in_work(tmp_path: Path) -> None:
    plan = make_plan(rows=1200, dim=64, shard_rows=50, token_dim=8)
    whole = write_cache(tmp_path / "whole", plan)
    moments = random.Random(0)
    longest = 0.2
    kills = 0
    attempt = 0
    while kills < KILLS:
        attempt += 1
        assert attempt < 20 * KILLS, "the writer always finished before it could be killed"
        path = tmp_path / f"killed-{attempt}"
        process = start_writer(path)
        try:
            process.wait(timeout=moments.uniform(0.0, longest))
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        else:
            longest *= 0.8  # finished first: this does not count, aim earlier
        process.communicate()
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
