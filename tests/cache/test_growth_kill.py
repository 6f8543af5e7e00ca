"""Kill -9 while a cache grows, again and again: what is stored stays, and the end is that of a growth in one piece."""

import random
import shutil
import sys
from pathlib import Path

import pytest

from tests.cache.growing import Extraction
from tests.cache.killing import nursery
from xfeat.cache import Columns, FeatureCache
from xfeat.cache.verify import verify

KILLS = 4


def samples(first: int, last: int, split: str) -> Extraction:
    names = [f"größe/{row:05d}" for row in range(first, last)]
    return Extraction(Columns(names, [split] * len(names)), names, shard_rows=25, token_dim=3, dim=64)


def before() -> Extraction:
    return samples(0, 610, "train")


def after() -> Extraction:
    """Ten samples are gone, the rest have another split, some come from elsewhere, and twice as many are new."""
    grown = samples(10, 1800, "test")
    grown.sources[100:110] = [f"elsewhere {row}" for row in range(10)]
    return grown


def work(path: Path) -> None:
    after().run(path)


@pytest.mark.skipif(sys.platform == "win32", reason="kills children that are forked")
def test_kills_during_growth(tmp_path: Path) -> None:
    before().run(tmp_path / "before")
    shutil.copytree(tmp_path / "before", tmp_path / "whole")
    after().run(tmp_path / "whole")
    moments = random.Random(0)
    longest = 0.4
    kills = attempt = 0
    with nursery("tests.cache.test_growth_kill") as children:
        while kills < KILLS:
            attempt += 1
            assert attempt < 20 * KILLS, "growth always finished before it could be killed"
            path = tmp_path / f"killed-{attempt}"
            shutil.copytree(tmp_path / "before", path)
            for _ in range(2):  # the second one meets a cache that is half grown
                if children.killed(path, moments.uniform(0, longest)):
                    kills += 1
                else:
                    longest *= 0.8  # finished first: aim earlier
                problems = verify(path)
                assert all("unfinished" in line or "left by an interrupted write" in line for line in problems)
                held = sum(len(found) for found in stored_ids(path))
                assert held >= 610  # not a row is lost
            after().run(path)
            assert verify(path) == []
            assert FeatureCache(path).manifest == FeatureCache(tmp_path / "whole").manifest
            for shard in (tmp_path / "whole").glob("*.h5"):
                assert (path / shard.name).read_bytes() == shard.read_bytes()


def stored_ids(path: Path) -> list[list[str]]:
    import h5py

    found = []
    for shard in sorted(path.glob("*.h5")):
        with h5py.File(shard) as file:
            found.append(file["ids"].asstr()[...].tolist())
    return found
