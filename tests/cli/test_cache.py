import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.cache.building import make_features, make_plan, make_tokens, write_cache
from tests.cli.asking import refused
from tests.cli.conftest import Xfeat
from tests.training.building import blobs
from xfeat.cache import CacheWriter, Columns, FeatureCache, Plan
from xfeat.cache.verify import verify


def test_info_says_what_is_there_and_what_made_it(xfeat: Xfeat, caches: dict[str, Path]) -> None:
    code, out, err = xfeat("cache", "info", caches["image"], caches["text"])
    assert (code, err) == (0, "")
    assert "60 x 12 float32, 2 shards" in out
    assert "60 ok, 0 failed (test 20, train 40)" in out
    assert "3, single-label: ant, bee, cow" in out
    assert out.count("backbone: blobs") == 2
    assert out.count("modality") == 2
    assert "  content keys no (changed files cannot be told)\n" in out
    assert "  on disk      " in out


def test_info_says_why_rows_failed(xfeat: Xfeat, tmp_path: Path) -> None:
    plan = make_plan(12, shard_rows=5)
    features = make_features(plan)
    why = ["ok", *[f"truncated after {row} bytes" for row in range(4)], *[f"reason {name}" for name in "abcdef"], "ok"]
    with CacheWriter(tmp_path / "c", plan) as writer:
        for shard, (start, stop) in enumerate([(0, 5), (5, 10), (10, 12)]):
            contents = np.ones((stop - start, 16), np.uint8)
            writer.write(shard, features[start:stop], why[start:stop], content=contents)
        writer.finish()
    lines = xfeat("cache", "info", tmp_path / "c")[1].splitlines()
    place = lines.index("  rows         2 ok, 10 failed (train 4, val 4, test 4)")
    assert lines[place + 1 : place + 7] == [
        "    4 x truncated after 0 bytes (first: größe/00001)",
        *[f"    1 x reason {name} (first: größe/{row:05d})" for row, name in zip(range(5, 9), "abcd", strict=True)],
        "    2 for 2 other reasons",
    ]
    assert "  content keys yes" in lines
    document = json.loads(xfeat("cache", "info", tmp_path / "c", "--json")[1])[str(tmp_path / "c")]
    assert document["content_keys"] is True
    assert document["bytes"] == sum(path.stat().st_size for path in (tmp_path / "c").iterdir())


def test_info_lists_every_failed_row(xfeat: Xfeat, tmp_path: Path) -> None:
    plan = make_plan(5, shard_rows=3)
    features = make_features(plan)
    with CacheWriter(tmp_path / "c", plan) as writer:
        writer.write(0, features[:3], ["ok", "empty file", "ok"])
        writer.write(1, features[3:], ["silent", "ok"])
        writer.finish()
    code, out, err = xfeat("cache", "info", tmp_path / "c", "--failed")
    assert (code, out, err) == (0, "größe/00001\tempty file\ngröße/00003\tsilent\n", "")
    rows = [{"id": "größe/00001", "status": "empty file"}, {"id": "größe/00003", "status": "silent"}]
    assert json.loads(xfeat("cache", "info", tmp_path / "c", "--failed", "--json")[1]) == {str(tmp_path / "c"): rows}


def test_info_counts_the_tokens(xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path) -> None:
    path = write_cache(tmp_path / "c", make_plan(4, token_dim=3)).path
    tokens = make_tokens(make_plan(4, token_dim=3))
    assert tokens is not None
    total = len(tokens.values)
    assert f"  tokens       {total} x 3 float32, {total / 4:.1f} a sample\n" in xfeat("cache", "info", path)[1]
    assert "tokens" not in xfeat("cache", "info", caches["image"])[1]
    with CacheWriter(tmp_path / "u", make_plan(4, token_dim=3)):
        pass
    assert "  tokens       ? x 3 float32\n" in xfeat("cache", "info", tmp_path / "u")[1]


def test_info_as_json_is_nothing_but_json(xfeat: Xfeat, caches: dict[str, Path]) -> None:
    document = json.loads(xfeat("cache", "info", caches["image"], "--json")[1])
    manifest = document[str(caches["image"])]
    assert (manifest["modality"], manifest["rows"], manifest["dim"]) == ("image", 60, 12)
    assert manifest["fingerprint_sha256"] == FeatureCache(caches["image"]).manifest.fingerprint_sha256


def unfinished(path: Path) -> Path:
    plan = Plan("image", {"backbone": "b"}, 2, Columns(["a", "b", "c"], ["train"] * 3), shard_rows=2)
    with CacheWriter(path, plan) as writer:
        writer.write(0, np.ones((2, 2), np.float32))
    return path


def test_an_unfinished_cache_can_be_looked_at_and_checked(xfeat: Xfeat, tmp_path: Path) -> None:
    path = unfinished(tmp_path / "c")
    code, out, _ = xfeat("cache", "info", path)
    assert code == 0
    assert "unfinished" in out
    code, _, err = xfeat("cache", "verify", path)
    assert code == 2
    assert "unfinished" in err
    refused(xfeat("cache", "export", path, "--out", tmp_path / "x.npz"), "is unfinished")


def test_verify_reads_every_byte(xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path) -> None:
    code, out, err = xfeat("cache", "verify", *caches.values())
    assert (code, err) == (0, "")
    assert out.count("60 rows in 2 shards, all as they were written") == 3
    path = blobs("image").write(tmp_path / "c").path
    shard = path / "00001.h5"
    content = bytearray(shard.read_bytes())
    content[content.index(blobs("image").features[40].tobytes())] ^= 1
    shard.write_bytes(content)
    code, out, err = xfeat("cache", "verify", caches["text"], path)
    assert code == 2
    assert out.count("all as they were written") == 1
    assert "00001.h5" in err
    assert "differ from their checksum" in err
    assert err.splitlines()[-1] == "xfeat: 1 of 2 caches are not whole; see the lines above"
    assert len(err.splitlines()) == 2


def test_an_export_comes_back_as_the_same_cache(xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path) -> None:
    code, out, _ = xfeat("cache", "export", caches["text"], "--out", tmp_path / "t.npz")
    assert (code, out) == (0, f"{tmp_path / 't.npz'}: 60 rows\n")
    assert xfeat("import", tmp_path / "t.npz", "-m", "text", "--out", tmp_path / "again")[0] == 0
    same_cache(caches["text"], tmp_path / "again")


def same_cache(one: Path, two: Path) -> None:
    assert verify(two) == []
    before, after = FeatureCache(one), FeatureCache(two)
    np.testing.assert_array_equal(before.load().features, after.load().features)
    assert before.manifest.classes == after.manifest.classes
    assert before.load().pair == after.load().pair
    columns = [(cache.load().ids, cache.load().split, cache.load().camera) for cache in (before, after)]
    assert columns[0] == columns[1]
    np.testing.assert_array_equal(before.load().labels, after.load().labels)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("multi", [False, True])
def test_a_table_comes_back_as_the_same_cache(xfeat: Xfeat, tmp_path: Path, dtype: str, multi: bool) -> None:
    plan = make_plan(dtype=dtype)
    labels = np.random.default_rng(0).integers(0, 2, (50, 3)).astype(np.uint8) if multi else plan.columns.labels
    classes = ["10", "9", "a|b"]  # in no natural order, and one with what separates names in a text cell
    plan = replace(plan, columns=replace(plan.columns, classes=classes, labels=labels))
    path = write_cache(tmp_path / "c", plan).path
    out = tmp_path / "t.parquet"
    assert xfeat("cache", "export", path, "--out", out)[:2] == (0, f"{out}: 50 rows\n")
    assert xfeat("import", out, "-m", "image", "--dtype", dtype, "--out", tmp_path / "again")[0] == 0
    same_cache(path, tmp_path / "again")
    assert FeatureCache(tmp_path / "again").manifest.samples == FeatureCache(path).manifest.samples


def test_a_matrix_with_its_table_comes_back(xfeat: Xfeat, tmp_path: Path) -> None:
    path = write_cache(tmp_path / "c", make_plan()).path
    code, out, _ = xfeat("cache", "export", path, "--out", tmp_path / "t.npy")
    assert (code, out) == (0, f"{tmp_path / 't.npy'} and {tmp_path / 't.rows.csv'}: 50 rows\n")
    columns = {"ids": "id", "split": "split", "labels": "label", "pair": "pair", "camera": "camera"}
    options = [
        word for name, column in columns.items() for word in (f"--{name}", f"{tmp_path / 't.rows.csv'}#{column}")
    ]
    assert xfeat("import", tmp_path / "t.npy", "-m", "image", "--out", tmp_path / "again", *options)[0] == 0
    same_cache(path, tmp_path / "again")


def test_an_export_of_one_split_as_vectors(xfeat: Xfeat, tmp_path: Path) -> None:
    path = write_cache(tmp_path / "c", make_plan()).path
    out = tmp_path / "vectors"
    code, said, _ = xfeat("cache", "export", path, "--out", out, "--format", "faiss", "--split", "val")
    assert (code, said) == (0, f"{out}: 17 rows\n")
    assert np.load(out / "vectors.npy").shape == (17, 6)
    refused(xfeat("cache", "export", path, "--out", out), "must end in .npz, .npy, .parquet or .faiss")
    refused(xfeat("cache", "export", path, "--out", tmp_path, "--format", "faiss"), "holds something else")


def parts(folder: Path, count: int = 3) -> Path:
    """Parts of a cache beside it; the last row of each failed."""
    for number in range(count):
        plan = make_plan(5, shard_rows=4)
        columns = replace(plan.columns, ids=[f"{number}/{name}" for name in plan.columns.ids])
        with CacheWriter(folder / f"c.part-{number}-of-{count}", replace(plan, columns=columns)) as writer:
            writer.write(0, make_features(plan)[:4])
            writer.write(1, make_features(plan)[4:], ["empty file"])
            writer.finish()
    return folder / "c"


def test_merge_joins_the_parts_beside_a_cache(xfeat: Xfeat, tmp_path: Path) -> None:
    out = parts(tmp_path)
    code, said, err = xfeat("cache", "merge", out)
    assert (code, err) == (0, "")
    assert said.splitlines() == [
        "image: 15 rows of 3 caches joined",
        *[f"  from      {out}.part-{number}-of-3" for number in range(3)],
        "  features  15 x 6 float32 (train 6, val 6, test 3)",
        "  rows      12 ok, 3 failed",
        f"  cache     {out}",
        f"Next: xfeat cache verify {out}",
    ]
    assert verify(out) == []
    assert (tmp_path / "c.part-0-of-3").is_dir()
    (tmp_path / "c.part-1-of-3" / "notes.txt").write_text("mine")
    code, said, _ = xfeat("cache", "merge", out, "--remove-parts")
    assert code == 0
    assert "  removed   2 parts\n" in said
    assert f"{out}.part-1-of-3 holds other files too: they are kept" in said
    assert [path.name for path in sorted(tmp_path.rglob("c.part*"))] == ["c.part-1-of-3"]
    assert [path.name for path in (tmp_path / "c.part-1-of-3").iterdir()] == ["notes.txt"]


def test_merge_keeps_the_parts_of_a_whole_that_is_damaged(xfeat: Xfeat, tmp_path: Path) -> None:
    out = parts(tmp_path)
    assert xfeat("cache", "merge", out)[0] == 0
    (out / "00099.h5").touch()  # of another cache, put here by hand
    code, _, err = xfeat("cache", "merge", out, "--remove-parts")
    assert code == 2
    assert "00099.h5: the manifest knows of 4 shards only): the parts are kept" in err
    assert len(list(tmp_path.glob("c.part*"))) == 3


def test_merge_of_named_caches_and_refusals(xfeat: Xfeat, tmp_path: Path) -> None:
    out = parts(tmp_path)
    two = [f"{out}.part-{number}-of-3" for number in (2, 0)]
    code, said, _ = xfeat("cache", "merge", *two, "--out", tmp_path / "two")
    assert code == 0
    assert "image: 10 rows of 2 caches joined" in said
    assert FeatureCache(tmp_path / "two").load().ids[0].startswith("2/")
    refused(xfeat("cache", "merge", *two), "several caches and no --out")
    refused(xfeat("cache", "merge", tmp_path / "none"), "no parts beside")
    refused(xfeat("cache", "merge", two[0], two[0], "--out", tmp_path / "x"), "named twice")
    refused(xfeat("cache", "merge", *two, "--out", two[0]), "is one of the parts")


def test_bad_input_is_one_line(xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path) -> None:
    for command in ("info", "verify"):
        refused(xfeat("cache", command, tmp_path / "no"), "does not exist: not a feature cache")
        refused(xfeat("cache", command, tmp_path), "has no manifest.json")
    refused(xfeat("cache", "export", tmp_path / "no", "--out", tmp_path / "x.npz"), "does not exist")
    refused(xfeat("cache", "export", caches["text"], "--out", tmp_path / "x.csv"), "must end in .npz")
    refused(xfeat("cache", "export", caches["text"], "--out", tmp_path / "no" / "x.npz"), "does not exist")
    (tmp_path / "manifest.json").write_text("{}")
    refused(xfeat("cache", "info", tmp_path), "manifest.json is damaged")


def test_long_names_are_cut_to_80_columns(xfeat: Xfeat, tmp_path: Path) -> None:
    names = tuple(f"a class with quite a long name, number {number}" for number in range(3))
    path = replace(blobs("image"), classes=names, backbone="b" * 200).write(tmp_path / "c").path
    out = xfeat("cache", "info", path)[1]
    assert max(map(len, out.splitlines()[1:])) <= 80


def test_ctrl_c_is_one_line(xfeat: Xfeat, caches: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("xfeat.cache.verify.shard_checksums", interrupt)
    code, _, err = xfeat("cache", "verify", caches["image"])
    assert code == 130
    assert err.startswith("xfeat: interrupted")
    assert err.count("\n") == 1
