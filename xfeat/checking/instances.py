"""Instances that are torn apart: rows of one pair key in different splits."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from xfeat.checking.report import EXAMPLES, Example, Finding, Place, inflected
from xfeat.checking.rows import USED, Rows


def split_instances(caches: Sequence[Rows]) -> Iterator[Finding]:
    """Pair keys with rows in more than one of train, val and test, of one cache or of several.

    Args:
        caches: read rows; those without pair keys are passed over.
    """
    places: dict[str, int] = {}  # a bit for each split of each cache: there may be millions of keys
    for number, cache in enumerate(caches):
        bits = {split: 1 << len(USED) * number + place for place, split in enumerate(USED)}
        for key, split in zip(cache.pair or (), cache.split.tolist(), strict=False):
            if split in bits:
                places[key] = places.get(key, 0) | bits[split]
    ways_of = {found: _there(found) for found in set(places.values())}
    torn = {found for found, there in ways_of.items() if len({split for _, split in there}) > 1}
    apart = {key: ways_of[found] for key, found in places.items() if found in torn}
    if not apart:
        return
    ways = Counter(
        (one, other) for there in apart.values() for one, other in combinations(there, 2) if one[1] != other[1]
    )
    names = [cache.name for cache in caches]
    lines = [
        f"{names[a]} in {s}, {names[b]} in {t}: {count:,} {'key' if count == 1 else 'keys'}"
        for ((a, s), (b, t)), count in sorted(ways.items(), key=lambda way: (-way[1], way[0]))[:EXAMPLES]
    ]
    if len(ways) > EXAMPLES:
        lines.append(f"and {len(ways) - EXAMPLES:,} other ways")
    yield Finding(
        "split-instances",
        "leak",
        f"{len(apart):,} of {len(places):,} pair keys {inflected('{have}', len(apart))} rows in different splits",
        (
            *lines,
            "What is learnt of an instance is measured with its other rows. Give all rows of a pair key one split.",
        ),
        tuple(_example(caches, key, apart[key]) for key in sorted(apart)[:EXAMPLES]),
        {"keys": len(apart), "of": len(places)},
    )


def _there(bits: int) -> list[tuple[int, str]]:
    """Caches and splits, training rows first."""
    set_bits = [place for place in range(bits.bit_length()) if bits >> place & 1]
    return sorted(
        ((place // len(USED), USED[place % len(USED)]) for place in set_bits),
        key=lambda there: (USED.index(there[1]), there[0]),
    )


def _example(caches: Sequence[Rows], key: str, there: Sequence[tuple[int, str]]) -> Example:
    first = there[0]
    second = next(place for place in there if place[1] != first[1])

    def named(place: tuple[int, str]) -> Place:
        cache, split = caches[place[0]], place[1]
        pair = cache.pair or []
        mine = [row for row in np.flatnonzero(cache.of(split)).tolist() if pair[row] == key]
        return cache.place(min(mine, key=cache.ids.__getitem__))

    return Example(named(first), named(second), word=f"pair {key}")
