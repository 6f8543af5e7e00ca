"""Classes: how many training rows each has, and which have none."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from xfeat.checking.report import Finding, Overview, inflected
from xfeat.checking.rows import TEST, TRAIN, Rows

UNEVEN = 10  # times as many rows in the largest class as in the smallest
_NAMED = 5


def class_counts(rows: Rows, split: str) -> NDArray[np.int64]:
    """(C,) rows of a split by class; a row of several classes counts for each."""
    if rows.labels is None:
        return np.zeros(len(rows.classes), np.int64)
    labels = rows.labels[rows.of(split)]
    if labels.ndim == 1:
        return np.bincount(labels[labels >= 0], minlength=len(rows.classes)).astype(np.int64)
    counts: NDArray[np.int64] = labels.sum(axis=0, dtype=np.int64)
    return counts


def overview(rows: Rows) -> Overview:
    """A cache in numbers."""
    counts = class_counts(rows, TRAIN)
    there = counts[counts > 0]
    return Overview(
        rows.name,
        rows.dim,
        rows.splits(),
        len(there),
        int(there.min()) if len(there) else 0,
        int(there.max(initial=0)),
        int((rows.label_keys == 0).sum()),
        rows.failed,
    )


def class_findings(caches: Sequence[Rows]) -> Iterator[Finding]:
    """Classes without training rows, with one, or with far fewer than others; rows without labels.

    Args:
        caches: read rows; of those without any labels nothing is said.
    """
    labelled = [cache for cache in caches if cache.labels is not None]
    tested = {name for one in labelled for name in _named(one, class_counts(one, TEST) > 0)}
    for one in labelled:
        counts = class_counts(one, TRAIN)
        trained = set(_named(one, counts > 0))
        if one.of(TRAIN).any():
            yield from _untrained(one, _named(one, class_counts(one, TEST) > 0), trained)
            yield from _elsewhere(one, sorted(tested), trained)
        yield from _sizes(one, counts)
        yield from _unlabelled(one)


def _untrained(one: Rows, tested: Sequence[str], trained: set[str]) -> Iterator[Finding]:
    lacking = [name for name in tested if name not in trained]
    if lacking:
        have = inflected("{have}", len(lacking))
        yield Finding(
            "untrained-classes",
            "warning",
            f"{one.name}: {_classes(len(lacking))} of test {have} no training row: {_few(lacking)}",
            ("Retrieval of what was never learnt. Meant so for unseen classes; else split by class.",),
            counts={"classes": len(lacking)},
        )


def _elsewhere(one: Rows, tested: Sequence[str], trained: set[str]) -> Iterator[Finding]:
    own = set(_named(one, class_counts(one, TEST) > 0))
    lacking = [name for name in tested if name not in trained and name not in own]
    if lacking:
        yield Finding(
            "missing-classes",
            "note",
            f"{one.name}: no row of {_classes(len(lacking))} that other caches are tested on: {_few(lacking)}",
            (f"Retrieval of these from or to {one.name} rests on no training.",),
            counts={"classes": len(lacking)},
        )


def _sizes(one: Rows, counts: NDArray[np.int64]) -> Iterator[Finding]:
    single = _named(one, counts == 1)
    if single:
        yield Finding(
            "single-rows",
            "note",
            f"{one.name}: {_classes(len(single))} {inflected('{have}', len(single))} one training row: {_few(single)}",
            ("Nothing of such a class can be held out to choose the epoch by.",),
            counts={"classes": len(single)},
        )
    there = np.flatnonzero(counts > 0)
    if not there.size:
        return
    least, most = there[counts[there].argmin()], there[counts[there].argmax()]
    ratio = counts[most] / counts[least]
    if ratio >= UNEVEN:
        small, large = (f"{one.classes[place]} {counts[place]:,}" for place in (least, most))
        yield Finding(
            "imbalance",
            "note",
            f"{one.name}: training rows by class from {small} to {large}, 1 to {ratio:.0f}",
            ("Large classes decide the loss; for drcl --set class_weight=balanced counts every class the same.",),
            counts={"least": int(counts[least]), "most": int(counts[most]), "ratio": float(ratio)},
        )


def _unlabelled(one: Rows) -> Iterator[Finding]:
    bare = one.label_keys == 0
    if not bare.any():
        return
    parts = [f"{int((bare & one.of(name)).sum()):,} of {total:,} {name}" for name, total in one.splits().items()]
    parts = [part for part in parts if not part.startswith("0 ")]
    yield Finding(
        "unlabelled",
        "note",
        f"{one.name}: {', '.join(parts)} rows {inflected('{have}', int(bare.sum()))} no label",
        ("They are left out wherever labels are used.",),
        counts={"rows": int(bare.sum())},
    )


def _named(rows: Rows, wanted: NDArray[np.bool_]) -> list[str]:
    return [rows.classes[place] for place in np.flatnonzero(wanted)]


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _classes(count: int) -> str:
    return f"{count:,} class{'es' * (count != 1)}"
