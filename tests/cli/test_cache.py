import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.cache.building import make_plan, make_tokens, write_cache
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
    assert verify(tmp_path / "again") == []
    before, after = FeatureCache(caches["text"]), FeatureCache(tmp_path / "again")
    one, two = before.load(), after.load()
    np.testing.assert_array_equal(one.features, two.features)
    np.testing.assert_array_equal(one.labels, two.labels)
    assert (one.ids, one.split, before.manifest.classes) == (two.ids, two.split, after.manifest.classes)


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
