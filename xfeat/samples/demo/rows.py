"""What the makers of demo media share: a manifest row and how samples are dealt to splits."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SHARES = {"train": 0.55, "val": 0.15, "test": 0.30}


class Row(NamedTuple):
    """One sample of one modality, in the order of the manifest's columns; the other modalities are empty.

    Attributes:
        id: unique in the manifest.
        split: ``train``, ``val`` or ``test``.
        label: the digit, ``0`` to ``9``.
        image: POSIX path relative to the manifest.
        text: the text itself.
        audio: POSIX path relative to the manifest.
    """

    id: str
    split: str
    label: str
    image: str = ""
    text: str = ""
    audio: str = ""


def deal_splits(labels: NDArray[np.int64], rng: np.random.Generator) -> list[str]:
    """Deal samples to splits at random, class by class, at the shares of ``SHARES`` (rounded; the rest is test)."""
    splits = np.empty(len(labels), dtype=object)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        train = round(len(members) * SHARES["train"])
        val = train + round(len(members) * SHARES["val"])
        splits[members[:train]], splits[members[train:val]], splits[members[val:]] = "train", "val", "test"
    return [str(split) for split in splits]
