"""Parquet tables and HDF5 files."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.errors import InputError
from xfeat.samples.importers import Imported, Names, read_arrays
from xfeat.samples.importers import parquet as module
from xfeat.samples.importers.arrays import open_arrays

GRID = np.arange(12.0).reshape(4, 3)


def table(folder: Path, **columns: Any) -> Path:
    path = folder / "a.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def read(folder: Path, columns: dict[str, Any], **names: Any) -> Imported:
    return read_arrays(table(folder, **columns), Names(**names))


LISTS = {
    "lists": pa.array(GRID.tolist()),
    "fixed": pa.array(GRID.tolist(), pa.list_(pa.float32(), 3)),
    "large": pa.array(GRID.tolist(), pa.large_list(pa.float16())),
    "whole": pa.array(GRID.astype(int).tolist(), pa.list_(pa.int16())),
}


@pytest.mark.parametrize("kind", LISTS)
def test_features_are_lists_of_numbers(tmp_path: Path, kind: str) -> None:
    imported = read(tmp_path, {"emb": LISTS[kind]}, features="emb")
    np.testing.assert_array_equal(imported.features.rows(0, 4), GRID.astype(np.float32))
    assert imported.format == "parquet"
    assert imported.columns.ids[3] == "000003"


def test_features_are_columns_in_natural_order(tmp_path: Path) -> None:
    columns = {"f_10": GRID[:, 2], "f_1": GRID[:, 0].astype(np.float32), "f_2": GRID[:, 1], "g": [1, 2, 3, 4]}
    imported = read(tmp_path, columns, features="f_*")
    np.testing.assert_array_equal(imported.features.rows(0, 4), GRID.astype(np.float32))
    assert imported.notes[-1] == "not used: g"


def test_the_other_columns_by_their_names(tmp_path: Path) -> None:
    columns = {
        "features": GRID.tolist(),
        "id": ["a", "b", "c", "é"],
        "split": pa.array(["train", "val", "test", "test"]).dictionary_encode(),
        "label": [["x"], [], ["x", "y"], None],
        "group": pa.array([7, 7, 8, 8], pa.int32()),
        "view": ["1", "2", "1", "2"],
    }
    columns_ = read(tmp_path, columns, pair="group", camera="view").columns
    assert columns_.ids == ["a", "b", "c", "é"]
    assert columns_.split == ["train", "val", "test", "test"]
    assert list(columns_.classes) == ["x", "y"]
    np.testing.assert_array_equal(columns_.labels, [[1, 0], [0, 0], [1, 1], [0, 0]])
    assert columns_.pair == ["7", "7", "8", "8"]
    assert columns_.camera == ["1", "2", "1", "2"]
    assert read(tmp_path, columns, ids="rows", labels="none").columns.ids[0] == "000000"


def test_labels_are_names_or_numbers_with_gaps(tmp_path: Path) -> None:
    columns = {"features": GRID.tolist(), "name": ["dog", None, "cat", "dog"], "number": [1, None, 0, 1]}
    by_name = read(tmp_path, columns, labels="name").columns
    assert list(by_name.classes) == ["cat", "dog"]
    by_number = read(tmp_path, columns, labels="number", classes="cat,dog").columns
    for found in (by_name, by_number):
        np.testing.assert_array_equal(found.labels, [1, -1, 0, 1])
    np.savez(tmp_path / "f.npz", features=GRID)
    other = read_arrays(tmp_path / "f.npz", Names(labels=f"{tmp_path / 'a.parquet'}#name")).columns
    np.testing.assert_array_equal(other.labels, [1, -1, 0, 1])


@pytest.mark.parametrize(
    ("columns", "names", "message"),
    [
        ({"x": [[1.0], [2.0]]}, {}, "has no array 'features' for --features; it has: x .list<element: double>."),
        ({"features": [[1.0, 2], [3.0]]}, {}, r"a\.parquet: column 'features' row 1 has 1 values, row 0 has 2"),
        ({"features": [[1.0], None]}, {}, r"a\.parquet: column 'features' row 1 is null: drop the row"),
        ({"features": [[1.0, 2], [3, None]]}, {}, r"a\.parquet: column 'features' row 1 holds a null among"),
        ({"features": [[1.0], [2.0]], "id": ["a", None]}, {}, "--ids id: row 1 is empty"),
        ({"features": [[1.0], [2.0]], "id": pa.array([5, None])}, {}, "--ids id: row 1 is empty"),
        ({"features": [[1.0], [2.0]], "id": ["a", "a"]}, {}, "'a' is in rows 0 and 1, but ids are unique"),
        ({"features": [[1.0], [2.0]], "label": [1.0, None]}, {}, "column 'label' row 1 is null: fill it in"),
        ({"features": [[1.0], [2.0]], "label": [["x", None], []]}, {}, "row 0 holds a null in its list"),
        ({"features": [[1.0], [2.0]], "split": [[["x"]], [["y"]]]}, {}, "is of type list<element: list"),
        ({"features": [[1.0], [2.0]], "label": [{"a": 1}, {"a": 2}]}, {}, "is of type struct"),
        ({"features": [1.0, 2.0]}, {}, "features are samples x columns"),
        ({"f_1": [1, None]}, {"features": "f_*"}, "column 'f_1' row 1 is null"),
        ({"f_1": ["a", "b"]}, {"features": "f_*"}, r"column 'f_1' is of type string: \* takes columns of numbers"),
        ({"f_1": [1, 2]}, {"features": "g*"}, r"has no array 'g\*' for --features; it has: f_1"),
        ({"features": pa.array([], pa.list_(pa.float32()))}, {}, "is empty: it has no rows"),
    ],
)
def test_refusals(tmp_path: Path, columns: dict[str, Any], names: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, columns, **names)
    assert "\n" not in str(error.value)


@given(rows=st.integers(1, 40), batch=st.integers(1, 9), bad=st.integers(0, 39))
def test_rows_are_counted_across_batches(
    tmp_path_factory: pytest.TempPathFactory, rows: int, batch: int, bad: int
) -> None:
    folder = tmp_path_factory.mktemp("t")
    features = np.random.default_rng(rows).normal(size=(rows, 2)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), 2)
    path = table(folder, features=column)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH", batch)
        np.testing.assert_array_equal(open_arrays(path).read("features"), features)
        cells = features.tolist()
        cells[bad % rows] = None
        with pytest.raises(InputError, match=f"row {bad % rows} is null"):
            open_arrays(table(folder, features=pa.array(cells, pa.list_(pa.float32())))).read("features")


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_truncated_files_are_explained_in_one_line(tmp_path: Path, keep: float) -> None:
    path = table(tmp_path, features=GRID.tolist())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(InputError, match=r"a\.parquet is not a Parquet file, or is damaged") as error:
        read_arrays(path)
    assert "\n" not in str(error.value)


def test_damaged_pages_are_explained_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"features": GRID.tolist()}), path, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[8:40] = bytes(32)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.parquet is not a Parquet file, or is damaged") as error:
        read_arrays(path)
    assert "\n" not in str(error.value)


def test_metadata_of_an_export_are_not_trusted(tmp_path: Path) -> None:
    for words, message in (
        (b"{", "metadata of xfeat are damaged"),
        (b'{"classes": [1]}', "metadata of xfeat are damaged"),
        (b'{"classes": ["dog"]}', "column 'label' row 1 is 'cat', not one of the classes that the file names"),
    ):
        made = pa.table({"features": [[1.0], [2.0]], "label": ["dog", "cat"]}).replace_schema_metadata(
            {b"xfeat": words}
        )
        pq.write_table(made, tmp_path / "a.parquet")
        with pytest.raises(InputError, match=message):
            read_arrays(tmp_path / "a.parquet")


@pytest.fixture
def hdf5(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = GRID
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file["features"] = GRID
        file["deep/er/x"] = GRID.astype(np.float32)
        file.create_dataset("packed", data=GRID, chunks=(2, 3), compression="gzip")
        file["id"] = ["a", "b", "c", "é"]
        file["label"] = np.array([b"x", b"y", b"x", b"x"])
        file["split"] = np.array(["train", "val", "test", "test"], h5py.string_dtype("utf-8", 8))
        file["soft"] = h5py.SoftLink("/features")
        file["link"] = h5py.ExternalLink("other.h5", "/secret")
        file["deep/link"] = h5py.ExternalLink("other.h5", "/secret")
        file.create_dataset("outside", (2,), "f8", external=[("other.h5", 0, 16)])
        layout = h5py.VirtualLayout((4, 3), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", (4, 3))
        file.create_virtual_dataset("virtual", layout)
        file["single"] = 5.0
        file.create_dataset("ragged", (1,), h5py.vlen_dtype(np.float32))
        file.create_dataset("refs", data=[file["features"].ref], dtype=h5py.ref_dtype)
    return path


def test_hdf5_datasets_by_name(hdf5: Path) -> None:
    imported = read_arrays(hdf5, Names(split="split"))
    np.testing.assert_array_equal(imported.features.rows(0, 4), GRID.astype(np.float32))
    assert imported.columns.ids == ["a", "b", "c", "é"]
    assert imported.columns.split == ["train", "val", "test", "test"]
    assert list(imported.columns.classes) == ["x", "y"]
    assert imported.format == "h5"
    for name in ("deep/er/x", "packed"):
        np.testing.assert_array_equal(read_arrays(hdf5, Names(name)).features.rows(0, 4), GRID.astype(np.float32))


def test_hdf5_maps_what_lies_byte_after_byte(hdf5: Path) -> None:
    file = open_arrays(hdf5)
    assert isinstance(file.read("features"), np.memmap)
    assert isinstance(file.read("deep/er/x"), np.memmap)
    assert not isinstance(file.read("packed"), np.memmap)


@pytest.mark.parametrize("name", ["soft", "link", "deep/link", "deep", "absent"])
def test_hdf5_follows_no_links(hdf5: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"has no array '{name}' for --features"):
        read_arrays(hdf5, Names(name))
    with pytest.raises(InputError, match="links are not followed"):
        open_arrays(hdf5).read(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("outside", "lies in another file: refused"),
        ("virtual", "lies in another file: refused"),
        ("single", "is a single value"),
        ("ragged", "is of type object: numbers and strings are read, nothing else"),
        ("refs", "is of type object"),
    ],
)
def test_hdf5_refusals(hdf5: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_arrays(hdf5, Names(name))


@pytest.mark.parametrize("keep", [0.0, 0.2, 0.6])
def test_truncated_hdf5_is_explained_in_one_line(hdf5: Path, keep: float) -> None:
    hdf5.write_bytes(hdf5.read_bytes()[: int(hdf5.stat().st_size * keep)])
    with pytest.raises(InputError, match=r"a\.hdf5") as error:
        read_arrays(hdf5)
    assert "\n" not in str(error.value)
