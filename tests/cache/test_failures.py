from pathlib import Path

import numpy as np
import pytest

from tests.cache.building import make_features, make_plan, write_cache
from xfeat.cache import CacheWriter, load_manifest
from xfeat.cache.failures import failures, has_contents
from xfeat.errors import InputError


def test_failed_rows_of_all_shards_in_order(tmp_path: Path) -> None:
    plan = make_plan(6, shard_rows=3)
    features = make_features(plan)
    with CacheWriter(tmp_path / "c", plan) as writer:
        writer.write(0, features[:3], ["ok", "kein Bild, größer", "ok"])
        writer.write(1, features[3:], ["empty file", "ok", "empty file"])
        manifest = writer.finish()
    assert list(failures(tmp_path / "c", manifest)) == [
        ("größe/00001", "kein Bild, größer"),
        ("größe/00003", "empty file"),
        ("größe/00005", "empty file"),
    ]
    (tmp_path / "c" / "00001.h5").unlink()
    with pytest.raises(InputError, match=r"00001\.h5 is missing"):
        list(failures(tmp_path / "c", manifest))


def test_whether_there_are_content_keys(tmp_path: Path) -> None:
    without = write_cache(tmp_path / "a", make_plan(3))
    assert not has_contents(without.path, without.manifest)
    plan = make_plan(3)
    with CacheWriter(tmp_path / "b", plan) as writer:
        writer.write(0, make_features(plan), content=np.ones((3, 16), np.uint8))
        writer.finish()
    assert has_contents(tmp_path / "b", load_manifest(tmp_path / "b"))
