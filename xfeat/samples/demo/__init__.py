"""Demo media from code and bundled data: handwritten digits, number words and telephone tones.

Unpaired (``write_demo``): ten classes in common and no sample. Paired (``write_paired_demo``): whole numbers, each in
all three. See there.
"""

import csv
from pathlib import Path

from xfeat.samples.demo.digits import write_digits
from xfeat.samples.demo.paired import write_paired_demo
from xfeat.samples.demo.rows import Row
from xfeat.samples.demo.tones import write_tones
from xfeat.samples.demo.words import make_words

__all__ = ["Row", "make_words", "write_demo", "write_digits", "write_paired_demo", "write_tones"]


def write_demo(
    folder: Path,
    seed: int = 0,
    *,
    images_per_class: int | None = None,
    texts_per_class: int | None = None,
    tones_per_class: int = 80,
) -> Path:
    """Write the demo's media and its manifest; the same seed and sizes give the same bytes.

    The three modalities share ten classes and no samples: each row of the manifest has one of image, text and audio.
    Files of an earlier demo in the folder are overwritten. The manifest comes last, so a folder that has one is whole.

    Args:
        folder: made if absent.
        seed: everything random comes from it.
        images_per_class: at most so many scans of each digit; all by default.
        texts_per_class: at most so many texts of each digit; all by default.
        tones_per_class: how many key presses of each digit.

    Returns:
        ``folder/manifest.csv``, with the columns id, split, label, image, text, audio; paths relative to it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        *write_digits(folder, seed, images_per_class),
        *make_words(seed, texts_per_class),
        *write_tones(folder, seed, tones_per_class),
    ]
    manifest, draft = folder / "manifest.csv", folder / "manifest.csv.tmp"
    with draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(rows)
    return draft.replace(manifest)
