"""Paired demo media: each of the numbers 100 to 999 as a picture, as keypad tones and in words."""

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfeat.samples.demo.digits import SIDE
from xfeat.samples.demo.numbers import LANGUAGES
from xfeat.samples.demo.rows import Row, deal_splits
from xfeat.samples.demo.tones import RATE, make_tone

COLUMNS = ("id", "split", "image", "text", "audio")
MODALITIES = COLUMNS[2:]
LACKING = 0.1
SNR_DB = (0.0, 20.0)

Scans = dict[int, NDArray[np.uint8]]


def write_paired_demo(folder: Path, seed: int = 0, *, numbers: int = 900) -> Path:
    """Write the paired demo's media and its manifest; the same seed and size give the same bytes.

    A row is a number of three digits, and a number is in one row only, so those of the test split were never seen.
    Its picture puts scans of handwritten digits side by side, its sound is the keys pressed in turn, its text the
    number in words, in one of four languages. No scan is in two splits. One row in ten lacks one modality, whose cell
    is empty. There are no labels. Files of an earlier demo in the folder are overwritten; the manifest comes last.

    Args:
        folder: made if absent.
        seed: everything random comes from it.
        numbers: how many of the 900.

    Returns:
        ``folder/manifest.csv``, with the columns id, split, image, text, audio; paths relative to it.
    """
    for kind in ("image", "audio"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 4])
    chosen = rng.permutation(np.arange(100, 1000))[:numbers]
    splits = deal_splits(np.zeros(len(chosen), np.int64), rng)
    scans = _scans(rng)
    lacking = rng.permutation(np.arange(len(chosen)) < round(LACKING * len(chosen)))
    rows = []
    for number, split, lacks in zip(chosen.tolist(), splits, lacking, strict=True):
        left_out = str(rng.choice(MODALITIES)) if lacks else ""
        cells = {name: make(folder, number, scans[split], rng) for name, make in _MAKERS.items() if name != left_out}
        rows.append(Row(f"number-{number}", split, "", **cells))
    manifest, draft = folder / "manifest.csv", folder / "manifest.csv.tmp"
    with draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([getattr(row, column) for column in COLUMNS] for row in rows)
    return draft.replace(manifest)


def _picture(folder: Path, number: int, scans: Scans, rng: np.random.Generator) -> str:
    from PIL import Image

    digits = [int(digit) for digit in str(number)]
    strip = np.concatenate([scans[digit][rng.integers(len(scans[digit]))] for digit in digits], axis=1)
    path, size = f"image/{number}.png", (SIDE * len(digits), SIDE)
    Image.fromarray(strip).resize(size, Image.Resampling.BICUBIC).save(folder / path)
    return path


def _words(_folder: Path, number: int, _scans: Scans, rng: np.random.Generator) -> str:
    return LANGUAGES[rng.integers(len(LANGUAGES))](number)


def _tones(folder: Path, number: int, _scans: Scans, rng: np.random.Generator) -> str:
    import soundfile

    wave = np.concatenate([make_tone(int(digit), rng, SNR_DB) for digit in str(number)])
    path, wav = f"audio/{number}.wav", io.BytesIO()
    soundfile.write(wav, wave, RATE, format="WAV", subtype="PCM_16")
    (folder / path).write_bytes(wav.getvalue())
    return path


_MAKERS = {"image": _picture, "text": _words, "audio": _tones}


def _scans(rng: np.random.Generator) -> dict[str, Scans]:
    """The 8 x 8 scans of each split by digit, (n, 8, 8) uint8."""
    from sklearn.datasets import load_digits

    scans, labels = load_digits(return_X_y=True)
    pixels = np.rint(scans.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    split = np.array(deal_splits(labels, rng))
    return {
        name: {digit: pixels[(split == name) & (labels == digit)] for digit in range(10)}
        for name in ("train", "val", "test")
    }
