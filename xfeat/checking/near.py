"""Rows of val and test that are almost a training row: a picture saved again, a sentence with one word changed."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from xfeat.checking.duplicates import equal_rows, usual_in, usual_words
from xfeat.checking.report import EXAMPLES, CheckSettings, Example, Finding, inflected, rows_of_splits, share
from xfeat.checking.rows import TEST, VAL, Rows
from xfeat.evaluation.similarity import unit_rows
from xfeat.evaluation.top import top_items

FEW = 8  # dimensions below which rows meet by chance
BLIND = 0.5  # share of training rows with a near twin among them above which nothing can be told

_ROWS_AT_ONCE = 1024


def near_duplicates(caches: Sequence[Rows], settings: CheckSettings) -> Iterator[Finding]:
    """Rows with a training row far nearer than neighbours usually are, exact equals and rows of zeros left out.

    Both sides are centred at the mean of the training rows. A row is a near duplicate of its nearest training row where
    their cosine is at least ``settings.near`` and 1 - cosine is at most ``settings.apart`` of what it is to the
    fifth nearest. The second condition asks for a gap: in features of few dimensions every row has close neighbours,
    but no single one that is so much closer than the rest. It misses rows that five training rows are copies of.

    Args:
        caches: rows with samples of their features; those of equal width are compared with each other too.
        settings: how closely to look.
    """
    for one in caches:
        for other in (one, *(cache for cache in caches if cache is not one and cache.dim == one.dim)):
            if len(one.others.rows) and len(other.train.rows):
                yield from _between(one, other, settings)


def near_rule(scores: NDArray[np.float64], settings: CheckSettings) -> NDArray[np.bool_]:
    """(q,) whether the nearest is a near duplicate.

    Args:
        scores: (q, k) float64 cosines to the k nearest, best first.
        settings: ``near`` and ``apart``.
    """
    first, last = scores[:, 0], scores[:, -1]
    found: NDArray[np.bool_] = (first >= settings.near) & (1 - first <= settings.apart * (1 - last))
    return found


def _between(one: Rows, other: Rows, settings: CheckSettings) -> Iterator[Finding]:
    mean = other.train.features.mean(axis=0, dtype=np.float64)
    gallery = _centred(other.train.features, mean)
    queries = _centred(one.others.features, mean)
    items = top_items(queries, gallery, settings.nearest).items
    scores = _cosines(queries, gallery, items)
    near = near_rule(scores, settings)
    rows, nearest = one.others.rows, other.train.rows[items[:, 0].numpy()]
    _forget_equals(near, one, rows, other, nearest)
    if not near.any():
        return
    counts = {}
    for name in (TEST, VAL):
        there = one.split[rows] == name
        counts[name] = int((near & there).sum()), int(there.sum())
    usual = _usual(other, gallery, settings)
    here = share(int(near.sum()), sum(total for part, total in counts.values() if part))
    found = sorted(np.flatnonzero(near).tolist(), key=lambda query: (-scores[query, 0], query))
    labels = one.label_keys[rows[near]], other.label_keys[nearest[near]]
    relabelled = int(((labels[0] != labels[1]) & (labels[0] != 0) & (labels[1] != 0)).sum())
    where = "" if one is other else f" of {other.name}"
    usually = usual_in(here, usual)
    leak = not usually and other.dim >= FEW
    lines = ["If the examples are copies, what is learnt is measured on as well: keep one of each."]
    if usually:
        lines = [usual_words(usual)]
    elif not leak:
        lines = [f"In {other.dim} dimensions this may be chance. Look at the examples; keep one of each copy."]
    if relabelled:
        lines.append(f"Of them, {relabelled:,} {inflected('{have}', relabelled)} another label there.")
    yield Finding(
        "near-duplicates",
        "leak" if leak else "note" if usual > BLIND else "warning",
        f"{one.name}: {rows_of_splits(counts)} {inflected('{are}', int(near.sum()))} nearly a train row{where}",
        tuple(lines),
        tuple(
            Example(one.place(int(rows[query])), other.place(int(nearest[query])), float(scores[query, 0]))
            for query in found[:EXAMPLES]
        ),
        {"rows": int(near.sum()), "other_label": relabelled, "usual_share": usual}
        | {name: part for name, (part, _) in counts.items()},
    )


def _centred(features: NDArray[np.float32], mean: NDArray[np.float64]) -> torch.Tensor:
    # At most 1, so that no difference of two float32 numbers leaves their range; cosines stay what they are.
    rows = features - mean
    largest = np.abs(rows).max(initial=0.0)
    return torch.from_numpy((rows / (largest or 1.0)).astype(np.float32))


def _usual(other: Rows, gallery: torch.Tensor, settings: CheckSettings) -> float:
    """Share of the training rows that are near duplicates of another, exact equals left out here as well."""
    if len(gallery) < 2:
        return 0.0
    places = torch.arange(len(gallery))
    # A row's own place is empty, at the end where there are few.
    kept = min(settings.nearest, len(gallery) - 1)
    items = top_items(gallery, gallery, kept, excluded=lambda rows: places[rows, None] == places).items
    near = near_rule(_cosines(gallery, gallery, items), settings)
    _forget_equals(near, other, other.train.rows, other, other.train.rows[items[:, 0].numpy()])
    return float(near.mean())


def _forget_equals(
    near: NDArray[np.bool_], one: Rows, rows: NDArray[np.int64], other: Rows, nearest: NDArray[np.int64]
) -> None:
    """Unmark rows of ``one`` that equal their nearest of ``other``, and rows of zeros, which are nobody's copies."""
    for query in np.flatnonzero(near).tolist():
        row = int(rows[query])
        zeros = one.features is not None and one.features[row] == 0
        near[query] = not (zeros or equal_rows(one, row, other, int(nearest[query])))


def _cosines(queries: torch.Tensor, gallery: torch.Tensor, items: torch.Tensor) -> NDArray[np.float64]:
    """(q, k) float64: float32 cannot tell how close to 1 they are."""
    found = torch.empty(items.shape, dtype=torch.float64)
    for first in range(0, len(queries), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        there = unit_rows(gallery[items[rows].flatten()], torch.float64).view(*items[rows].shape, -1)
        found[rows] = torch.einsum("qd,qkd->qk", unit_rows(queries[rows], torch.float64), there)
    return found.numpy()
