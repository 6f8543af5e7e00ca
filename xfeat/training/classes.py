"""Classes are names. Caches meet by them; a modality may lack some."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.samples.labels import class_order

LACKING = -1  # place of a class that a cache does not have, label of a row without a class
_SAME_EVERYWHERE = "class names must be the same everywhere"


class Unsupported(NamedTuple):
    """Classes that one side of a pair never trained on, so that their retrieval rests on no training.

    Attributes:
        query: the modality of the queries.
        gallery: the modality that is searched.
        classes: their names.
    """

    query: str
    gallery: str
    classes: list[str]


def union_of_classes(caches: Sequence[FeatureCache]) -> list[str]:
    """Every class of any of the caches, in ``class_order``.

    The order of the caches plays no part. Two caches need not share a class as long as others link them.

    Args:
        caches: with labels.

    Raises:
        InputError: a cache without labels, or groups of caches that share no class at all.
    """
    for cache in caches:
        if not cache.manifest.classes:
            raise InputError(f"{cache.path} has no labels: its classes are needed (a `label` column in the manifest)")
    _check_linked(caches)
    return class_order(name for cache in caches for name in cache.manifest.classes)


def places(have: Sequence[str], want: Sequence[str]) -> list[int]:
    """Place of each wanted class among those there are, -1 where it is lacking."""
    at = {name: place for place, name in enumerate(have)}
    return [at.get(name, LACKING) for name in want]


def class_columns(have: Sequence[str], want: Sequence[str], where: str) -> list[int]:
    """Place of each wanted class among those a cache has, -1 where it lacks the class.

    Args:
        have: classes of the cache, in its label order.
        want: classes of the run, in the run's order.
        where: the cache, for messages.

    Raises:
        InputError: the cache has none of the wanted classes, or others besides.
    """
    extra = sorted(set(have) - set(want), key=list(have).index)
    if len(extra) == len(have):
        raise InputError(f"{where} has classes {_few(have)}, none of the run's {_few(want)}: {_SAME_EVERYWHERE}")
    if extra:
        twins = similar_names(extra, set(want) - set(have))
        hint = f"is {twins[0][0]!r} the run's {twins[0][1]!r}? {_SAME_EVERYWHERE}; " if twins else ""
        raise InputError(
            f"{where}: the run does not know {_few(extra)}: {hint}`xfeat add-class` makes room in a run for new classes"
        )
    return places(have, want)


def class_indices(labels: NDArray[Any], columns: Sequence[int]) -> NDArray[np.int64]:
    """Labels in the run's order, from those of a cache.

    Args:
        labels: (n,) int64 indices of the cache's classes, -1 for none.
        columns: place of each of the run's classes in the cache, -1 where it lacks the class.

    Returns:
        (n,) int64 indices of the run's classes, -1 for none and for a class that the run does not know.
    """
    known = np.asarray(columns, dtype=np.int64)
    size = max(known.max(initial=LACKING), labels.max(initial=LACKING)) + 1
    target = np.full(size + 1, LACKING, dtype=np.int64)  # the last entry is where -1 looks
    there = np.flatnonzero(known >= 0)
    target[known[there]] = there
    indices: NDArray[np.int64] = target[labels]
    return indices


def multi_hot(labels: NDArray[Any], columns: Sequence[int]) -> NDArray[np.float32]:
    """Labels as zeros and ones in the run's order, from those of a cache.

    Args:
        labels: (n,) int64 indices of the cache's classes, -1 for none, or (n, its classes) uint8 multi-hot.
        columns: place of each of the run's C classes in the cache, -1 where it lacks the class.

    Returns:
        (n, C) float32; a row of zeros where no class is one of the run's.
    """
    hot = np.zeros((len(labels), len(columns)), dtype=np.float32)
    if labels.ndim == 1:
        own = class_indices(labels, columns)
        rows = np.flatnonzero(own >= 0)
        hot[rows, own[rows]] = 1
    else:
        known = np.asarray(columns, dtype=np.int64)
        there = np.flatnonzero(known >= 0)
        hot[:, there] = labels[:, known[there]]
    return hot


def unsupported_pairs(untrained: Mapping[str, Sequence[str]]) -> list[Unsupported]:
    """Ordered pairs of different modalities with the classes that either of the two never trained on.

    Args:
        untrained: classes without training rows, by modality.

    Returns:
        Pairs with at least one such class.
    """
    pairs = []
    for query, lacked in untrained.items():
        for gallery, also in untrained.items():
            classes = class_order([*lacked, *also])
            if query != gallery and classes:
                pairs.append(Unsupported(query, gallery, classes))
    return pairs


def support_lines(untrained: Mapping[str, Sequence[str]], width: int = 80) -> list[str]:
    """What `unsupported_pairs` comes to, in two lines for a terminal; none where every class is trained everywhere."""
    lacking = {name: classes for name, classes in untrained.items() if classes}
    if not lacking:
        return []
    start, end = (
        "  classes without training rows: ",
        "  so retrieval of these classes from or to these modalities is unsupported",
    )
    if len(lacking) == 1:
        ((name, classes),) = lacking.items()
        start = f"  {name} has no training rows of {len(classes):,} class{'es' * (len(classes) != 1)}: "
        end = f"  so retrieval from or to {name} is unsupported for {'them' if len(classes) > 1 else 'it'}"
        return [start + listed(classes, width - len(start)), end]
    # A name takes three characters or more: longer lists need no trying.
    for names in range(min(width // 3, max(map(len, lacking.values()))), -1, -1):
        parts = [f"{name} {_counted_names(some, names)}" for name, some in lacking.items()]
        if len(line := start + "; ".join(parts)) <= width:
            return [line, end]
    return [start + listed(parts, width - len(start), "; "), end]


def listed(words: Sequence[str], room: int, separator: str = ", ") -> str:
    """Words in a line of ``room`` characters, the rest as a count; the first is always shown, cut if it must be."""
    for shown in range(len(words), 0, -1):
        rest = len(words) - shown
        line = separator.join(words[:shown]) + (f"{separator}{rest:,} more" if rest else "")
        if len(line) <= room:
            return line
    tail = f"{separator}{len(words) - 1:,} more" if len(words) > 1 else ""
    return f"{words[0][: max(1, room - len(tail) - 3)]}...{tail}" if words else ""


def similar_names(first: Iterable[str], second: Iterable[str]) -> list[tuple[str, str]]:
    """Names in one collection only that differ from a name in the other only by case or spaces: 'Cat' and 'cat '."""
    first, second = list(first), list(second)
    others = {_folded(name): name for name in class_order(set(second) - set(first))}
    return [(name, others[_folded(name)]) for name in class_order(set(first) - set(second)) if _folded(name) in others]


def similarity_notes(caches: Sequence[FeatureCache]) -> list[str]:
    """One line for every two caches whose class names look like the same names written in two ways."""
    notes = []
    for number, one in enumerate(caches):
        for other in caches[number + 1 :]:
            if twins := similar_names(one.manifest.classes, other.manifest.classes):
                mine, theirs = twins[0]
                more = f" ({len(twins) - 1} more like this)" if len(twins) > 1 else ""
                notes.append(
                    f"class {mine!r} of {one.manifest.modality} and {theirs!r} of {other.manifest.modality} "
                    f"count as two classes{more}"
                )
    return notes


def _check_linked(caches: Sequence[FeatureCache]) -> None:
    if not caches:
        return
    linked, names = [caches[0]], set(caches[0].manifest.classes)
    apart = list(caches[1:])
    while joining := [cache for cache in apart if not names.isdisjoint(cache.manifest.classes)]:
        linked += joining
        names.update(name for cache in joining for name in cache.manifest.classes)
        apart = [cache for cache in apart if cache not in joining]
    if apart:
        here, there = linked[0].manifest.classes, apart[0].manifest.classes
        twins = similar_names(names, there)
        hint = f" (is {twins[0][0]!r} the same as {twins[0][1]!r}?)" if twins else ""
        raise InputError(
            f"{linked[0].path} and {apart[0].path} share no class ({_few(here)}; {_few(there)}): "
            f"{_SAME_EVERYWHERE}{hint}"
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def _counted_names(names: Sequence[str], shown: int) -> str:
    if not shown:
        return f"{len(names):,}"
    more = [f"{len(names) - shown:,} more"] if len(names) > shown else []
    return f"{len(names):,} ({', '.join([*names[:shown], *more])})"


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
