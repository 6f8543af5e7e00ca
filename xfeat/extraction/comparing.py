"""Compares rows of a cache with what their samples give now."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.backbones.runtime import stated_precision
from xfeat.cache import OK, FeatureCache
from xfeat.extraction.decode import Decoded

TOLERANCES = {"float32": 1e-4, "float16": 2e-3}  # of rows computed in float32, by the stored type
AUTOCAST = {"fp16": 1e-2, "bf16": 5e-2}


@dataclass(frozen=True)
class Mismatch:
    """A row that is not what its sample gives now.

    Attributes:
        id: of the sample.
        row: in the cache.
        why: in words.
        distance: of the new features from the stored ones; NaN where one of the two is missing.
    """

    id: str
    row: int
    why: str
    distance: float = float("nan")


def tolerance_of(cache: FeatureCache) -> float:
    """The distance that rows of a cache may have from themselves, encoded again.

    Encoding is not exact: matrix products add in another order in batches of another size or on another device. In
    float32 that moves a row by about 1e-6 of its norm (4e-7 measured on a small ViT, batches of 16 against 3), on a GPU
    up to some 1e-5: 1e-4 is allowed. Rounding to float16 moves a number by 2**-11 of itself at most, and a number near
    the middle of two may round to either, 2**-10 apart: 2e-3 is twice that. Autocast rounds after every layer; what it
    does in all to a row of a 12-layer ViT is 1.5e-3 in fp16 and 1.2e-2 in bf16 (measured), and two ways of computing
    differ by less: 1e-2 and 5e-2. Features of another input are apart by several tenths.
    """
    rounded = AUTOCAST.get(stated_precision(cache.manifest.fingerprint), 0.0)
    return max(TOLERANCES[cache.manifest.dtype], rounded)


class StoredRows:
    """What a cache knows of its rows besides their features."""

    def __init__(self, cache: FeatureCache) -> None:
        self.ids: list[str] = []
        self.status: list[str] = []
        contents: list[NDArray[np.uint8]] = []
        for block in cache.blocks(with_features=False):
            self.ids += block.ids
            self.status += block.status
            contents.append(np.zeros((len(block), 16), np.uint8) if block.content is None else block.content)
        self._contents = np.concatenate(contents)

    def content(self, row: int) -> bytes:
        """The content key of a row; zeros where it is unknown."""
        key: bytes = self._contents[row].tobytes()
        return key


class Judge:
    """Compares rows one by one and keeps what there is to tell; the attributes are those of ``Reencoded``.

    Args:
        stored: the rows as they are stored.
        tolerance: the distance that is allowed.
    """

    def __init__(self, stored: StoredRows, tolerance: float) -> None:
        self._stored, self._tolerance = stored, tolerance
        self.failed = 0
        self.worst, self.worst_id = 0.0, ""
        self.mismatches: list[Mismatch] = []
        self.changed: list[str] = []
        self.readable: list[str] = []

    def __call__(self, row: int, sample: Decoded, new: NDArray[np.float32] | None, old: NDArray[Any]) -> None:
        """Compare a row with its sample, decoded now, and its stored features with the new ones (None: it failed)."""
        name, before = self._stored.ids[row], self._stored.status[row]
        key = self._stored.content(row)
        changed = any(key) and any(sample.content) and sample.content != key
        if changed:
            self.changed.append(name)
        if before != OK:
            if sample.status == OK:
                self.readable.append(name)
            elif _alike(before) != _alike(sample.status):
                self._add(name, row, f"failed with {before!r}, now with {sample.status!r}")
            else:
                self.failed += 1
            return
        if new is None:
            self._add(name, row, f"cannot be read any more: {sample.status}")
            return
        distance = _distance(new, old)
        if not self.worst_id or not distance <= self.worst:
            self.worst, self.worst_id = distance, name
        if changed:
            self._add(name, row, f"its content has changed (features {distance:.2g} away)", distance)
        elif not distance <= self._tolerance:
            self._add(name, row, f"features {distance:.2g} away, {self._tolerance:g} allowed", distance)

    def _add(self, name: str, row: int, why: str, distance: float = float("nan")) -> None:
        self.mismatches.append(Mismatch(name, row, why, distance))


def _distance(new: NDArray[np.float32], old: NDArray[Any]) -> float:
    """``||new - old|| / ||old||`` after rounding to the stored type; of a row of zeros ``||new||``."""
    with np.errstate(over="ignore"):
        rounded = new.astype(old.dtype).astype(np.float64)
    stored = old.astype(np.float64)
    norm = float(np.linalg.norm(stored))
    return float(np.linalg.norm(rounded - stored)) / (norm or 1.0)


def _alike(status: str) -> str:
    return re.sub(r"\d+", "#", status)
