"""Commands run as a user runs them, on tiny files; bad input must give one line and exit code 2."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from xfeat.cache import FeatureCache
from xfeat.cli.extract import default_cache

Run = tuple[int, str, str]


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Six samples with image, text and sound; image 2 is cut off and image 4 is missing."""
    rng = np.random.default_rng(0)
    rows = []
    for row in range(6):
        picture, sound = tmp_path / f"{row}.png", tmp_path / f"{row}.wav"
        if row != 4:
            Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(picture)
        soundfile.write(sound, rng.normal(0, 0.1, 8000), 16000)
        cells = {"id": f"s{row}", "image": picture.name, "text": f"sample number {row}", "sound": sound.name}
        rows.append({**cells, "split": "test" if row == 5 else "train", "label": "odd" if row % 2 else "even"})
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:500])
    return write(tmp_path / "toys.csv", rows)


def bad(result: Run, *words: str) -> None:
    code, _, err = result
    assert code == 2
    assert err.startswith("xfeat: ")
    assert err.count("\n") == 1, err
    for word in words:
        assert word in err, err


def test_a_corrupt_picture_among_good_ones_is_a_row_and_the_run_says_so(xfeat, manifest: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, err = xfeat(
        "extract", manifest, "--modality", "image", "--backbone", "filters:hog", "--out", tmp_path / "c"
    )
    assert (code, err) == (0, "")
    assert "4 of 6 samples ok, 2 failed" in out
    assert "truncated" in out
    assert "(first: s2)" in out
    assert "1 x file not found (first: s4)" in out
    assert "(train 5, test 1)" in out.replace("test 1, train 5", "train 5, test 1")
    assert f"Next: xfeat cache info {tmp_path / 'c'}" in out
    block = FeatureCache(tmp_path / "c").load(ok_only=False)
    assert [word == "ok" for word in block.status] == [True, True, False, True, False, True]
    assert not block.features[[2, 4]].any()
    assert block.features[[0, 1, 3, 5]].any(axis=1).all()


def test_a_mended_picture_is_tried_again(xfeat, manifest: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    words = ("extract", manifest, "--modality", "image", "--backbone", "filters:hog", "--out", tmp_path / "c")
    xfeat(*words)
    Image.new("RGB", (48, 48), "red").save(tmp_path / "2.png")
    assert "nothing to do" in xfeat(*words)[1]
    code, out, _ = xfeat(*words, "--retry-failed")
    assert code == 0
    assert "5 of 6 samples ok, 1 failed" in out
    assert "2 in " in out


def test_on_error_fail_names_the_sample(xfeat, manifest: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    words = ("extract", manifest, "--modality", "image", "--backbone", "filters:hog", "--out", tmp_path / "c")
    bad(xfeat(*words, "--on-error", "fail"), "'s2' (row 2)", "truncated")


@pytest.mark.parametrize(
    ("modality", "backbone", "options"),
    [
        ("text", "filters:hashing", ()),
        ("caption", "filters:hashing", ("--column", "text", "--dtype", "float32")),
        ("sound", "filters:logmel", ("--workers", "1", "--batch-size", "2")),
        ("audio", "filters:logmel", ("--column", "sound", "--root", ".")),
    ],
)
def test_the_kind_follows_from_the_modality_or_the_backbone(  # type: ignore[no-untyped-def]
    xfeat, manifest: Path, monkeypatch: pytest.MonkeyPatch, modality: str, backbone: str, options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(manifest.parent)
    code, out, err = xfeat("extract", "toys.csv", "--modality", modality, "--backbone", backbone, *options)
    assert (code, err) == (0, "")
    assert "6 of 6 samples ok, 0 failed" in out
    cache = FeatureCache(Path("cache") / "toys" / f"{modality}.{backbone.replace(':', '-')}")
    assert cache.manifest.dtype == ("float32" if "float32" in options else "float16")
    assert all(len(line) <= 80 for line in out.splitlines())


@pytest.mark.parametrize(("modality", "backbone"), [("strokes", "filters:strokes"), ("stroke2", "filters:strokes")])
def test_pen_strokes(xfeat, tmp_path: Path, modality: str, backbone: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.txt").write_text("START\n0,0,0\n9,9,20\nBREAK\n")
    (tmp_path / "b.txt").write_text("START\n0,0,0\nnine,9,20\nBREAK\n")
    table = write(tmp_path / "m.csv", [{modality: name} for name in ("a.txt", "b.txt", "c.txt")])
    code, out, _ = xfeat("extract", table, "--modality", modality, "--backbone", backbone, "--out", tmp_path / "c")
    assert code == 0
    assert "1 of 3 samples ok, 2 failed" in out
    assert "line 3 is not x,y or x,y,t: 'nine,9,20' (first: b.txt)" in out
    assert "file not found (first: c.txt)" in out
    bad(xfeat("extract", table, "--modality", modality, "--backbone", "filters:hog"), "reads image, not strokes")
    words = ("extract", table, "--modality", modality, "--backbone", backbone, "--out", tmp_path / "t")
    bad(xfeat(*words, "--tokens"), "gives no token sequences")


def test_text_files(xfeat, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.txt").write_text("some words", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"\xff\xff")
    table = write(tmp_path / "m.csv", [{"text": "a.txt"}, {"text": "b.txt"}])
    words = ("extract", table, "--modality", "text", "--backbone", "filters:hashing", "--text-files")
    code, out, _ = xfeat(*words, "--out", tmp_path / "c")
    assert code == 0
    assert "1 of 2 samples ok, 1 failed" in out
    assert "text file is not UTF-8 (first: b.txt)" in out


def test_nothing_readable_exits_with_two(xfeat, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    table = write(tmp_path / "m.csv", [{"image": "a.png"}, {"image": "b.png"}])
    words = ("extract", table, "--modality", "image", "--backbone", "filters:hog", "--out", tmp_path / "c")
    bad(xfeat(*words), "none of the 2 samples could be read", "file not found", "--root", "--retry-failed")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--backbone", "filters:hgo"), ("did you mean hog?",)),
        (("--backbone", "nothing:hog"), ("no backbone family 'nothing'",)),
        (("--backbone", "hog"), ("family:model",)),
        (("--backbone", "filters:hashing"), ("reads text, not image",)),
        (
            ("--backbone", "filters:hog", "--kind", "picture"),
            ("--kind 'picture'", "image, text, audio, strokes, video"),
        ),
        (("--backbone", "filters:hog", "--dtype", "bfloat16"), ("--dtype 'bfloat16'",)),
        (("--backbone", "filters:hog", "--on-error", "skip"), ("--on-error 'skip'",)),
        (("--backbone", "filters:hog", "--precision", "fp8"), ("--precision 'fp8'", "fp32, fp16, bf16")),
        (("--backbone", "filters:hog", "--device", "gpu"), ("--device 'gpu'", "auto, cpu, cuda or cuda:N")),
        (("--backbone", "filters:hog", "--device", "cuda:-1"), ("--device 'cuda:-1'",)),
        (("--backbone", "filters:hog", "--column", "picture"), ("picture",)),
        (("--backbone", "filters:hog", "--root", "/nonexistent"), ("/nonexistent",)),
    ],
)
def test_bad_options(xfeat, manifest: Path, options: tuple[str, ...], words: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    bad(xfeat("extract", manifest, "--modality", "image", *options), *words)


@pytest.mark.parametrize(("option", "value"), [("--frames", "0"), ("--workers", "-1"), ("--batch-size", "0")])
def test_numbers_out_of_range(xfeat, manifest: Path, option: str, value: str) -> None:  # type: ignore[no-untyped-def]
    code, out, err = xfeat("extract", manifest, "--modality", "image", "--backbone", "filters:hog", option, value)
    assert (code, out) == (2, "")
    assert option in err
    assert "Traceback" not in err


def test_token_sequences(xfeat, manifest: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    words = ("extract", manifest, "--modality", "image", "--backbone", "filters:hog", "--tokens")
    code, out, err = xfeat(*words, "--out", tmp_path / "c")
    assert (code, err) == (0, "")
    found = FeatureCache(tmp_path / "c").manifest
    assert found.token_dim > 0
    assert f"tokens    {found.tokens:,} x {found.token_dim} float16, {found.tokens / 4:.1f} a sample" in out


def test_a_manifest_that_grows(xfeat, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    def rows(*texts: str) -> Path:
        return write(tmp_path / "m.csv", [{"id": f"s{row}", "text": text} for row, text in enumerate(texts) if text])

    words = ("--modality", "text", "--backbone", "filters:hashing", "--out", tmp_path / "c")
    assert "2 in " in xfeat("extract", rows("one", "two"), *words)[1]
    code, out, err = xfeat("extract", rows("one", "", "three", "four", "one"), *words)
    assert (code, err) == (0, "")
    assert "5 of 5 samples ok" in out
    assert "3 in " in out
    assert "2 kept from before" in out
    assert "3 rows are new: the cache grew by them" in out
    assert "1 row is no longer in the manifest: kept" in out
    assert "1 input is equal to another: encoded once" in out
    assert FeatureCache(tmp_path / "c").load().ids == ["s0", "s1", "s2", "s3", "s4"]


def test_files_that_change_are_found_when_asked_for(xfeat, manifest: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    words = ("extract", manifest, "--modality", "image", "--backbone", "filters:hog", "--out", tmp_path / "c")
    xfeat(*words)
    before = FeatureCache(tmp_path / "c").load(ok_only=False).features
    Image.new("RGB", (48, 48), "red").save(tmp_path / "3.png")
    assert "nothing to do" in xfeat(*words)[1]
    assert "1 in " in xfeat(*words, "--recheck")[1]
    after = FeatureCache(tmp_path / "c").load(ok_only=False).features
    assert (before != after).any(axis=1).tolist() == [False, False, False, True, False, False]


def test_recheck_of_files_that_are_all_gone_leaves_the_cache(xfeat, manifest: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    words = ("extract", manifest, "--modality", "image", "--backbone", "filters:hog", "--out", tmp_path / "c")
    xfeat(*words)
    shard = (tmp_path / "c" / "00000.h5").read_bytes()
    (tmp_path / "elsewhere").mkdir()
    bad(xfeat(*words, "--recheck", "--root", tmp_path / "elsewhere"), "any more: check --root")
    assert (tmp_path / "c" / "00000.h5").read_bytes() == shard
    (tmp_path / "3.png").unlink()  # one that is gone is a failed row
    assert "file not found (first: s3)" in xfeat(*words, "--recheck")[1]


def test_a_kind_that_cannot_be_told(xfeat, manifest: Path) -> None:  # type: ignore[no-untyped-def]
    words = ("extract", manifest, "--modality", "sketch", "--backbone", "open_clip:ViT-B-32@laion2b_s34b_b79k")
    bad(xfeat(*words), "--kind image or --kind text")


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("none.csv", None, "none.csv"),
        ("empty.csv", "", "empty.csv"),
        ("header.csv", "id,image\n", "header.csv"),
        ("twice.csv", "id,image\na,1.png\na,2.png\n", "duplicate id 'a'"),
        ("outside.csv", "id,image\na,../1.png\n", "../1.png"),
    ],
)
def test_bad_manifests(xfeat, tmp_path: Path, name: str, content: str | None, word: str) -> None:  # type: ignore[no-untyped-def]
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    words = ("extract", tmp_path / name, "--modality", "image", "--backbone", "filters:hog")
    bad(xfeat(*words, "--out", tmp_path / "c"), word)


def test_a_cache_of_another_fingerprint_shows_the_difference(xfeat, manifest: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    words = ("extract", manifest, "--modality", "image", "--out", tmp_path / "c", "--backbone")
    xfeat(*words, "filters:hog")
    text = ("--kind", "text", "--column", "text")
    bad(xfeat(*words, "filters:hashing", *text), "another fingerprint", "'filters:hog' -> 'filters:hashing'", "--out")


def test_the_list_of_backbones_fits_a_terminal(xfeat) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = xfeat("backbones")
    assert code == 0
    for spec in ("filters:hog", "filters:hashing", "filters:logmel", "filters:strokes", "open_clip:MODEL@TAG"):
        assert spec in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_the_default_place_is_named_by_the_data_the_modality_and_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XFEAT_CACHE", "/caches")
    found = default_cache(Path("/data/birds/manifest.csv"), "image", "open_clip:ViT-B-32@openai")
    assert found == Path("/caches/birds/image.open-clip-vit-b-32-openai")
    assert default_cache(Path("/data/birds.csv"), "text", "filters:hashing").parent == Path("/caches/birds")
