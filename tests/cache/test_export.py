import os
from pathlib import Path

import numpy as np
import pytest

from tests.cache.building import assert_same_tokens, make_features, make_plan, make_tokens, write_cache
from xfeat.cache import CacheWriter, FeatureCache, Tokens
from xfeat.cache.export import export_npz
from xfeat.errors import InputError


def test_export_holds_the_columns_without_pickles(tmp_path: Path) -> None:
    plan = make_plan()
    cache = write_cache(tmp_path / "c", plan)
    assert export_npz(cache, tmp_path / "out.npz") == (50, 0)
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"features", "ids", "labels", "classes", "split", "pair", "camera"}
        np.testing.assert_array_equal(arrays["features"], make_features(plan))
        assert arrays["ids"].tolist() == plan.columns.ids
        assert arrays["classes"].tolist() == ["cat", "dog", "鳥"]


def test_export_holds_the_tokens_of_the_rows_that_did_not_fail(tmp_path: Path) -> None:
    plan = make_plan(4, token_dim=3)
    tokens = make_tokens(plan)
    assert tokens is not None
    with CacheWriter(tmp_path / "c", plan) as writer:
        writer.write(0, make_features(plan), ["ok", "unreadable", "ok", "ok"], tokens)
        writer.finish()
    assert export_npz(FeatureCache(tmp_path / "c"), tmp_path / "out.npz") == (3, 1)
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        found = Tokens(arrays["tokens"], arrays["offsets"])
    assert_same_tokens(found, tokens.rows(np.array([0, 2, 3])))


def test_a_link_is_followed_and_a_device_left_alone(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    (tmp_path / "link.npz").symlink_to(tmp_path / "real.npz")
    export_npz(cache, tmp_path / "link.npz")
    assert (tmp_path / "link.npz").is_symlink()
    assert (tmp_path / "real.npz").is_file()
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(InputError, match="not a plain file"):
        export_npz(cache, tmp_path / "pipe.npz")


def test_export_refuses_what_import_could_not_find(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    with pytest.raises(InputError, match=r"must end in \.npz"):
        export_npz(cache, tmp_path / "out.npy")
    with pytest.raises(InputError, match="does not exist"):
        export_npz(cache, tmp_path / "none" / "out.npz")
