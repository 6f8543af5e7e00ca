import os
from pathlib import Path

import numpy as np
import pytest

from tests.cache.building import make_features, make_plan, write_cache
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
