import csv
import json
import os
import resource
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.cache.building import assert_same_tokens, make_features, make_plan, make_tokens, write_cache
from xfeat.cache import CacheWriter, Columns, FeatureCache, Plan, Tokens
from xfeat.cache.export import export, export_faiss, export_npy, export_npz, export_parquet
from xfeat.errors import InputError

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of SWIG's types, at import
    import faiss

FORMATS = ("npz", "npy", "parquet", "faiss")


def write_multi(path: Path) -> FeatureCache:
    """Three rows in two shards, of several classes each or none; the second failed."""
    labels = np.array([[1, 1], [0, 1], [0, 0]], np.uint8)
    columns = Columns(["a,b", 'say "c"', "d\ne"], ["train", "test", "test"], ["x", "y|z"], labels)
    with CacheWriter(path, Plan("image", {"made": "here"}, 2, columns, "float16", shard_rows=2)) as writer:
        writer.write(0, np.array([[3, 4], [0, 0]]), ["ok", "unreadable"])
        writer.write(1, np.zeros((1, 2)))
        writer.finish()
    return FeatureCache(path)


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
    cache = FeatureCache(tmp_path / "c")
    assert export_npz(cache, tmp_path / "out.npz") == (3, 1)
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        found = Tokens(arrays["tokens"], arrays["offsets"])
    assert_same_tokens(found, tokens.rows(np.array([0, 2, 3])))
    assert export_npz(cache, tmp_path / "train.npz", ["train"]) == (2, 0)
    with np.load(tmp_path / "train.npz", allow_pickle=False) as arrays:
        found = Tokens(arrays["tokens"], arrays["offsets"])
    assert_same_tokens(found, tokens.rows(np.array([0, 3])))
    for name in ("out.npy", "out.parquet"):
        assert export(cache, tmp_path / name).notes == ("token sequences are left out: .npz holds them",)


def test_npy_is_the_matrix_and_a_table_of_its_rows(tmp_path: Path) -> None:
    cache = write_multi(tmp_path / "c")
    written = export_npy(cache, tmp_path / "out.npy")
    assert written.paths == (tmp_path / "out.npy", tmp_path / "out.rows.csv")
    assert (written.rows, written.left_out) == (2, 1)
    matrix = np.load(tmp_path / "out.npy", allow_pickle=False)
    assert matrix.dtype == np.float16
    np.testing.assert_array_equal(matrix, [[3, 4], [0, 0]])
    with (tmp_path / "out.rows.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["id", "split", "label"],
            ["a,b", "train", "x|y|z"],
            ["d\ne", "test", ""],
        ]
    with (tmp_path / "all.csv").open("w"):
        pass
    export_npy(write_cache(tmp_path / "d", make_plan(3)), tmp_path / "all.npy")
    assert (tmp_path / "all.csv").read_text() == ""  # a user's own
    assert (tmp_path / "all.rows.csv").read_text().startswith("id,split,label,pair,camera\n")


def test_parquet_is_a_table_with_a_row_group_per_shard(tmp_path: Path) -> None:
    plan = make_plan(dtype="float16")
    cache = write_cache(tmp_path / "c", plan)
    assert export_parquet(cache, tmp_path / "out.parquet").rows == 50
    with pq.ParquetFile(tmp_path / "out.parquet") as file:
        assert file.num_row_groups == 4
        table = file.read()
    assert table.column_names == ["id", "split", "label", "pair", "camera", "features"]
    assert str(table.schema.field("features").type) == "fixed_size_list<element: halffloat>[6]"
    features = np.stack(table["features"].to_numpy())
    np.testing.assert_array_equal(features, make_features(plan).astype(np.float16))
    assert table["id"].to_pylist() == plan.columns.ids
    labels = plan.columns.labels
    assert labels is not None
    assert table["label"].to_pylist() == [None if label < 0 else plan.columns.classes[label] for label in labels]


def test_parquet_lists_the_classes_of_multi_label_rows(tmp_path: Path) -> None:
    export_parquet(write_multi(tmp_path / "c"), tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet")["label"].to_pylist() == [["x", "y|z"], []]


def test_faiss_finds_what_numpy_finds(tmp_path: Path) -> None:
    plan = make_plan(200, 8, dtype="float16")
    cache = write_cache(tmp_path / "c", plan)
    export_faiss(cache, tmp_path / "out", ["train", "test"])
    vectors = np.load(tmp_path / "out" / "vectors.npy", mmap_mode="r")
    assert vectors.flags.c_contiguous
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    ids = json.loads((tmp_path / "out" / "ids.json").read_text(encoding="utf-8"))
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    queries = np.random.default_rng(5).normal(size=(30, 8)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    block = cache.load(["train", "test"])
    stored = block.features.astype(np.float64)
    cosine = queries @ (stored / np.linalg.norm(stored, axis=1, keepdims=True)).T
    scores, rows = index.search(queries, 1)
    np.testing.assert_array_equal(rows[:, 0], cosine.argmax(axis=1))
    np.testing.assert_allclose(scores[:, 0], cosine.max(axis=1), rtol=1e-5)
    assert ids == block.ids
    about = json.loads((tmp_path / "out" / "meta.json").read_text(encoding="utf-8"))
    assert (about["rows"], about["dim"], about["metric"]) == (len(ids), 8, "inner product")
    assert about["fingerprint_sha256"] == cache.manifest.fingerprint_sha256
    readme = (tmp_path / "out" / "README.txt").read_text()
    assert "IndexFlatIP" in readme
    assert max(map(len, readme.splitlines())) <= 110


def test_the_readme_of_the_vectors_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = write_cache(tmp_path / "c", make_plan(20, 8))
    export_faiss(cache, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    lines = [line[4:] for line in Path("README.txt").read_text().splitlines() if line.startswith("    ")]
    names: dict[str, Any] = {"queries": np.load("vectors.npy")[3:4]}
    exec("\n".join(lines), names)
    assert names["ids"][names["rows"][0, 0]] == cache.load().ids[3]


def test_vectors_as_stored_and_rows_of_zeros(tmp_path: Path) -> None:
    cache = write_multi(tmp_path / "c")
    written = export(cache, tmp_path / "raw.faiss", normalise=False)
    np.testing.assert_array_equal(np.load(tmp_path / "raw.faiss" / "vectors.npy"), [[3, 4], [0, 0]])
    assert written.notes == ("1 rows are all zeros and have no direction",)
    export(cache, tmp_path / "one.faiss")
    np.testing.assert_allclose(np.load(tmp_path / "one.faiss" / "vectors.npy"), [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_only_an_export_of_vectors_is_replaced(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    out = tmp_path / "out"
    out.mkdir()
    export_faiss(cache, out)
    export_faiss(cache, out, ["val"])
    assert len(np.load(out / "vectors.npy")) == 17
    (out / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="holds something else"):
        export_faiss(cache, out)
    assert (out / "mine.txt").read_text() == "precious"
    with pytest.raises(InputError, match="holds something else"):
        export_faiss(cache, cache.path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="holds something else"):
        export_faiss(cache, tmp_path / "file")
    with pytest.raises(InputError, match="does not exist"):
        export_faiss(cache, tmp_path / "none" / "out")


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_cache_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    plan = make_plan()
    cache = write_cache(tmp_path / "c", plan)
    out = tmp_path / f"out.{name}"
    export(cache, out)
    before = {path: path.read_bytes() for path in tmp_path.rglob("out*") if path.is_file()}
    shard = cache.path / "00003.h5"
    content = bytearray(shard.read_bytes())
    content[content.index(make_features(plan)[49].tobytes())] ^= 1
    shard.write_bytes(content)
    there = set(tmp_path.iterdir())
    with pytest.raises(InputError, match="differ from their checksum"):
        export(cache, out)
    assert {path: path.read_bytes() for path in before} == before
    assert set(tmp_path.iterdir()) == there


@pytest.mark.parametrize("name", FORMATS)
def test_one_split_of_a_cache(tmp_path: Path, name: str) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    assert export(cache, tmp_path / f"out.{name}", splits=["val"]).rows == cache.manifest.counts["split"]["val"]
    with pytest.raises(InputError, match="has no split 'dev'; it has: train, val, test"):
        export(cache, tmp_path / f"out.{name}", splits=["dev"])


def test_nothing_to_export(tmp_path: Path) -> None:
    with CacheWriter(tmp_path / "c", make_plan(2)) as writer:
        writer.write(0, np.zeros((2, 6)), ["empty file"] * 2)
        writer.finish()
    with pytest.raises(InputError, match="no row has features"):
        export(FeatureCache(tmp_path / "c"), tmp_path / "out.npz")


def test_a_link_is_followed_and_a_device_left_alone(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    (tmp_path / "link.npz").symlink_to(tmp_path / "real.npz")
    export_npz(cache, tmp_path / "link.npz")
    assert (tmp_path / "link.npz").is_symlink()
    assert (tmp_path / "real.npz").is_file()
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(InputError, match="not a plain file"):
        export_npz(cache, tmp_path / "pipe.npz")


def test_export_refuses_names_that_do_not_fit(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "c", make_plan())
    with pytest.raises(InputError, match=r"must end in \.npz, \.npy, \.parquet or \.faiss"):
        export(cache, tmp_path / "out.csv")
    with pytest.raises(InputError, match=r"must end in \.parquet$"):
        export(cache, tmp_path / "out.npy", format="parquet")
    with pytest.raises(InputError, match="no-normalise is for"):
        export(cache, tmp_path / "out.npy", normalise=False)
    with pytest.raises(InputError, match="does not exist"):
        export(cache, tmp_path / "none" / "out.npz")


@pytest.mark.parametrize("name", ["out.npz", "out.npy", "out.parquet", "out.faiss"])
def test_a_disk_that_is_full_is_told_with_the_name_and_nothing_is_left(tmp_path: Path, name: str) -> None:
    cache = write_multi(tmp_path / "c")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        with pytest.raises(InputError, match=f"{name}: cannot be written"):
            export(cache, tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
