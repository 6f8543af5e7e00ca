"""The section of single classes: mean average precision by class and ordered pair of modalities, as a heat map."""

from collections.abc import Mapping
from itertools import groupby
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.report.blocks import Heat, Section
from xfeat.report.pairs import BY_CLASS, PRECISION
from xfeat.report.subject import Subject

ALL = 30  # so many classes are shown at once
LOWEST = 20  # of more classes, so many are
MOST = 200  # in tables, folded ones included
ACROSS = 12  # columns of a table, but a query modality's stay together
ENDS = ("mean", "queries")

Row = tuple[str, list[float | None], list[str]]


def by_class(subject: Subject) -> Section | None:
    """Means over the queries of each class, and over seeds; None under protocols without classes."""
    found = subject.answer.found
    results = subject.answer.results.values()
    if found.protocol not in BY_CLASS:
        return None
    if found.held_out and subject.several:
        note = "every seed held out rows of its own: look at the classes of one run"
        return Section("classes", "Class by class", notes=[note])
    pairs = [name.split("->") for name in next(iter(results)).pairs]
    labels = {name: np.asarray(item.labels) for name, item in found.items.items()}
    count = len(found.classes)
    columns = []
    for query, gallery in pairs:
        seeds = [one.pairs[f"{query}->{gallery}"].by_query[PRECISION].numpy() for one in results]
        columns.append(np.mean([class_means(values, labels[query], count) for values in seeds], axis=0))
    rows = _rows(found.classes, np.stack(columns, axis=1), labels)
    if not rows:
        return None
    lead = [
        f"{PRECISION} over the queries of each class, query modality above, gallery below it; classes with the lowest "
        "mean over pairs come first. The deeper the colour, the higher the number; – stands where no query has a "
        "relevant item."
    ]
    if subject.several:
        lead.append(f"Means over {len(subject.runs)} seeds.")
    if len(rows) <= ALL:
        return Section("classes", "Class by class", lead, _tables(pairs, rows, rows))
    lead.append(f"The {LOWEST} lowest of {len(rows):,} classes are shown at once, the others are folded.")
    more = rows[LOWEST:MOST]
    title = f"The {len(more)} classes that follow"
    title += f", {len(rows) - MOST:,} with the highest means left out" if len(rows) > MOST else ""
    blocks = [*_tables(pairs, rows, rows[:LOWEST]), *_tables(pairs, rows, more, title)]
    return Section("classes", "Class by class", lead, blocks)


def _tables(pairs: list[list[str]], rows: list[Row], some: list[Row], folded: str = "") -> list[Heat]:
    """Some of the rows in one table, or in several where there are many pairs: colours mean the same in all of them.

    Args:
        pairs: query and gallery of each column.
        rows: all of them.
        some: those to show.
        folded: the words under which they are hidden at first; empty where they are not.
    """
    known = [value for _, values, _ in rows for value in values if value is not None]
    low = floor(10 * min(known)) / 10
    high = max(ceil(10 * max(known)) / 10, low + 0.1)
    parts: list[list[int]] = [[]]
    for _, same in groupby(range(len(pairs)), key=lambda column: pairs[column][0]):
        columns = list(same)
        if parts[-1] and len(parts[-1]) + len(columns) > ACROSS:
            parts.append([])
        parts[-1] += columns
    tables = []
    for part in parts:
        groups = [(f"{name} →", len(list(same))) for name, same in groupby(pairs[column][0] for column in part)]
        cells: list[Row] = [(name, [values[column] for column in part], ends) for name, values, ends in some]
        asked = dict.fromkeys(pairs[column][0] for column in part)
        title = f"Queries of {', '.join(asked)}" if len(parts) > 1 else ""
        title = ": ".join(filter(None, (folded, title)))
        names = [pairs[column][1] for column in part]
        tables.append(Heat(groups, names, ENDS, cells, low, high, "class", title, folded=bool(folded)))
    return tables


def class_means(values: NDArray[np.float64], labels: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """Mean of the values of each class, (classes,) float64, NaN of a class without any.

    Args:
        values: (n,) by row, NaN for a row that is in no mean.
        labels: (n,) class of each row, or (n, classes) multi-hot: a row of several classes counts for each of them.
        classes: how many there are.
    """
    rows, own = _held(labels)
    known = ~np.isnan(values[rows])
    counts = np.bincount(own[known], minlength=classes)
    sums = np.bincount(own[known], values[rows][known], classes)
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(classes, np.nan), where=counts > 0)
    return means


def _held(labels: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Every row and class that belong together."""
    if labels.ndim == 2:
        rows, own = np.nonzero(labels)
        return rows, own
    return np.arange(len(labels)), labels


def _rows(classes: list[str], means: NDArray[np.float64], labels: Mapping[str, NDArray[Any]]) -> list[Row]:
    """Of the classes that have a number, the lowest mean first."""
    queries = np.sum([np.bincount(_held(own)[1], minlength=len(classes)) for own in labels.values()], axis=0)
    there = np.flatnonzero(~np.isnan(means).all(axis=1))
    over = {place: float(np.nanmean(means[place])) for place in there.tolist()}
    return [
        (
            classes[place],
            [None if np.isnan(value) else float(value) for value in means[place]],
            [f"{over[place]:.3f}", f"{queries[place]:,}"],
        )
        for place in sorted(over, key=lambda one: (over[one], one))
    ]
