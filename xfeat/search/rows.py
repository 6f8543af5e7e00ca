"""What is known of the rows of a cache beside their features: looked up by id, kept by split and class."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xfeat.backbones.registry import closest
from xfeat.cache import OK, FeatureCache
from xfeat.errors import InputError

FEW = 3
LOOKED_AT = 20_000  # ids that a mistyped one is compared with: all of a large cache would take minutes


@dataclass(frozen=True)
class Item:
    """One row of a cache.

    Attributes:
        modality: of the cache.
        id: of the sample.
        split: for example ``test``.
        label: names of its classes, none or many; None where the cache has no labels.
        pair: its pair key; None where it has none.
    """

    modality: str
    id: str
    split: str
    label: tuple[str, ...] | None = None
    pair: str | None = None


class Rows:
    """The columns of a cache, failed rows included.

    Args:
        cache: read whole, without its features.
    """

    def __init__(self, cache: FeatureCache) -> None:
        self.cache = cache
        self.modality, self.classes = cache.manifest.modality, cache.manifest.classes
        self._block = cache.load(ok_only=False, with_features=False)
        self._ok = np.array([word == OK for word in self._block.status], dtype=bool)
        self._row: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._block)

    def item(self, row: int) -> Item:
        """What is known of a row, counted from 0."""
        block = self._block
        pair = block.pair[row] if block.pair else ""
        return Item(self.modality, block.ids[row], block.split[row], self._label(row), pair or None)

    def row(self, name: str) -> int:
        """The row of an id.

        Raises:
            InputError: no such id (ids like it are named), or a sample that failed and has no features.
        """
        self._row = self._row or {known: row for row, known in enumerate(self._block.ids)}
        row = self._row.get(name)
        if row is None:
            raise InputError(f"{self.cache.path} has no {self.modality} sample {name!r}{self._like(name)}")
        if not self._ok[row]:
            raise InputError(
                f"{self.modality} sample {name!r} of {self.cache.path} has no features ({self._block.status[row]})"
            )
        return row

    def kept(self, splits: Collection[str] = (), classes: Collection[str] = ()) -> NDArray[np.int64]:
        """Numbers of the rows that have features and are of some of these splits and classes, ascending.

        Args:
            splits: empty keeps all.
            classes: names; a row of several classes is kept for one of them; empty keeps all, unlabelled rows too.
        """
        keep = self._ok.copy()
        if splits:
            keep &= np.array([name in splits for name in self._block.split], dtype=bool)
        if classes:
            keep &= self._of(classes)
        return np.flatnonzero(keep)

    def _of(self, classes: Collection[str]) -> NDArray[np.bool_]:
        labels = self._block.labels
        if labels is None:
            return np.zeros(len(self), dtype=bool)
        wanted = np.array([name in classes for name in self.classes], dtype=bool)
        if labels.ndim == 2:
            return np.asarray(labels[:, wanted].any(axis=1))
        return np.asarray(np.append(wanted, False)[labels])  # -1, no label, looks at the last

    def _label(self, row: int) -> tuple[str, ...] | None:
        labels = self._block.labels
        if labels is None:
            return None
        places: Sequence[int] = np.flatnonzero(labels[row]).tolist() if labels.ndim == 2 else [int(labels[row])]
        return tuple(self.classes[place] for place in places if place >= 0)

    def _like(self, name: str) -> str:
        ids = self._block.ids
        inside = [known for known in ids if name in known][:FEW] if len(name) > 1 else []
        return f" (did you mean {' or '.join(inside)}?)" if inside else closest(name, ids[:LOOKED_AT])


def chosen_classes(words: Sequence[str], rows: Sequence[Rows]) -> list[str]:
    """Class names, from words that are one each or several with commas between.

    Raises:
        InputError: a name that no cache has; names like it are given.
    """
    have = dict.fromkeys(name for one in rows for name in one.classes)
    if words and not have:
        raise InputError("classes are asked for, but no cache that is searched has labels: leave --class out")
    names = []
    for word in words:
        names += [word] if word in have else [part.strip() for part in word.split(",")]
    for name in names:
        if name not in have:
            few = ", ".join(list(have)[:5]) + (", ..." if len(have) > 5 else "")
            raise InputError(f"no class {name!r}{closest(name, have)} in what is searched: there is {few}")
    return list(dict.fromkeys(names))


def check_splits(words: Sequence[str], rows: Sequence[Rows]) -> None:
    """Refuse a split that no cache has.

    Raises:
        InputError: says which there are.
    """
    have = dict.fromkeys(name for one in rows for name in one.cache.manifest.counts["split"])
    for word in words:
        if word not in have:
            raise InputError(f"no split {word!r}{closest(word, have)} in what is searched: there is {', '.join(have)}")
