"""Which rows make a batch: P classes, and of each class S rows of every modality that has it."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class Batch(NamedTuple):
    """The rows of one step.

    Attributes:
        classes: (P,) different classes.
        rows: by modality, (n,) places of its rows, S for each of the classes that it has.
    """

    classes: Rows
    rows: dict[str, Rows]


class ClassSampler:
    """Balanced batches over classes and modalities, which need no pairs.

    Every class is drawn equally often in an epoch, give or take one, whatever its size, and a batch holds different
    classes. A class gives each row once before any comes twice. A modality that lacks a class gives no row for it.

    Args:
        labels: (n,) int64 by modality, each in [0, classes).
        classes: C.
        per_batch: P; at most C are taken.
        samples: S.

    Raises:
        ValueError: P or S below 1, or no rows at all.
    """

    def __init__(self, labels: Mapping[str, Rows], classes: int, per_batch: int, samples: int) -> None:
        if per_batch < 1 or samples < 1:
            raise ValueError(f"per_batch and samples must be >= 1, got {per_batch} and {samples}")
        counts = {name: np.bincount(own, minlength=classes) for name, own in labels.items()}
        self.present = np.flatnonzero(sum(counts.values(), np.zeros(classes, dtype=np.int64)))
        if not len(self.present):
            raise ValueError("no rows to draw from")
        self.labels, self.counts, self.samples = labels, counts, samples
        self.starts = {name: np.cumsum(count) - count for name, count in counts.items()}
        self.per_batch = min(per_batch, len(self.present))
        most = max(len(own) for own in labels.values())
        self.batches = max(1, round(most / (self.per_batch * samples)))

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """The batches of an epoch; they depend on the state of ``rng`` alone."""
        # Rows in a new order, class by class: the next S of a class are read off, around its end if need be.
        order = {name: np.lexsort((rng.random(len(own)), own)) for name, own in self.labels.items()}
        drawn = np.zeros(max(map(len, self.counts.values())), dtype=np.int64)
        for classes in self._classes(rng):
            rows = {}
            for name, own in order.items():
                there = classes[self.counts[name][classes] > 0]
                steps = drawn[there, None] * self.samples + np.arange(self.samples)
                at = self.starts[name][there, None] + steps % self.counts[name][there, None]
                rows[name] = own[at.ravel()]
            drawn[classes] += 1
            yield Batch(classes, rows)

    def _classes(self, rng: np.random.Generator) -> Iterator[Rows]:
        waiting = rng.permutation(self.present)
        for _ in range(self.batches):
            batch, waiting = waiting[: self.per_batch], waiting[self.per_batch :]
            if (lacking := self.per_batch - len(batch)) > 0:
                fresh = rng.permutation(self.present)
                # What the batch holds already goes to the end of the new round.
                fresh = np.concatenate([fresh[~np.isin(fresh, batch)], fresh[np.isin(fresh, batch)]])
                batch, waiting = np.concatenate([batch, fresh[:lacking]]), fresh[lacking:]
            yield batch
