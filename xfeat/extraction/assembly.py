"""A shard that is being filled, batch by batch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xfeat.cache import OK, CacheWriter, Tokens
from xfeat.extraction.decode import Decoded
from xfeat.extraction.encode import Encoded
from xfeat.extraction.jobs import Job

HALF_MAX = 65504.0


class Assembly:
    """The rows of one shard.

    Args:
        job: which shard, and which of its rows are decoded.
        dim: width of the features.
        token_dim: width of the token sequences; 0 for none.
        dtype: what the cache stores.
    """

    def __init__(self, job: Job, dim: int, token_dim: int, dtype: str) -> None:
        self.job = job
        self._features = np.zeros((job.size, dim), np.float32)
        self._status = ["" for _ in range(job.size)]
        self._content = np.zeros((job.size, 16), np.uint8)
        self._known = np.zeros(job.size, dtype=bool)
        self._copies: list[tuple[int, int]] = []
        self._token_dim, self._dtype = token_dim, dtype
        self._tokens: dict[int, NDArray[np.floating]] = {}

    def put(self, places: Sequence[int], samples: Sequence[Decoded]) -> None:
        """Note what is known of decoded samples before they are encoded."""
        for place, sample in zip(places, samples, strict=True):
            self._status[place] = sample.status
            self._content[place] = np.frombuffer(sample.content, np.uint8)
            self._known[place] = sample.status != OK

    def copy(self, place: int, row: int) -> None:
        """The features of a row of the cache, of the same content, serve this one too."""
        self._copies.append((place, row))
        self._known[place] = True

    def encoded(self, places: Sequence[int], batch: Encoded) -> None:
        """The features of some samples."""
        self._features[places] = batch.features
        if batch.tokens is not None:
            for number, place in enumerate(places):
                start, stop = batch.tokens.offsets[number : number + 2]
                self._tokens[place] = _small(batch.tokens.values[start:stop], self._dtype)
        self._known[places] = True  # last: Ctrl-C may come at any line

    def write(self, writer: CacheWriter) -> None:
        """Write the shard; one that is not filled gets its first rows, as far as they are known.

        Raises:
            InputError: as of ``CacheWriter``; also where a row is to be a copy of one that was never written.
        """
        self._drop_copies_of_nothing()
        before = self._take_over(writer)
        count = self.job.size if self._known.all() else int(np.argmin(self._known))
        if count <= before:
            return
        self._copy(writer, count)
        tokens = self._sequences(count) if self._token_dim else None
        writer.write(self.job.shard, self._features[:count], self._status[:count], tokens, self._content[:count])

    def _drop_copies_of_nothing(self) -> None:
        """Copies of rows of this shard that were to be encoded and were not: on disk is what those were before."""
        start, decoded = self.job.start, set(self.job.places)
        void = {place for place, row in self._copies if row - start in decoded and not self._known[row - start]}
        self._copies = [copy for copy in self._copies if copy[0] not in void]
        self._known[list(void)] = False

    def _take_over(self, writer: CacheWriter) -> int:
        """Rows that are on disk and not decoded again; the number that need not be written if nothing new is known."""
        if self.job.whole:
            block = writer.read(self.job.shard)
            old = np.flatnonzero(~self._known)
            learnt = any(
                word != block.status[place] or word == OK or self._new_content(place, block.content)
                for place, word in enumerate(self._status)
                if self._known[place]
            )
            self._fill(
                old, block.features[old], [block.status[place] for place in old], block.content, block.tokens, old
            )
            return 0 if learnt else self.job.size
        kept = writer.kept(self.job.shard)
        if kept is None:
            return 0
        new = np.flatnonzero(~self._known[kept.places])
        places = kept.places[new]
        self._fill(places, kept.features[new], [kept.status[i] for i in new], kept.content, kept.tokens, new)
        return 0 if self._known.all() else int(kept.places.max(initial=-1)) + 1

    def _new_content(self, place: int, old: NDArray[np.uint8] | None) -> bool:
        return old is not None and not np.array_equal(self._content[place], old[place])

    def _fill(
        self,
        places: NDArray[np.int64],
        features: NDArray[np.floating],
        status: list[str],
        content: NDArray[np.uint8] | None,
        tokens: Tokens | None,
        numbers: NDArray[np.int64],
    ) -> None:
        self._features[places] = features  # exact: what is stored is float16 or float32
        for place, word in zip(places.tolist(), status, strict=True):
            self._status[place] = word
        if content is not None:
            self._content[places] = content[numbers]
        if tokens is not None:
            self._sequences_of(places, tokens.rows(numbers))
        self._known[places] = True

    def _copy(self, writer: CacheWriter, count: int) -> None:
        rows_a_shard = writer.manifest.shard_rows
        elsewhere: dict[int, list[tuple[int, int]]] = {}
        copied = {place for place, _ in self._copies}
        for place, row in self._copies:
            if place >= count:
                continue
            shard, there = divmod(row, rows_a_shard)
            if shard == self.job.shard and there not in copied:
                self._features[place] = self._features[there]
                if there in self._tokens:
                    self._tokens[place] = self._tokens[there]
            else:  # on disk; also a row whose own content turned out to be what it was
                elsewhere.setdefault(shard, []).append((place, there))
        for shard, pairs in elsewhere.items():
            places = np.array([place for place, _ in pairs])
            numbers = np.array([there for _, there in pairs])
            features, tokens = writer.fetch(shard, numbers, self._content[places])
            self._features[places] = features
            if tokens is not None:
                self._sequences_of(places, tokens)

    def _sequences_of(self, places: NDArray[np.int64], tokens: Tokens) -> None:
        for number, place in enumerate(places.tolist()):
            self._tokens[place] = tokens.values[tokens.offsets[number] : tokens.offsets[number + 1]]

    def _sequences(self, count: int) -> Tokens:
        nothing = np.zeros((0, self._token_dim), self._dtype)
        parts = [self._tokens.get(place, nothing) for place in range(count)]
        lengths = np.array([0, *map(len, parts)], np.int64)
        return Tokens(np.concatenate(parts), np.cumsum(lengths))


def _small(tokens: NDArray[np.float32], dtype: str) -> NDArray[np.floating]:
    """In the stored type where nothing is lost by it: a shard's tokens take much memory."""
    fits = dtype == "float32" or (np.abs(tokens) <= HALF_MAX).all()
    return tokens.astype(dtype) if fits else tokens  # what does not fit is refused when it is written, with its reason
