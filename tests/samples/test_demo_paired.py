"""The paired demo's promises: a row is a number, no number and no scan is in two splits, the seed decides the bytes."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.samples.test_demo_media import digests, read
from xfeat.backbones.registry import open_backbone
from xfeat.samples import read_manifest
from xfeat.samples.demo import write_paired_demo
from xfeat.samples.demo.numbers import LANGUAGES
from xfeat.samples.demo.tones import tone_frequencies

KINDS = ("image", "text", "audio")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_paired_demo(tmp_path_factory.mktemp("demo"), numbers=60)


def test_the_same_seed_gives_the_same_bytes(demo: Path, tmp_path: Path) -> None:
    write_paired_demo(tmp_path / "again", 0, numbers=60)
    write_paired_demo(tmp_path / "other", 1, numbers=60)
    assert digests(tmp_path / "again") == digests(demo.parent)
    assert digests(tmp_path / "other")["manifest.csv"] != digests(demo.parent)["manifest.csv"]


def test_a_row_is_a_number_and_one_in_ten_lacks_a_modality(demo: Path) -> None:
    rows = read(demo)
    assert demo.read_bytes().split(b"\n")[0] == b"id,split,image,text,audio"
    assert len({row["id"] for row in rows}) == len(rows) == 60
    assert [sum(row["split"] == split for row in rows) for split in ("train", "val", "test")] == [33, 9, 18]
    filled = [sum(bool(row[kind]) for kind in KINDS) for row in rows]
    assert sorted(filled) == [2] * 6 + [3] * 54
    named = {row[kind] for row in rows for kind in ("image", "audio") if row[kind]}
    assert named == digests(demo.parent).keys() - {"manifest.csv"}
    for row in rows:
        number = int(row["id"].removeprefix("number-"))
        assert row["text"] in ("", *(language(number) for language in LANGUAGES))


def test_the_rows_pair_the_modalities(demo: Path) -> None:
    for kind in KINDS:
        samples = read_manifest(demo, kind, kind=kind)  # type: ignore[arg-type]
        assert samples.columns.pair == samples.columns.ids
        assert samples.columns.labels is None


def test_pictures_show_three_digits_and_no_scan_is_in_two_splits(demo: Path) -> None:
    splits: dict[bytes, set[str]] = {}
    for row in read(demo):
        if row["image"]:
            with Image.open(demo.parent / row["image"]) as image:
                assert (image.size, image.mode) == ((96, 32), "L")
                small = np.asarray(image.resize((24, 8), Image.Resampling.BOX))
            for digit in range(3):
                splits.setdefault(small[:, 8 * digit + 1 : 8 * digit + 7].tobytes(), set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())


def test_tones_are_the_keys_in_order(demo: Path) -> None:
    right = heard = 0
    for row in read(demo):
        if not row["audio"]:
            continue
        wave, rate = soundfile.read(demo.parent / row["audio"])
        assert rate == 8000
        assert 0.9 <= len(wave) / rate <= 1.5
        for part, digit in zip(np.array_split(wave, 3), row["id"].removeprefix("number-"), strict=True):
            power = np.abs(np.fft.rfft(part, 8000)) ** 2
            keys = [
                sum(power[int(hz * 0.98) : int(hz * 1.02) + 1].max() for hz in tone_frequencies(k)) for k in range(10)
            ]
            right += int(np.argmax(keys)) == int(digit)
            heard += 1
    assert right / heard > 0.75  # the clips are of unequal length, so a third of the time is not quite a key


@pytest.mark.parametrize(
    ("kind", "spec"), [("image", "filters:hog"), ("text", "filters:hashing"), ("audio", "filters:logmel")]
)
def test_every_digit_and_its_place_can_be_read_from_the_features(kind, spec, readable: Path) -> None:  # type: ignore[no-untyped-def]
    """By one ridge regression to the digits at each place: an order that a filter lost could not be learned."""
    samples, backbone = read_manifest(readable, kind, kind=kind), open_backbone(spec)
    sources = [source if kind == "text" else samples.root / source for source in samples.sources]
    x = backbone.encode([backbone.load(source) for source in sources]).astype(float)
    digits = np.array([[int(digit) for digit in name.removeprefix("number-")] for name in samples.columns.ids])
    test = np.array(samples.columns.split) == "test"
    x -= x[~test].mean(axis=0)
    kernel = x @ x[~test].T
    ridge = 0.02 * np.trace(kernel[~test]) / (~test).sum() * np.eye((~test).sum())
    dual = np.linalg.solve(kernel[~test] + ridge, np.eye(10)[digits[~test]].reshape(-1, 30) - 0.1)
    found = (kernel[test] @ dual).reshape(-1, 3, 10).argmax(axis=2)
    assert (found == digits[test]).mean(axis=0).min() > 0.5  # chance is 0.1


@pytest.fixture(scope="module")
def readable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough numbers to learn from."""
    return write_paired_demo(tmp_path_factory.mktemp("readable"), numbers=400)
