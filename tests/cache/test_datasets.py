from pathlib import Path

import h5py
import numpy as np
import pytest

from xfeat.cache.datasets import RefusedError, open_datasets


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["whole"] = np.arange(12, dtype=np.float32).reshape(4, 3)
        file["words"] = np.array([b"a", b"bcd"]).astype(h5py.string_dtype("utf-8", 3))
        file.create_dataset("chunked", data=np.arange(64), chunks=(8,), compression="gzip")
        file.create_dataset("unwritten", (5,), "f4")
        file.create_dataset("single", data=3)
        file["nothing"] = h5py.Empty("f4")
        file.attrs.update({"fingerprint": "größe", "columns_checksum": 2**64 - 1, "other": 1})
    return tmp_path / "a.h5"


def test_values_and_attributes_are_those_that_h5py_reads(path: Path) -> None:
    with open_datasets(path) as file, h5py.File(path, "r") as other:
        assert set(file) == set(other)
        for name in ("whole", "words", "chunked", "unwritten", "single"):
            np.testing.assert_array_equal(file[name].read(), other[name][...])
            assert (file[name].shape, file[name].dtype) == (other[name].shape, other[name].dtype)
            assert file[name].nbytes == other[name].nbytes
        assert file.attrs == {"fingerprint": "größe", "columns_checksum": 2**64 - 1}
        assert file.size == path.stat().st_size
        with pytest.raises(TypeError, match="a single value"):
            len(file["single"])


def test_only_values_that_lie_byte_after_byte_have_a_place(path: Path) -> None:
    with open_datasets(path) as file:
        places = {name: file.place(name) for name in file}
    assert [name for name, place in places.items() if place and len(place.shape)] == ["whole", "words"]
    place = places["whole"]
    assert place is not None
    with place.open() as opened:
        assert np.fromfile(opened, place.dtype, 12).tolist() == list(range(12))


def test_nothing_but_the_wanted_datasets_is_looked_at(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["link"] = h5py.SoftLink("/whole")
    with open_datasets(path, ["whole"]) as file:
        assert list(file) == ["whole"]
    with pytest.raises(RefusedError, match="'link'"), open_datasets(path):
        pass
    with pytest.raises(KeyError), open_datasets(path, ["absent"]):
        pass


def test_the_file_is_closed_with_its_datasets(path: Path) -> None:
    with open_datasets(path) as file:
        kept = file["whole"]
    with pytest.raises(ValueError, match=r"[Nn]ot a (dataset|valid)|[Ii]nvalid"):
        kept.read()
    with h5py.File(path, "a") as again:
        again["more"] = 1
