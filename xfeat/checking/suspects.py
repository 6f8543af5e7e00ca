"""Training rows whose neighbours agree on another class."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from xfeat.checking.report import EXAMPLES, CheckSettings, Example, Finding, inflected
from xfeat.checking.rows import Rows
from xfeat.evaluation.top import top_items

_ROWS_AT_ONCE = 1024


def label_suspects(rows: Rows, settings: CheckSettings) -> Iterator[Finding]:
    """Training rows that none of their K nearest training rows shares a class with, while most of these agree on one.

    The rule of Wilson, "Asymptotic Properties of Nearest Neighbor Rules Using Edited Data", IEEE Trans. SMC 1972,
    which drops what its neighbours outvote, at a stricter vote: nothing is dropped here. Features are standardised, so
    that no dimension decides for its scale. A class of K rows or fewer could not fill a neighbourhood, so its rows are
    not doubted.

    Args:
        rows: a cache with a sample of its training rows.
        settings: K and the vote.
    """
    k, agreeing = settings.neighbours, settings.agreeing
    voters = _voters(rows, k, agreeing)
    if voters is None or len(voters.places) <= k or not len(rows.train.features):
        return
    vectors, places = rows.train.features[voters.places], rows.train.rows[voters.places]
    found = doubtful(standardised(vectors), voters.hot, voters.judged, k, agreeing)
    if not found:
        return
    examples = [
        Example(rows.place(int(places[row])), word=f"{votes} of {k} neighbours: {voters.names[other]}")
        for row, other, votes in found[:EXAMPLES]
    ]
    yield Finding(
        "label-suspects",
        "note",
        f"{rows.name}: {len(found):,} of {len(vectors):,} training labels {inflected('{are}', len(found))} doubtful",
        (
            f"Of the {k} nearest training rows {agreeing} or more share a class the row has not, and none "
            "shares one of its own. Only suspects: a rare look of a class looks the same. Check some by eye.",
        ),
        tuple(examples),
        {"rows": len(found), "of": len(vectors)},
    )


def doubtful(
    vectors: NDArray[np.float32], hot: NDArray[np.uint8], judged: NDArray[np.bool_], k: int, agreeing: int
) -> list[tuple[int, int, int]]:
    """Rows, the class their neighbours agree on, and how many of these have it; the clearest first.

    Args:
        vectors: (n, D), n > k, compared by cosine.
        hot: (n, C) ones for the classes of each row.
        judged: (n,) rows that may be found.
        k: neighbours.
        agreeing: least number that share one other class.
    """
    rows = torch.from_numpy(vectors)
    at = torch.arange(len(rows))
    items = top_items(rows, rows, k, excluded=lambda part: at[part, None] == at).items.numpy()
    found: list[tuple[int, int, int]] = []
    for first in range(0, len(hot), _ROWS_AT_ONCE):
        own = hot[first : first + _ROWS_AT_ONCE]
        votes = hot[items[first : first + len(own)]]  # (q, k, C)
        supported = (votes & own[:, None]).any(axis=(1, 2))
        others = np.where(own > 0, 0, votes.sum(axis=1, dtype=np.int64))
        torn = judged[first : first + len(own)] & ~supported & (others.max(axis=1) >= agreeing)
        found += [
            (first + row, int(others[row].argmax()), int(others[row].max())) for row in np.flatnonzero(torn).tolist()
        ]
    return sorted(found, key=lambda one: (-one[2], one[0]))


def standardised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every dimension at mean 0 and variance 1; those that never change at 0."""
    mean, deviation = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
    moving = vectors.min(axis=0) < vectors.max(axis=0)
    found: NDArray[np.float32] = ((vectors - mean) * (moving / np.where(moving, deviation, 1))).astype(np.float32)
    return found


@dataclass(frozen=True, eq=False)
class _Voters:
    """The labelled rows of a sample.

    Attributes:
        places: (n,) in the sample.
        hot: (n, C) ones for the classes of each row, of the classes that enough rows have.
        judged: (n,) rows all of whose classes have more than K rows.
        names: of the C classes.
    """

    places: NDArray[np.int64]
    hot: NDArray[np.uint8]
    judged: NDArray[np.bool_]
    names: list[str]


def _voters(rows: Rows, k: int, agreeing: int) -> _Voters | None:
    """Who votes; None without labels or without two classes that could win a vote."""
    if rows.labels is None:
        return None
    labels = rows.labels[rows.train.rows]
    if labels.ndim == 1:
        counts = np.bincount(labels[labels >= 0], minlength=len(rows.classes))
        places = np.flatnonzero(labels >= 0)
        judged = counts[labels[places]] > k
    else:
        counts = labels.sum(axis=0, dtype=np.int64)
        places = np.flatnonzero(labels.any(axis=1))
        judged = ~labels[places][:, counts <= k].any(axis=1)
    # One column for each class that could win or be judged: fewer than there are rows, however many classes.
    large = np.flatnonzero(counts >= min(agreeing, k))
    if large.size < 2:
        return None
    hot = labels[places, None] == large if labels.ndim == 1 else labels[places][:, large] > 0
    return _Voters(places, hot.astype(np.uint8), judged, [rows.classes[int(place)] for place in large])
