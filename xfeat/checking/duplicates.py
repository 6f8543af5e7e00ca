"""Rows that are equal in every number or byte, across splits; and equal rows with different labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xfeat.checking.report import EXAMPLES, Example, Finding, Severity, inflected, rows_of_splits, share
from xfeat.checking.rows import TEST, TRAIN, USED, VAL, Keys, Rows

SAME, ALIKE = "duplicates", "equal-features"
USUAL = 0.05  # share of training rows with an equal among them from which on equal rows are usual
_MIX = np.uint64(0x9E3779B97F4A7C15)


def duplicates(caches: Sequence[Rows]) -> Iterator[Finding]:
    """Rows of one split that equal rows of another: the same bytes, or the same features where widths are equal.

    Equal features of files that are known to differ are told apart: a file saved again, or features that see no
    difference. Rows that were found once are not counted again, in their own cache first. Rows of zeros have no equals.

    Args:
        caches: read rows.
    """
    for one in caches:
        others = [other for other in caches if other is not one]
        for splits, against in (((TEST, VAL), TRAIN), ((TEST,), VAL), (_unused(one), TRAIN)):
            if not splits:
                continue
            known = np.zeros(len(one), bool)
            for other in (one, *others):
                for kind, mine, theirs in _comparisons(one, other):
                    match = _match(one, other, (mine, theirs), splits, against)
                    match.rows &= ~known
                    known |= match.rows
                    if match.rows.any():
                        yield _finding(kind, match, splits, against)


def conflicts(caches: Sequence[Rows]) -> Iterator[Finding]:
    """Equal rows of a cache that have different labels, in whatever splits.

    Args:
        caches: read rows.
    """
    for one in caches:
        torn = [
            keys * _torn(keys, one.label_keys).astype(np.uint64)
            for keys in (one.content, one.features)
            if keys is not None
        ]
        rows = np.flatnonzero(np.any(torn, axis=0))
        if not rows.size:
            continue
        examples = []
        for row in sorted(rows.tolist(), key=one.ids.__getitem__)[:EXAMPLES]:
            equal = np.any([(keys == keys[row]) & (keys != 0) for keys in torn], axis=0)
            equal &= (one.label_keys != one.label_keys[row]) & (one.label_keys != 0)
            other = min(np.flatnonzero(equal).tolist(), key=one.ids.__getitem__)
            examples.append(Example(one.place(row), one.place(other)))
        yield Finding(
            "conflicting-labels",
            "warning",
            f"{one.name}: {len(rows):,} rows equal a row with another label",
            (
                "No head can give equal features two answers. Where both classes are right, make the labels "
                "multi-label (cat|indoor); else correct one.",
            ),
            tuple(examples),
            {"rows": len(rows)},
        )


def equal_rows(one: Rows, row: int, other: Rows, place: int) -> bool:
    """Whether two rows are the same bytes or, of caches that are equally wide, the same features."""
    if one.content[row] and one.content[row] == other.content[place]:
        return True
    comparable = one.features is not None and other.features is not None and one.dim == other.dim
    return comparable and bool(one.features[row] and one.features[row] == other.features[place])  # type: ignore[index]


@dataclass
class _Match:
    """Rows of ``one`` that equal a row of ``other``, (n,) bool; of these, those whose equals have another label."""

    one: Rows
    other: Rows
    keys: tuple[Keys, Keys]
    target: NDArray[np.bool_]
    rows: NDArray[np.bool_]
    relabelled: NDArray[np.bool_]


def _comparisons(one: Rows, other: Rows) -> Iterator[tuple[str, Keys, Keys]]:
    yield SAME, one.content, other.content
    if one.dim == other.dim and one.features is not None and other.features is not None:
        files = bool(one.content.any() and other.content.any())
        yield (ALIKE if files else SAME), one.features, other.features


def _match(one: Rows, other: Rows, keys: tuple[Keys, Keys], splits: Sequence[str], against: str) -> _Match:
    mine, theirs = keys
    asked, target = np.isin(one.split, list(splits)), other.of(against)
    known = target & (theirs != 0)
    rows = asked & (mine != 0)
    rows &= np.isin(mine, theirs[known]) if rows.any() and known.any() else False
    if not rows.any():
        return _Match(one, other, keys, target, rows, rows)
    labelled = known & (other.label_keys != 0)
    told = rows & (one.label_keys != 0) & np.isin(mine, theirs[labelled])
    same = np.isin(_joined(mine, one.label_keys), _joined(theirs, other.label_keys)[labelled])
    return _Match(one, other, keys, target, rows, told & ~same)


def _finding(kind: str, match: _Match, splits: Sequence[str], against: str) -> Finding:
    one, other = match.one, match.other
    relabelled = int((match.rows & match.relabelled).sum())
    counts = {name: (int((match.rows & one.of(name)).sum()), int(one.of(name).sum())) for name in splits}
    usual = max(_repeated(match.keys[1][other.of(split)]) for split in (TRAIN, against))
    found = sum(part for part, _ in counts.values())
    severity = _severity(share(found, sum(total for part, total in counts.values() if part)), usual)
    if kind == ALIKE:
        severity = "warning"
    if not set(splits) <= set(USED):
        severity = "note"
    where = "" if one is other else f" of {other.name}"
    what = "equal{s} a" if kind == SAME else "{have} the features of another file, a"
    title = f"{one.name}: {rows_of_splits(counts)} {inflected(what, found)} {against} row{where}"
    lines = [_advice(kind, severity, against, usual)]
    if relabelled and severity != "note":
        lines.append(f"Of them, {relabelled:,} {inflected('{have}', relabelled)} another label there.")
    return Finding(
        kind,
        severity,
        title,
        tuple(lines),
        tuple(_examples(match)),
        {"rows": found, "other_label": relabelled, "usual_share": usual}
        | {name: part for name, (part, _) in counts.items()},
    )


def usual_in(here: float, usual: float) -> bool:
    """Whether equals are as frequent among training rows, so that more of them prove no leak.

    Args:
        here: share of the rows that have an equal in the training split.
        usual: share of training rows that have one among the others.
    """
    return usual >= USUAL and here <= 2 * usual


def usual_words(usual: float) -> str:
    """What to make of rows that are usual."""
    return (
        f"Among training rows {usual:.0%} have such a twin too: these features tell few samples apart, or the "
        "set repeats itself. Look at the examples."
    )


def _severity(here: float, usual: float) -> Severity:
    return "warning" if usual_in(here, usual) else "leak"


def _advice(kind: str, severity: Severity, against: str, usual: float) -> str:
    if severity == "note":
        return "No command reads such splits unless told to."
    if severity == "warning" and usual >= USUAL:
        return usual_words(usual)
    if kind == ALIKE:
        return "A file saved again, or features that see no difference? Look at the examples; keep one copy of each."
    learnt = "is learnt" if against == TRAIN else "chooses the epoch"
    return f"A sample that {learnt} is measured on as well: numbers come out too high. Keep one copy of each."


def _examples(match: _Match) -> Iterator[Example]:
    one, other = match.one, match.other
    mine, theirs = match.keys
    for row in sorted(np.flatnonzero(match.rows).tolist(), key=one.ids.__getitem__)[:EXAMPLES]:
        places = np.flatnonzero((theirs == mine[row]) & match.target).tolist()
        yield Example(one.place(row), other.place(min(places, key=other.ids.__getitem__)))


def _unused(rows: Rows) -> tuple[str, ...]:
    return tuple(name for name in rows.splits() if name not in USED)


def _repeated(keys: Keys) -> float:
    """Share of the rows that have an equal among them."""
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return share(int(((counts[inverse] > 1) & (keys != 0)).sum()), len(keys))


def _joined(keys: Keys, labels: Keys) -> Keys:
    joined: Keys = keys ^ (labels * _MIX)
    return joined


def _torn(keys: Keys, labels: Keys) -> NDArray[np.bool_]:
    """(n,) labelled rows with equals of another label."""
    rows = np.flatnonzero((keys != 0) & (labels != 0))
    torn = np.zeros(len(keys), bool)
    different = np.unique(np.stack([keys[rows], labels[rows]], 1), axis=0)[:, 0]
    names, counts = np.unique(different, return_counts=True)
    torn[rows] = np.isin(keys[rows], names[counts > 1])
    return torn
