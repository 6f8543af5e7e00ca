"""Handwritten digits as image files: the 1,797 8 x 8 scans bundled with scikit-learn.

Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998 (CC BY 4.0).
"""

from pathlib import Path

import numpy as np

from xfeat.samples.demo.rows import Row, deal_splits

SIDE = 32


def write_digits(folder: Path, seed: int, per_class: int | None = None) -> list[Row]:
    """Write digits as 32 x 32 grey PNG files under ``folder/image``, light ink on black.

    Args:
        folder: where the manifest will lie; made if absent.
        seed: deals the digits to train (55 %), val (15 %) and test (30 %), class by class.
        per_class: at most so many of each class; all 1,797 by default.

    Returns:
        One row per file, in the order of the data.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    scans, labels = load_digits(return_X_y=True)
    taken = np.concatenate([np.flatnonzero(labels == digit)[:per_class] for digit in range(10)])
    taken.sort()
    splits = deal_splits(labels[taken], np.random.default_rng([seed, 1]))
    (folder / "image").mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for index, split in zip(taken, splits, strict=True):
        pixels = np.rint(scans[index].reshape(8, 8) * (255 / 16)).astype(np.uint8)
        path = f"image/{index:04d}.png"
        Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / path)
        rows.append(Row(f"image-{index:04d}", split, str(labels[index]), image=path))
    return rows
