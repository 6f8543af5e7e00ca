"""`xfeat cache verify --sample`, over real images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.asking import refused
from tests.cli.conftest import Xfeat


@pytest.fixture
def made(xfeat: Xfeat, tmp_path: Path) -> tuple[object, ...]:
    """The words of a command that encodes a sample of a cache again."""
    rng = np.random.default_rng(0)
    for row in range(6):
        Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(tmp_path / f"{row}.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    manifest = tmp_path / "m.csv"
    manifest.write_text("image\n" + "\n".join([*(f"{row}.png" for row in range(6)), "bad.png"]) + "\n")
    words = ("--backbone", "filters:hog")
    assert xfeat("extract", manifest, "--modality", "image", *words, "--out", tmp_path / "c", "--workers", 0)[0] == 0
    return ("cache", "verify", tmp_path / "c", "--sample", 10, "--manifest", manifest, *words)


def test_a_cache_that_belongs_to_its_data(xfeat: Xfeat, made: tuple[object, ...], tmp_path: Path) -> None:
    code, out, err = xfeat(*made)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{tmp_path / 'c'}: 7 rows in 1 shard, all as they were written",
        f"{tmp_path / 'c'}: 7 rows encoded again (seed 0): all as stored",
        "  distance  0 at most (0.png), 0.002 allowed",
        "  failed    1 row failed as before",
    ]


def test_changed_files_are_told(xfeat: Xfeat, made: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes((tmp_path / "2.png").read_bytes())
    (tmp_path / "bad.png").write_bytes((tmp_path / "2.png").read_bytes())
    (tmp_path / "3.png").unlink()
    code, out, err = xfeat(*made)
    assert code == 2
    assert "7 rows encoded again (seed 0): 2 not as stored" in out
    assert "  note      1 failed row can be read now (first: bad.png):\n" in out
    lines = err.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'c'}: '1.png' (row 1): its content has changed")
    assert lines[1] == f"{tmp_path / 'c'}: '3.png' (row 3): cannot be read any more: file not found"
    assert lines[2] == "xfeat: 1 of 1 caches are not whole, or do not belong to the data; see the lines above"
    assert max(map(len, out.splitlines()[2:])) <= 80


def test_what_the_manifest_and_the_cache_do_not_share(xfeat: Xfeat, made: tuple[object, ...], tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "new.png")
    (tmp_path / "m.csv").write_text("image\n0.png\n1.png\nnew.png\n")
    code, out, _ = xfeat(*made)
    assert code == 0
    assert "2 rows encoded again" in out
    assert "  note      5 rows of the cache not in the manifest: not tried\n" in out
    assert "  note      1 sample of the manifest not in the cache: extract it\n" in out


def test_refusals(xfeat: Xfeat, made: tuple[object, ...], tmp_path: Path) -> None:
    cache = tmp_path / "c"
    refused(xfeat("cache", "verify", cache, "--sample", 3), "--sample needs --manifest and --backbone")
    refused(xfeat("cache", "verify", cache, "--manifest", tmp_path / "m.csv"), "--manifest is for --sample K")
    code, _, err = xfeat(*made[:-1], "filters:hashing", "--kind", "text")
    assert code == 2
    assert "another fingerprint" in err
    assert xfeat("cache", "export", cache, "--out", tmp_path / "c.npz")[0] == 0
    assert xfeat("import", tmp_path / "c.npz", "-m", "image", "--out", tmp_path / "i")[0] == 0
    imported = list(made)
    imported[2] = tmp_path / "i"
    code, _, err = xfeat(*imported)
    assert code == 2
    assert err == f"xfeat: {tmp_path / 'i'} was imported, not extracted: there is nothing to encode again\n"
