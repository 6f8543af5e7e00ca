from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfeat.cache.image import image


def opened(pieces: list[memoryview], path: Path) -> h5py.File:
    path.write_bytes(b"".join(pieces))
    return h5py.File(path, "r")


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(0, 40), tokens=st.integers(0, 90), words=st.integers(0, 30))
def test_h5py_reads_back_what_went_in(
    tmp_path_factory: pytest.TempPathFactory, rows: int, tokens: int, words: int
) -> None:
    rng = np.random.default_rng(rows)
    large = {"a": rng.normal(size=(rows, 5)).astype(np.float16), "b": rng.normal(size=(tokens, 3)).astype(np.float32)}
    small = {"words": np.array(["größe".encode()] * words, dtype="S8"), "numbers": np.arange(words)}
    pieces = image(large, small, {"schema": 1, "name": "größe"})
    with opened(pieces, tmp_path_factory.mktemp("image") / "a.h5") as file:
        assert set(file) == {*large, *small}
        for name, array in (large | small).items():
            np.testing.assert_array_equal(file[name][...], array)
            assert file[name].dtype == array.dtype
        assert dict(file.attrs) == {"schema": 1, "name": "größe"}
        assert h5py.check_string_dtype(file["words"].dtype).encoding == "utf-8"
        for name, array in large.items():
            assert (file[name].id.get_offset() is None) == (not array.size)
        assert file.id.get_filesize() == sum(map(len, pieces))


def test_large_arrays_are_not_copied() -> None:
    array = np.ones((100, 8), dtype=np.float32)
    pieces = image({"a": array}, {"numbers": np.arange(3)}, {})
    assert any(piece.obj is array for piece in pieces)
    assert sum(len(piece) for piece in pieces if piece.obj is not array) < 10_000
