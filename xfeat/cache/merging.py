"""Columns of a manifest and of stored shards, made into one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.columns import Columns
from xfeat.cache.manifest import label_kind
from xfeat.cache.stored import Stored, encoded
from xfeat.errors import InputError

OPTIONAL = ("pair", "camera")


class Merging:
    """Takes stored shards one after another; rows that the manifest names have its columns, others keep theirs.

    Args:
        path: the cache, for errors.
        columns: the samples as the manifest names them.
        sources: (n,) their source keys.
        rows: (N,) for each row of the cache its row in the manifest, -1 for none.

    Attributes:
        sources: (N,) the source keys.
        changed: stored rows with another split, label, pair or camera than the manifest's.
        moved: stored rows with another source.
    """

    def __init__(self, path: Path, columns: Columns, sources: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        self._path, self._new, self._rows = path, columns, rows
        picked = rows.tolist()
        # A row of -1 has the manifest's last sample until `add` brings its own.
        self._texts = {name: [texts[row] for row in picked] for name, texts in _texts_of(columns).items()}
        self.sources = sources[rows]
        self._class_of = {name: number for number, name in enumerate(columns.classes)}
        self._kept: list[tuple[NDArray[np.int64], NDArray[Any]]] = []  # places and labels of rows no longer named
        self.changed = self.moved = 0

    def add(self, start: int, stored: Stored, order: Sequence[str]) -> None:
        """Take one shard.

        Args:
            start: its first row.
            stored: its columns.
            order: the classes its labels count in.

        Raises:
            InputError: it holds samples that are no longer named, and columns of another kind than the manifest.
        """
        span = slice(start, start + len(stored))
        rows = self._rows[span]
        labels = self._in_all_classes(stored.columns.get("labels"), order)
        changed = self._other_labels(labels, rows)
        for name in ("split", *OPTIONAL):
            old, new = stored.columns.get(name), self._texts.get(name)
            changed |= (old is None) != (new is None) if old is None or new is None else old != encoded(new[span])
        self.changed += int(((rows >= 0) & changed).sum())
        self.moved += int(((rows >= 0) & (stored.source != self.sources[span])).sum())
        gone = np.flatnonzero(rows < 0)
        if gone.size:
            self._check_kind(stored, gone)
            self._keep(start, stored, labels, gone)

    def columns(self) -> Columns:
        """All N samples."""
        classes, labels = self._labels()
        texts = self._texts
        return Columns(texts["ids"], texts["split"], classes, labels, texts.get("pair"), texts.get("camera"))

    def _check_kind(self, stored: Stored, gone: NDArray[np.int64]) -> None:
        new = _texts_of(self._new)
        other = [name for name in OPTIONAL if (name in stored.columns) != (name in new)]
        if label_kind(stored.columns.get("labels")) != label_kind(self._new.labels):
            other.append("labels")
        if other:
            name = stored.columns["ids"][gone[0]].decode()
            raise InputError(
                f"{self._path} holds samples that the manifest no longer names ({name!r} is one), and {other[0]} of "
                "another kind (single, multi-hot, or none): name those samples again, or choose a new --out"
            )

    def _keep(self, start: int, stored: Stored, labels: NDArray[Any] | None, gone: NDArray[np.int64]) -> None:
        places = gone + start
        for name, texts in self._texts.items():
            for place, text in zip(places.tolist(), stored.columns[name][gone].tolist(), strict=True):
                texts[place] = text.decode()
        self.sources[places] = stored.source[gone]
        if labels is not None:
            self._kept.append((places, labels[gone]))

    def _other_labels(self, old: NDArray[Any] | None, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        new = self._new.labels
        if old is None or new is None or old.ndim != new.ndim:
            return np.full(len(rows), old is not new)
        found: NDArray[np.bool_] = new[rows] != old if old.ndim == 1 else (_widened(new[rows], old) != old).any(axis=1)
        return found

    def _in_all_classes(self, labels: NDArray[Any] | None, order: Sequence[str]) -> NDArray[Any] | None:
        """Stored labels in the manifest's classes, and behind them all others that are stored."""
        if labels is None:
            return None
        for name in order:
            self._class_of.setdefault(name, len(self._class_of))
        numbers: NDArray[np.int64] = np.array([*(self._class_of[name] for name in order), -1], np.int64)
        if labels.ndim == 1:
            single: NDArray[np.int64] = numbers[labels]
            return single
        wide = np.zeros((len(labels), len(self._class_of)), np.uint8)
        wide[:, numbers[:-1]] = labels
        return wide

    def _labels(self) -> tuple[list[str], NDArray[Any] | None]:
        classes, new = list(self._new.classes), self._new.labels
        if new is None:
            return classes, None
        # Of the classes that the manifest does not name, those that a row still has: one that was renamed is gone.
        own, names = len(classes), list(self._class_of)
        used = {number for _, old in self._kept for number in _numbers(old) if number >= own}
        kept = [*range(own), *sorted(used)]
        labels: NDArray[Any] = new[self._rows]
        if labels.ndim == 2:
            labels = np.pad(labels, ((0, 0), (0, len(used))))
        numbers = np.full(len(names) + 1, -1, np.int64)
        numbers[kept] = np.arange(len(kept))
        for places, old in self._kept:
            if labels.ndim == 1:
                labels[places] = numbers[old]
            else:
                labels[places] = np.pad(old, ((0, 0), (0, len(names) - old.shape[1])))[:, kept]
        return [names[number] for number in kept], labels


def _texts_of(columns: Columns) -> dict[str, Sequence[str]]:
    texts = {name: getattr(columns, name) for name in ("ids", "split", "pair", "camera")}
    return {name: strings for name, strings in texts.items() if strings is not None}


def _widened(labels: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    return np.pad(labels, ((0, 0), (0, other.shape[1] - labels.shape[1])))


def _numbers(labels: NDArray[Any]) -> list[int]:
    found: list[int] = (np.unique(labels) if labels.ndim == 1 else np.flatnonzero(labels.any(axis=0))).tolist()
    return found
