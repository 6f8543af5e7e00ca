"""Which rows of which caches are one instance: they share a pair key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xfeat.cache import Block, FeatureCache
from xfeat.errors import InputError
from xfeat.evaluation.domain import chosen_classes, rows_of_classes


@dataclass(frozen=True)
class Members:
    """The rows of one modality by instance.

    Attributes:
        rows: (r,) int64 rows of the modality's block, instance by instance.
        starts: (n + 1,) int64; instance i has rows[starts[i]:starts[i + 1]], perhaps none, perhaps several.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """(n,) rows of each instance."""
        return np.diff(self.starts)


@dataclass(frozen=True)
class Pairing:
    """The instances of one split, each in two modalities or more.

    Attributes:
        keys: (n,) their keys, ascending.
        members: by modality.
        alone: rows left out because no other modality has their key, by modality.
        outside: rows left out because of their class, by modality.
    """

    keys: list[str]
    members: Mapping[str, Members]
    alone: Mapping[str, int]
    outside: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.keys)


def find_classes(caches: Sequence[FeatureCache], patterns: Sequence[str]) -> list[str]:
    """The class names that are meant, in the caches' order.

    Args:
        caches: one with labels, at least.
        patterns: names, or shell patterns (``Latin/*``).

    Raises:
        InputError: no cache has labels, or a pattern that fits no class.
    """
    known = list(dict.fromkeys(name for cache in caches for name in cache.manifest.classes))
    if not known:
        raise InputError(f"classes={list(patterns)} is set, but no cache has labels: add a `label` column")
    return chosen_classes(list(patterns), known, [])


def pair_rows(caches: Sequence[FeatureCache], blocks: Mapping[str, Block], classes: Sequence[str] = ()) -> Pairing:
    """Join the rows of several modalities by their pair keys; many-to-many.

    Args:
        caches: one per modality.
        blocks: their rows.
        classes: names of the classes that count; where given, an instance with a row of another class is left out.

    Raises:
        InputError: a cache without a pair column, or no key that two modalities share.
    """
    for cache in caches:
        if blocks[cache.manifest.modality].pair is None:
            raise InputError(
                f"{cache.path} has no pair keys: this method needs them (a `pair` column in the manifest, "
                "`--pair` of `xfeat import`)"
            )
    names = [cache.manifest.modality for cache in caches]
    shut = _outside(caches, blocks, classes) if classes else set()
    owners: dict[str, set[str]] = {}
    for name in names:
        for key in set(blocks[name].pair or ()) - shut - {""}:  # an empty key ties nothing
            owners.setdefault(key, set()).add(name)
    keys = sorted(key for key, who in owners.items() if len(who) > 1)
    if not keys:
        examples = ", ".join(f"{name} {(blocks[name].pair or ['none'])[0]!r}" for name in names[:3])
        where = " in the chosen classes" if classes else ""
        raise InputError(f"no pair key is in two modalities{where} (first keys: {examples}): nothing to train on")
    place = {key: number for number, key in enumerate(keys)}
    members, alone, outside = {}, {}, {}
    for name in names:
        own = blocks[name].pair or []
        at = np.array([place.get(key, -1) for key in own], dtype=np.int64)
        order = np.argsort(at, kind="stable")[int((at < 0).sum()) :]
        starts = np.searchsorted(at[order], np.arange(len(keys) + 1)).astype(np.int64)
        members[name] = Members(order.astype(np.int64), starts)
        outside[name] = sum(key in shut for key in own)
        alone[name] = int((at < 0).sum()) - outside[name]
    return Pairing(keys, members, alone, outside)


def _outside(caches: Sequence[FeatureCache], blocks: Mapping[str, Block], classes: Sequence[str]) -> set[str]:
    """Keys of instances with a row of a class that does not count, or in no class at all."""
    names = {cache.manifest.modality: cache.manifest.classes for cache in caches}
    kept = rows_of_classes(blocks, names, classes, by_instance=True)
    return {
        key
        for name, block in blocks.items()
        for key, inside in zip(block.pair or (), kept[name].tolist(), strict=True)
        if not inside and key
    }
