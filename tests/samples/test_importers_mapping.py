from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from xfeat.errors import InputError
from xfeat.samples.importers import Imported, Names, read_arrays
from xfeat.samples.importers.features import Features
from xfeat.samples.importers.references import read_runs

GRID = np.arange(12.0).reshape(4, 3)


def read(folder: Path, arrays: dict[str, Any], **names: Any) -> Imported:
    np.savez(folder / "a.npz", **arrays)
    return read_arrays(folder / "a.npz", Names(**names))


def test_only_features(tmp_path: Path) -> None:
    imported = read(tmp_path, {"features": GRID, "other": GRID})
    assert imported.columns.ids == ["000000", "000001", "000002", "000003"]
    assert imported.columns.split == ["train"] * 4
    assert imported.columns.labels is imported.columns.pair is imported.columns.camera is None
    np.testing.assert_array_equal(imported.features.rows(0, 4), GRID.astype(np.float32))
    assert imported.format == "npz"
    assert imported.notes[1:] == ["not used: other"]
    assert "every row is train" in imported.notes[0]


def test_all_columns_by_their_own_names(tmp_path: Path) -> None:
    columns = read(
        tmp_path,
        {
            "features": GRID.astype(np.float16),
            "ids": np.array([b"a", b"b", b"c", "é".encode()]),
            "split": np.array(["train", "val", "test", "odd"]),
            "labels": np.array([[1], [2], [1], [-1]], np.int32),
            "classes": np.array(["x", "y", "z"]),
            "pair": np.array([7.0, 7, 8, 8]),
            "camera": np.array([1, 2, 3, 4]),
        },
    ).columns
    assert columns.ids == ["a", "b", "c", "é"]
    assert columns.split == ["train", "val", "test", "odd"]
    assert list(columns.classes) == ["x", "y", "z"]
    np.testing.assert_array_equal(columns.labels, [1, 2, 1, -1])
    assert columns.pair == ["7", "7", "8", "8"]
    assert columns.camera == ["1", "2", "3", "4"]


def test_columns_of_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.csv").write_text("name,part,kind\na,train,2\nb,test,10\nc,test,\nd,test,2\n")
    Path("l.list").write_text("p 1\nq 3\np 2\np 3\n")
    Path("c.txt").write_text("one\ntwo\nthree\n\n")
    np.save("k.npy", np.array([4, 5, 6, 7]))
    np.savez("b.npz", part=["val"] * 4)
    arrays = {"features": GRID}
    first = read(tmp_path, arrays, ids="s.csv#name", split="s.csv#part", labels="s.csv#kind", pair="rows").columns
    assert first.ids == ["a", "b", "c", "d"]
    assert first.split == ["train", "test", "test", "test"]
    assert first.classes == ["2", "10"]
    np.testing.assert_array_equal(first.labels, [0, 1, -1, 0])
    assert first.pair == ["000000", "000001", "000002", "000003"]
    second = read(tmp_path, arrays, labels="l.list#2", classes="c.txt", pair="l.list#1", camera="k.npy").columns
    assert list(second.classes) == ["one", "two", "three"]
    np.testing.assert_array_equal(second.labels, [0, 2, 1, 2])
    assert second.pair == ["p", "q", "p", "p"]
    assert second.camera == ["4", "5", "6", "7"]
    third = read(tmp_path, arrays, labels="l.list#1", classes="q,p", split="b.npz#part")
    assert third.columns.split == ["val"] * 4
    np.testing.assert_array_equal(third.columns.labels, [1, 0, 1, 1])


def test_camera_must_be_one_value_per_sample(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--camera features has shape \(4, 3\)"):
        read(tmp_path, {"features": GRID}, camera="features")


def test_parts_follow_each_other(tmp_path: Path) -> None:
    arrays = {"a": GRID, "b": GRID[:2].astype(np.uint8), "y": np.ones(4, int), "z": np.zeros((1, 2), int)}
    imported = read(tmp_path, arrays, features="a,b", labels="y,z", split="train:4, test:2")
    np.testing.assert_array_equal(imported.features.rows(0, 6), np.concatenate([GRID, GRID[:2]]))
    np.testing.assert_array_equal(imported.columns.labels, [1, 1, 1, 1, 0, 0])
    assert imported.columns.split == ["train"] * 4 + ["test"] * 2
    assert imported.features.names == ["a", "b"]
    assert imported.features.kinds == "float64, uint8"


def test_transpose(tmp_path: Path) -> None:
    arrays = {"features": GRID.T, "labels": np.eye(4)[:, :2], "wide": np.eye(4)[:2]}
    for labels in ("labels", "wide"):
        imported = read(tmp_path, arrays, transpose=True, labels=labels)
        np.testing.assert_array_equal(imported.features.rows(0, 4), GRID)
        np.testing.assert_array_equal(imported.columns.labels, np.eye(4)[:, :2])
    with pytest.raises(InputError, match=r"has 4 rows, the features have 3 and 4 columns: .* give --transpose"):
        read(tmp_path, arrays)
    with pytest.raises(InputError, match=r"has 4 rows, the features have 3 and 4 columns: .* leave --transpose out"):
        read(tmp_path, arrays | {"features": GRID}, transpose=True)


def test_matlab_vectors_lie_down(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"X": GRID, "Y": [1.0, 2.0, 2.0, 1.0], "where": ["train", "test ", "test", "test"]})
    columns = read_arrays(tmp_path / "a.mat", Names("X", labels="Y", split="where")).columns
    assert columns.classes == ["1", "2"]
    np.testing.assert_array_equal(columns.labels, [0, 1, 1, 0])
    assert columns.split == ["train", "test", "test", "test"]


@pytest.mark.parametrize(
    ("extra", "names", "message"),
    [
        ({}, {"features": "x"}, "has no array 'x' for --features; it has: features"),
        ({}, {"features": " , "}, "--features is empty"),
        ({}, {"labels": "x"}, "--labels x: neither PATH#COLUMN nor an array of"),
        ({}, {"labels": "absent.csv#x"}, "absent.csv cannot be read"),
        ({"labels": np.ones(5, int)}, {}, "--labels labels has 5 rows, the features have 4"),
        ({"labels": np.array(5)}, {}, "--labels labels is a single value"),
        ({"labels": np.ones((4, 2), complex)}, {}, "labels are numbers, names or a matrix"),
        ({"labels": np.ones((4, 2), str)}, {}, "matrix of text"),
        ({"labels": np.array([0, 1, 2, 3])}, {"classes": "a,b"}, "--labels labels: row 2: label 2 is not one of 0 to"),
        ({"labels": np.array([1, 1, 2, 2])}, {"classes": "a,b,c"}, "labels run from 1 to 2 .* give --label-base"),
        ({"labels": np.ones(4, int)}, {"classes": "absent.txt"}, "--classes absent.txt: no such file"),
        ({"labels": np.ones(4, int)}, {"classes": "a,,c"}, "class 1 .from 0. has no name"),
        ({"labels": np.zeros(4, int)}, {"classes": "a,b,a"}, "class name 'a' appears twice"),
        ({"labels": np.ones(4, int), "z": np.array(["a"])}, {"labels": "labels,z"}, "the parts differ in kind"),
        ({}, {"classes": "a,b"}, "--classes is given, but there are no labels"),
        ({"ids": np.array(["a", "b", "a", "c"])}, {}, "'a' is in rows 0 and 2, .* leave --ids out"),
        ({"ids": np.array(["a", "", "b", "c"])}, {}, "--ids ids: row 1 is empty"),
        ({"ids": np.array([1, 2, 3, 4.5])}, {}, "--ids ids is of type float64: it needs strings or whole numbers"),
        ({"ids": np.array([b"\xff"] * 4)}, {}, "bytes that are not UTF-8"),
        ({}, {"split": "train:2,test:1"}, "counts 3 rows, the features have 4"),
        ({}, {"split": "train"}, "--split train: neither PATH#COLUMN nor an array"),
        ({"split": np.array(["train", "", "test", "test"])}, {}, "--split split: row 1 is empty"),
        ({"pair": np.array(["p", "p", "", "q"])}, {}, "--pair pair: row 2 is empty"),
    ],
)
def test_refusals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], names: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, {"features": GRID, **extra}, **names)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(3), r"is 1-dimensional \(3\): features are samples x columns"),
        (np.ones((2, 3, 4)), r"is 3-dimensional \(2x3x4\)"),
        (np.array(1.0), "is 0-dimensional"),
        (np.ones((2, 2), complex), "is complex"),
        (np.array([["a"]]), "is of type <U1: features are numbers"),
        (np.ones((0, 3)), r"is empty \(0x3\)"),
        (np.ones((3, 0)), r"is empty \(3x0\)"),
    ],
)
def test_what_are_no_features(array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Features([("x", array)])


def test_parts_of_different_width() -> None:
    with pytest.raises(InputError, match="a has 3 columns and b has 4"):
        Features([("a", GRID), ("b", GRID.T)])


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (np.nan, "float32", r"features of row 5 \(id 's5'\) hold nan in column 2"),
        (-np.inf, "float32", "hold -inf in column 2"),
        (1e39, "float32", r"hold 1e\+39, too large for float32"),
        (65520.0, "float16", "hold 65520.0, too large for float16"),
    ],
)
def test_values_that_cannot_be_stored(value: float, dtype: str, message: str) -> None:
    bad = GRID.copy()
    bad[1, 2] = value
    with pytest.raises(InputError, match=message):
        Features([("a", GRID), ("b", bad)]).content([f"s{row}" for row in range(8)], dtype)


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4), data=st.data())
def test_parts_are_one_array(sizes: list[int], data: st.DataObject) -> None:
    whole = np.random.default_rng(sum(sizes)).normal(size=(sum(sizes), 3))
    parts = np.split(whole, np.cumsum(sizes)[:-1])
    features = Features([(str(place), part) for place, part in enumerate(parts)])
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    np.testing.assert_array_equal(features.rows(start, stop), whole[start:stop].astype(np.float32))
    ids = [str(row) for row in range(len(whole))]
    one = Features([("x", np.asfortranarray(whole.astype(">f4")))])
    assert features.content(ids, "float32") == one.content(ids, "float16")
    other = whole.copy()
    other[-1, -1] += 1
    assert Features([("x", other)]).content(ids, "float32") != one.content(ids, "float32")


def test_content_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    features = Features([("a", GRID), ("b", GRID + 1)])
    ids = [str(row) for row in range(8)]
    whole = features.content(ids, "float32")
    monkeypatch.setattr("xfeat.samples.importers.features.PIECE", 9)
    assert features.content(ids, "float32") == whole


@given(st.lists(st.tuples(st.from_regex(r"[a-z][a-z0-9_-]*", fullmatch=True), st.integers(0, 10**6)), min_size=1))
def test_runs(runs: list[tuple[str, int]]) -> None:
    assert read_runs(",".join(f"{name}:{count}" for name, count in runs)) == runs


@pytest.mark.parametrize("text", ["split", "a.csv#split", "train:2,test", "train:-1", "train:x", ""])
def test_no_runs(text: str) -> None:
    assert read_runs(text) is None


@pytest.mark.parametrize(("letter", "dim"), [("I", 128), ("T", 10)])
def test_wikipedia(shared_data: Path, letter: str, dim: int) -> None:
    folder = shared_data / "wikipedia"
    lists = [folder / f"{part}set_txt_img_cat.list" for part in ("train", "test")]
    names = Names(
        features=f"{letter}_tr,{letter}_te",
        labels=",".join(f"{path}#3" for path in lists),
        ids=",".join(f"{path}#{2 if letter == 'I' else 1}" for path in lists),
        split="train:2173,val:231,test:462",
        pair="rows",
        classes=str(folder / "categories.list"),
    )
    imported = read_arrays(folder / "raw_features.mat", names)
    raw = loadmat(folder / "raw_features.mat")
    wanted = np.concatenate([raw[f"{letter}_tr"], raw[f"{letter}_te"]])
    assert imported.features.shape == (2866, dim)
    np.testing.assert_array_equal(imported.features.rows(0, 2866), wanted.astype(np.float32))
    columns = imported.columns
    assert list(columns.classes) == [
        *("art", "biology", "geography", "history", "literature"),
        *("media", "music", "royalty", "sport", "warfare"),
    ]
    assert columns.labels is not None
    split = np.array(columns.split)
    # Rows per class as counted in the published lists.
    assert np.bincount(columns.labels[split == "train"]).tolist() == [138, 272, 244, 248, 202, 178, 186, 144, 214, 347]
    assert np.bincount(columns.labels[split != "train"]).tolist() == [34, 88, 96, 85, 65, 58, 51, 41, 71, 104]
    assert (split == "val").sum() == 231
    assert columns.ids[2173] == (
        "7e214fda4b30c95084e94fbec71ebde1" if letter == "I" else "6d6ead4cf7fd78eea820ac94d101f602-5"
    )
    assert columns.pair is not None
    assert columns.pair[-1] == "002865"


def test_mfeat(shared_data: Path) -> None:
    folder = shared_data / "mfeat"
    raw = loadmat(folder / "handwritten.mat")
    for view, dim in enumerate([240, 76, 216, 47, 64, 6]):
        names = Names(f"X[{view}]", labels="Y", split=f"{folder / 'split.csv'}#split", pair="rows")
        imported = read_arrays(folder / "handwritten.mat", names)
        assert imported.features.shape == (2000, dim)
        np.testing.assert_array_equal(imported.features.rows(0, 2000), raw["X"][0, view].astype(np.float32))
        columns = imported.columns
        assert columns.classes == [str(digit) for digit in range(10)]
        assert columns.labels is not None
        np.testing.assert_array_equal(columns.labels, raw["Y"].ravel())
        assert np.bincount(columns.labels).tolist() == [200] * 10
        counts = {name: columns.split.count(name) for name in set(columns.split)}
        assert counts == {"train": 999, "val": 396, "test": 599, "duplicate": 6}
        assert "kept, but used by nothing: rows of split duplicate" in imported.notes
