"""Each format gives up its arrays and nothing else."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.sparse
from scipy.io import savemat
from scipy.io.matlab import MatlabObject

from xfeat.errors import InputError
from xfeat.samples.importers import Names, read_arrays
from xfeat.samples.importers.arrays import open_arrays

GRID = np.arange(12.0).reshape(4, 3)


def cells(*values: Any) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


@pytest.fixture
def mat(tmp_path: Path) -> Path:
    path = tmp_path / "a.mat"
    odd = np.empty((2, 2), object)
    odd[:] = [[np.ones((1, 1)), GRID], [GRID.T, np.zeros((1, 1))]]
    savemat(
        path,
        {
            "X": cells(GRID, GRID + 1),
            "square": odd,
            "words": cells("ant", "", "cat"),
            "chars": np.array(["ab ", "cde"]),
            "s": {"view": GRID, "deep": {"c": cells(GRID, GRID + 2)}},
            "thin": scipy.sparse.csc_matrix(GRID),
            "object": MatlabObject(np.array([(GRID,)], dtype=[("data", object)]), "table"),
        },
    )
    return path


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        ("X[1]", GRID + 1),
        ("square[1]", GRID.T),  # MATLAB counts down the columns
        ("square[2]", GRID),
        ("s.view", GRID),
        ("s.deep.c[1]", GRID + 2),
        ("thin", GRID),
        ("words", ["ant", "", "cat"]),
        ("chars", ["ab", "cde"]),
    ],
)
def test_mat_references(mat: Path, reference: str, wanted: Any) -> None:
    file = open_arrays(mat)
    assert file.has(reference)
    np.testing.assert_array_equal(file.read(reference), wanted)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("X", r"'X' is a cell array: name one of its cells, X\[0\] to X\[1\]"),
        ("X[2]", r"has 2 cells, from \[0\] to \[1\]"),
        ("X[-1]", "cannot read 'X"),
        ("X[0", "cannot read 'X"),
        ("X[0]junk", "cannot read 'X"),
        ("X[0][0]", r"is not a cell array: give its name without \[0\]"),
        ("X.view", "no field 'view'; a 1x2 object array is not a struct"),
        ("s", "'s' is a struct: name one of its fields, for example s.view"),
        ("s.none", "no field 'none'; its fields are view, deep"),
        ("object", "'object' is a MATLAB object"),
        ("object.data", "'object.data' is a MATLAB object"),
        ("absent", "has no array 'absent'; it has: X, square"),
    ],
)
def test_mat_refusals(mat: Path, reference: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_arrays(mat).read(reference)


def test_mat_listing(mat: Path) -> None:
    assert open_arrays(mat).listing().startswith("X (1x2 cell), square (2x2 cell), ")


@pytest.fixture
def mat73(tmp_path: Path) -> Path:
    path = tmp_path / "b.mat"
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = GRID
    with h5py.File(path, "w", userblock_size=512) as file:
        file["X"] = GRID.T
        file["X"].attrs["MATLAB_class"] = np.bytes_("double")
        file["word"] = np.array([[104], [105]], np.uint16)
        file["word"].attrs["MATLAB_class"] = np.bytes_("char")
        file["nothing"] = np.array([0, 0], np.uint64)
        file["nothing"].attrs["MATLAB_empty"] = 1
        file.create_group("s")["view"] = GRID
        file.create_group("#refs#")
        file["link"] = h5py.ExternalLink("other.h5", "/secret")
        file["soft"] = h5py.SoftLink("/X")
        file.create_dataset("cell", data=[file["X"].ref], dtype=h5py.ref_dtype)
        file.create_dataset("outside", (2,), "f8", external=[("other.h5", 0, 16)])
    return path


def test_mat73_plain_arrays(mat73: Path) -> None:
    file = open_arrays(mat73)
    assert file.names["X"] == "4x3"
    np.testing.assert_array_equal(file.read("X"), GRID)


@pytest.mark.parametrize("reference", ["word", "nothing", "s", "cell", "outside"])
def test_mat73_refuses_all_else(mat73: Path, reference: str) -> None:
    with pytest.raises(InputError, match=f"'{reference}' is no plain array of numbers, all that is read of v7.3"):
        open_arrays(mat73).read(reference)


@pytest.mark.parametrize("reference", ["link", "soft", "#refs#", "X[0]", "absent"])
def test_mat73_sees_no_links(mat73: Path, reference: str) -> None:
    with pytest.raises(InputError, match=f"has no plain array '{reference.replace('[', '.').replace(']', '.')}'"):
        open_arrays(mat73).read(reference)


def test_npy_is_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GRID)
    array = open_arrays(tmp_path / "a.npy").read("features")
    assert isinstance(array, np.memmap)
    np.testing.assert_array_equal(array, GRID)


class Trap:
    """Unpickling it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("data", [b"", b"junk", b"<html>no such page</html>"])
def test_what_is_no_npy_is_not_called_a_pickle(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "features.npy"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"is not a \.npy file"):
        open_arrays(path).read("features")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "raw.npy", "inner.npz"])
def test_nothing_is_unpickled(tmp_path: Path, name: str) -> None:
    path, sprung = tmp_path / name, tmp_path / "sprung"
    trap = np.array([Trap(sprung)], dtype=object)
    if name == "a.npy":
        np.save(path, trap, allow_pickle=True)
    elif name == "a.npz":
        np.savez(path, features=trap)
    elif name == "raw.npy":
        path.write_bytes(pickle.dumps(Trap(sprung)))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("features.npy", pickle.dumps(Trap(sprung)))
    with pytest.raises(InputError, match=r"'features' (holds Python objects|is not an array)"):
        open_arrays(path).read("features")
    assert not sprung.exists()


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.mat", "b.mat"])
@pytest.mark.parametrize("keep", [0.0, 0.2, 0.8])
def test_truncated_files_are_explained_in_one_line(tmp_path: Path, name: str, keep: float) -> None:
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, GRID)
    elif name == "a.npz":
        np.savez(path, features=GRID)
    elif name == "a.mat":
        savemat(path, {"features": GRID}, do_compression=True)
    else:
        with h5py.File(path, "w") as file:
            file["features"] = GRID.T
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(InputError, match=name) as error:
        open_arrays(path).read("features")
    assert "\n" not in str(error.value)


def test_other_files(tmp_path: Path) -> None:
    message = r"only \.npz, \.npy, \.mat, .* files and folders of embeddings can be imported, not '\.csv'"
    with pytest.raises(InputError, match=message):
        open_arrays(tmp_path / "a.csv")
    with pytest.raises(InputError, match="does not exist"):
        open_arrays(tmp_path / "a.npz")


def test_the_table_that_export_writes_beside_an_npy_is_read_with_it(tmp_path: Path) -> None:
    np.save(tmp_path / "out.npy", GRID)
    rows = [
        "id,split,label,pair",
        *(f"größe/{row},{'test' if row else 'val'},cat|dog,p{row}" for row in range(len(GRID))),
    ]
    (tmp_path / "out.rows.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    imported = read_arrays(tmp_path / "out.npy")
    assert imported.notes == ["ids, labels, split, pair from out.rows.csv"]
    assert imported.columns.ids == [f"größe/{row}" for row in range(len(GRID))]
    assert list(imported.columns.split) == ["val", *["test"] * (len(GRID) - 1)]
    assert list(imported.columns.classes) == ["cat", "dog"]
    assert imported.columns.pair == [f"p{row}" for row in range(len(GRID))]
    assert read_arrays(tmp_path / "out.npy", Names(ids="rows")).columns.ids[0] == "000000"
    (tmp_path / "out.rows.csv").write_text("\n".join(rows[:-1]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"out\.rows\.csv"):
        read_arrays(tmp_path / "out.npy")
