"""The demo's promises: the same seed gives the same bytes, no sample is in two splits, each row has one modality."""

import csv
import hashlib
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from xfeat.samples.demo import make_words, write_demo
from xfeat.samples.demo.languages import NUMBER_WORDS
from xfeat.samples.demo.rows import deal_splits
from xfeat.samples.demo.tones import make_tone, tone_frequencies
from xfeat.samples.demo.words import PHRASES, fold

SMALL = {"images_per_class": 6, "texts_per_class": 8, "tones_per_class": 6}
DIGITS = [str(digit) for digit in range(10)]


def read(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_demo(tmp_path / name, seed, **SMALL)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert digests(tmp_path / "a")["manifest.csv"] != digests(tmp_path / "c")["manifest.csv"]


def test_manifest_is_unpaired_and_its_files_exist(tmp_path: Path) -> None:
    manifest = write_demo(tmp_path / "demo", **SMALL)
    rows = read(manifest)
    assert manifest == tmp_path / "demo" / "manifest.csv"
    assert manifest.read_bytes().split(b"\n")[0] == b"id,split,label,image,text,audio"
    assert len({row["id"] for row in rows}) == len(rows) == 10 * (6 + 8 + 6)
    for row in rows:
        assert sum(bool(row[kind]) for kind in ("image", "text", "audio")) == 1
        assert row["split"] in ("train", "val", "test")
    named = {row[kind] for row in rows for kind in ("image", "audio") if row[kind]}
    assert named == digests(tmp_path / "demo").keys() - {"manifest.csv"}
    with Image.open(tmp_path / "demo" / min(named - {n for n in named if n.endswith("wav")})) as image:
        assert (image.size, image.mode) == ((32, 32), "L")
    sound = soundfile.info(tmp_path / "demo" / min(named))
    assert (sound.samplerate, sound.channels, sound.subtype) == (8000, 1, "PCM_16")
    assert 0.3 <= sound.duration <= 0.5


def test_an_earlier_demo_is_replaced(tmp_path: Path) -> None:
    write_demo(tmp_path / "a", 1, **SMALL)
    write_demo(tmp_path / "a", 0, **SMALL)
    assert read(tmp_path / "a" / "manifest.csv") == read(write_demo(tmp_path / "b", 0, **SMALL))


def test_no_image_is_in_two_splits(tmp_path: Path) -> None:
    manifest = write_demo(tmp_path, images_per_class=None, texts_per_class=1, tones_per_class=2)
    splits = defaultdict(set)
    images = [row for row in read(manifest) if row["image"]]
    for row in images:
        splits[(tmp_path / row["image"]).read_bytes()].add(row["split"])
    assert len(images) == 1797
    assert all(len(found) == 1 for found in splits.values())


@pytest.mark.parametrize("seed", [0, 7])
def test_no_text_is_in_two_splits_or_classes(seed: int) -> None:
    rows = make_words(seed)
    folded = [fold(row.text) for row in rows]
    assert len(set(folded)) == len(rows)
    assert 1000 < len(rows) < 1600
    for split in ("train", "val", "test"):
        counts = Counter(row.label for row in rows if row.split == split)
        assert sorted(counts) == DIGITS
        assert min(counts.values()) >= 6


def test_phrases_of_test_are_unseen() -> None:
    rows = make_words(0)
    for split, phrases in PHRASES.items():
        pattern = re.compile("|".join(phrase.replace(".", "[.]").replace("{}", ".+") for phrase in phrases))
        found = {row.split for row in rows if pattern.fullmatch(row.text.casefold())}
        assert found == {split}


def test_words_have_ten_digits_in_many_languages() -> None:
    assert len(NUMBER_WORDS) >= 40
    for language, words in NUMBER_WORDS.items():
        assert len(words) == 10, language
        assert len({fold(word) for word in words}) == 10, language


def test_a_word_of_two_meanings_keeps_its_first() -> None:
    meanings = defaultdict(set)
    for row in make_words(0):
        meanings[fold(row.text)].add(row.label)
    assert meanings["ni"] == {"9"}
    assert meanings["set"] == {"7"}


@pytest.mark.parametrize("digit", range(10))
def test_tones_carry_their_two_frequencies(digit: int) -> None:
    rng = np.random.default_rng(digit)
    power = np.zeros(2001)
    for _ in range(20):  # noise averages out, the tones stay
        wave = make_tone(digit, rng)
        assert 0 < np.abs(wave).max() <= 0.9
        power += np.abs(np.fft.rfft(wave / wave.std(), 4000)) ** 2
    hz = np.fft.rfftfreq(4000, 1 / 8000)
    for expected, low, high in zip(tone_frequencies(digit), (600, 1100), (1050, 1600), strict=True):
        band = (hz >= low) & (hz <= high)
        assert abs(hz[band][power[band].argmax()] - expected) <= 0.016 * expected + 2


def test_keypad_is_the_standard_one() -> None:
    assert tone_frequencies(1) == (697, 1209)
    assert tone_frequencies(6) == (770, 1477)
    assert tone_frequencies(8) == (852, 1336)
    assert tone_frequencies(0) == (941, 1336)
    assert len({tone_frequencies(digit) for digit in range(10)}) == 10


def test_splits_keep_their_shares_in_each_class() -> None:
    labels = np.repeat(np.arange(3), 100)
    splits = deal_splits(labels, np.random.default_rng(0))
    for label in range(3):
        counts = Counter(split for split, own in zip(splits, labels, strict=True) if own == label)
        assert counts == {"train": 55, "val": 15, "test": 30}
