"""The embedded rows of a run, in one list that is searched."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.errors import InputError
from xfeat.evaluation.similarity import Similarity, unit_rows
from xfeat.evaluation.top import Top
from xfeat.progress import progress
from xfeat.search.nearest import Nearest
from xfeat.search.opened import Opened, OpenRun
from xfeat.search.rows import Item, check_splits, chosen_classes
from xfeat.training.sspc_store import Weights


def open_index(
    run: Path | OpenRun,
    modalities: Sequence[str] = (),
    device: torch.device | None = None,
    *,
    splits: Sequence[str] = (),
    classes: Sequence[str] = (),
    weights: Weights = "kept",
    allow_changed: bool = False,
) -> "Index":
    """Embed the rows of a run that are to be searched, a shard of features in memory at a time.

    Args:
        run: its folder, or one that is open (then the last three arguments of opening are its own).
        modalities: which to search; none, or ``all``: every one of the run.
        device: where to compute; None: on the CPU.
        splits: keep rows of these; none: all rows.
        classes: keep rows of one of these classes (names, or several in a string with commas between); none: all rows,
            those without a label too.
        weights: which, of a run that has two sets.
        allow_changed: take caches that changed since the run was trained.

    Returns:
        The index. Its order is that of the modalities in the run, and of the rows in their caches.

    Raises:
        InputError: no such run, modality, split or class; a group of seeds; a cache or branch that is missing or
            damaged; or no row that is asked for.

    Example:
        >>> index = open_index(Path("runs/demo"), ["text"])  # doctest: +SKIP
        >>> top = index.search(index.embed_rows([("image", "image-0002")]), 5)  # doctest: +SKIP
        >>> [index.item(place).id for place in top.items[0].tolist()]  # doctest: +SKIP
    """
    opened = run if isinstance(run, OpenRun) else OpenRun(run, device, weights=weights, allow_changed=allow_changed)
    names = opened.chosen(modalities)
    rows = [opened[name].rows for name in names]
    check_splits(splits, rows)
    wanted = chosen_classes(classes, rows)
    kept = {name: opened[name].rows.kept(splits, wanted) for name in names}
    if not sum(map(len, kept.values())):
        of = [f"of split {' or '.join(splits)}"] * bool(splits) + [f"of class {' or '.join(wanted)}"] * bool(wanted)
        raise InputError(f"{opened.path}: no row of {', '.join(names)} {' and '.join(of) or 'has features'}")
    return Index(opened, kept, splits, wanted)


class Index:
    """Embedded rows of some modalities of a run. Made by `open_index`.

    Args:
        run: the run.
        kept: row numbers (n,) by modality, ascending.
        splits: what they were kept by, for those who ask.
        classes: likewise.

    Attributes:
        run: the run.
        similarity: what its embeddings are compared by.
        vectors: (N, O) float32 on the run's device, modality after modality; of length 1 where the run compares by
            cosine.
        counts: rows by modality.
        splits: rows are of these only; empty: of all.
        classes: likewise.
    """

    def __init__(
        self,
        run: OpenRun,
        kept: dict[str, NDArray[np.int64]],
        splits: Sequence[str] = (),
        classes: Sequence[str] = (),
    ) -> None:
        self.run, self.splits, self.classes = run, list(splits), list(classes)
        self.similarity: Similarity = run.similarity(list(kept))
        self.counts = {name: len(rows) for name, rows in kept.items()}
        self._kept = kept
        self._names = list(kept)
        self._starts = np.concatenate([[0], np.cumsum(list(self.counts.values()))])
        pieces = (piece for name, rows in kept.items() for piece in _embedded(run[name], rows, run.device))
        if self.similarity == "cosine":
            pieces = (unit_rows(piece) for piece in pieces)
        self.vectors = _stacked(pieces, sum(self.counts.values()))
        self._nearest = Nearest(self.vectors, self.similarity)

    def __len__(self) -> int:
        return len(self.vectors)

    def item(self, place: int) -> Item:
        """What is known of a row, by its place in the index."""
        number = int(np.searchsorted(self._starts, place, side="right")) - 1
        name = self._names[number]
        return self.run[name].rows.item(int(self._kept[name][place - self._starts[number]]))

    def place(self, modality: str, name: str) -> int:
        """The place of a row by its id; -1 where it is not in the index.

        Raises:
            InputError: the run has no such modality, or its cache no such sample.
        """
        row = self.run[modality].rows.row(name)
        if modality not in self._kept:
            return -1
        rows = self._kept[modality]
        found = int(np.searchsorted(rows, row))
        if found == len(rows) or rows[found] != row:
            return -1
        return int(self._starts[self._names.index(modality)]) + found

    def embed_rows(self, ids: Sequence[tuple[str, str]]) -> Tensor:
        """Embeddings of rows of the run's caches, whether they are in the index or not; each by itself.

        So that they are the same, to the last digit, whatever other rows are asked for.

        Args:
            ids: (modality, id) of Q rows.

        Returns:
            (Q, O) float32 on the run's device.

        Raises:
            InputError: no such modality or sample, one without features, or one whose embeddings are made for another
                similarity than those of the index.
        """
        vectors = torch.empty(len(ids), self.vectors.shape[1], device=self.run.device)
        for modality in dict.fromkeys(name for name, _ in ids):
            self.check(modality)
            own = [place for place, (name, _) in enumerate(ids) if name == modality]
            one = self.run[modality]
            rows = np.array([one.rows.row(ids[place][1]) for place in own], dtype=np.int64)
            distinct, back = np.unique(rows, return_inverse=True)
            found = _stacked(_embedded(one, distinct, self.run.device, alone=True), len(distinct))
            vectors[own] = found[torch.from_numpy(back).to(found.device)]
        return vectors

    def check(self, modality: str) -> None:
        """Refuse queries of a modality that does not compare with the index.

        Raises:
            InputError: no such modality, or one compared by another similarity.
        """
        self.run.similarity([*self._names, modality])

    def search(self, vectors: Tensor | NDArray[np.float32], k: int, *, without: Sequence[int] | None = None) -> Top:
        """The k rows that are most similar to each query; equally similar ones in the order of the index.

        What a query finds does not depend on the others. They are compared in blocks: memory does not grow with their
        number.

        Args:
            vectors: (Q, O) finite embeddings.
            k: 1 or more.
            without: (Q,) a place that is left out for each query, -1 for none.

        Returns:
            Places and scores (Q, min(k, N)): cosines, or inner products. Where a row that is left out leaves a place
            empty, -1 and -inf.

        Raises:
            InputError: k below 1, or vectors of another width or with entries that are not finite.
        """
        if k < 1:
            raise InputError(f"k is {k}: ask for 1 nearest row or more")
        queries = torch.as_tensor(vectors, dtype=torch.float32).to(self.run.device)
        if queries.ndim != 2 or queries.shape[1] != self.vectors.shape[1]:
            raise InputError(f"queries are {tuple(queries.shape)}: they are (queries, {self.vectors.shape[1]})")
        if not bool(queries.isfinite().all()):
            raise InputError("a query holds an entry that is not a finite number")
        if not len(queries):
            return Top(torch.empty(0, min(k, len(self)), dtype=torch.int64), torch.empty(0, min(k, len(self))))
        own = None if without is None else torch.tensor(without, dtype=torch.int64, device=queries.device)
        return self._nearest.search(queries, k, own)


def _stacked(pieces: Iterable[Tensor], rows: int) -> Tensor:
    """Pieces of so many rows, one or more, in one tensor; no two of them are held at a time."""
    found, filled = torch.empty(0), 0
    for piece in pieces:
        if not filled:
            found = piece.new_empty(rows, piece.shape[1])
        found[filled : filled + len(piece)] = piece
        filled += len(piece)
    return found


def _embedded(one: Opened, rows: NDArray[np.int64], device: torch.device, *, alone: bool = False) -> Iterator[Tensor]:
    """Embeddings of some rows, ascending, shard by shard, or one ``alone``; at least one piece where there are rows."""
    m, cache, branch = one.cache.manifest, one.cache, one.branch
    shards = np.unique(rows // m.shard_rows)
    with progress(f"embed {m.modality}", len(shards)) as advance:
        for shard in shards.tolist():
            start, stop = m.span(shard)
            own = rows[(rows >= start) & (rows < stop)] - start
            tokens = cache.tokens(shard) if branch.wants_tokens else None
            features = cache.features(shard)
            for some in np.split(own, len(own)) if alone else [own]:
                read = None if tokens is None else tokens.rows(some)
                yield branch.embed(features[some], device, tokens=read)
            advance()
