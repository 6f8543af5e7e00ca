"""Reads a cache: everything into memory, or shard by shard. No file stays open between reads."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.block import Block
from xfeat.cache.filling import features_into
from xfeat.cache.manifest import Manifest, load_manifest
from xfeat.cache.rows import Place
from xfeat.cache.shard import locate_features, read_columns, read_features, read_shard
from xfeat.cache.stored import Stored
from xfeat.cache.tokens import Tokens, offsets_of
from xfeat.errors import InputError


class FeatureCache:
    """A finished cache on disk. Opening reads the manifest only; the object can be pickled and forked.

    Attributes:
        path: the directory.
        manifest: its manifest.

    Raises:
        InputError: not a cache, or one whose writing was not finished.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.manifest: Manifest = load_manifest(self.path)
        if not self.manifest.complete:
            raise InputError(
                f"{self.path} is unfinished: run the command that writes it again, it resumes where it stopped"
            )
        self._located: dict[int, tuple[Place, NDArray[np.uint64]]] = {}

    def blocks(self, *, check: bool = True, with_features: bool = True, with_tokens: bool = False) -> Iterator[Block]:
        """The shards in order, one in memory at a time, failed rows included.

        Args:
            check: compare features and tokens with their checksums.
            with_features: read the features; otherwise they are (n, 0).
            with_tokens: read the tokens, where the cache has any; otherwise they are None.

        Raises:
            InputError: a shard is missing, truncated or damaged.
        """
        for shard in range(self.manifest.shards):
            path = self.path / f"{shard:05d}.h5"
            yield read_shard(
                path, self.manifest, shard, check=check, with_features=with_features, with_tokens=with_tokens
            )

    def load(
        self,
        splits: Collection[str] | None = None,
        *,
        ok_only: bool = True,
        check: bool = True,
        with_features: bool = True,
        with_tokens: bool = False,
    ) -> Block:
        """Whole columns in memory.

        Args:
            splits: keep rows of these splits; None keeps all.
            ok_only: leave out failed rows.
            check: compare features and tokens with their checksums.
            with_features: read the features; otherwise they are (n, 0), which costs little memory.
            with_tokens: read the tokens, where the cache has any; otherwise they are None.

        Returns:
            The rows in the cache's order; features and tokens in the stored dtype.

        Raises:
            InputError: a shard is missing, truncated or damaged.
        """
        m = self.manifest
        features = np.empty((self._rows(), m.dim if with_features else 0), m.dtype)
        tokens = np.empty((m.tokens if with_tokens else 0, m.token_dim), m.dtype)
        parts: list[Block] = []
        lengths: list[NDArray[np.int64]] = []
        filled = seen = taken = 0
        for shard, path in enumerate(self._paths()):
            block, found = read_columns(path, m, shard, check=check, with_tokens=with_tokens)
            keep = _wanted(found, splits, ok_only)
            kept = block.select(keep)
            if with_features and (check or len(kept)):
                rows = features[filled : filled + len(kept)]
                sums = found.sums["features"] if check else None
                features_into(rows, path, m, shard, found.place, sums, None if keep.all() else keep)
            filled += len(kept)
            if block.tokens is not None and kept.tokens is not None:
                seen += len(block.tokens.values)
                if seen > m.tokens:
                    break
                tokens[taken : taken + len(kept.tokens.values)] = kept.tokens.values
                taken += len(kept.tokens.values)
                lengths.append(kept.tokens.lengths)
            # Only the columns: the shards' own tokens are not held a second time.
            parts.append(replace(kept, tokens=None))
        if with_tokens and seen != m.tokens:
            raise InputError(f"{self.path}: not the {m.tokens} tokens of its manifest: run `xfeat cache verify`")
        sequences = Tokens(tokens[:taken], offsets_of(np.concatenate(lengths))) if lengths else None
        return _join(parts, features[:filled], sequences)

    def features(self, shard: int, *, check: bool = True) -> NDArray[Any]:
        """The features of one shard, (n, D) in the stored dtype, failed rows (zeros) included.

        Args:
            shard: counted from 0.
            check: compare them with their checksums.

        Raises:
            InputError: the shard is missing, truncated or damaged.
        """
        return read_features(self.path / f"{shard:05d}.h5", self.manifest, shard, check=check)

    def array(self, *, check: bool = True) -> NDArray[Any]:
        """The features of all rows in one array, (n, D) in the stored dtype, failed rows (zeros) included.

        Args:
            check: compare them with their checksums. The other columns are neither read nor checked.

        Raises:
            InputError: a shard is missing, truncated or damaged.
        """
        m = self.manifest
        features = np.empty((self._rows(), m.dim), m.dtype)
        for shard, path in enumerate(self._paths()):
            start, stop = m.span(shard)
            place, sums = self._locate(shard)
            features_into(features[start:stop], path, m, shard, place, sums if check else None)
        return features

    def take(self, rows: NDArray[np.integer[Any]] | Sequence[int]) -> NDArray[Any]:
        """Features of some rows, read where they lie and nothing around them. They are not compared with checksums.

        Each shard is opened the first time one of its rows is asked for, and mapped into memory for the time of a call.

        Args:
            rows: (k,) numbers of rows from 0, in any order and repeated if wanted.

        Returns:
            (k, D) in the order asked, in the stored dtype; those of failed rows are zeros.

        Raises:
            IndexError: a row that the cache does not have; negative numbers do not count from the end.
            InputError: ``rows`` are not whole numbers in one dimension, or a shard is missing, truncated, of another
                cache, or does not hold its features byte after byte (chunked, compressed).
        """
        wanted = _row_numbers(rows, self.manifest.rows)
        found = np.empty((len(wanted), self.manifest.dim), self.manifest.dtype)
        order = np.argsort(wanted, kind="stable")
        shards = wanted[order] // self.manifest.shard_rows
        for part in np.split(order, np.flatnonzero(np.diff(shards)) + 1):
            if part.size:
                shard = int(wanted[part[0]]) // self.manifest.shard_rows
                found[part] = self._place(shard).rows(wanted[part] - shard * self.manifest.shard_rows)
        return found

    def tokens(self, shard: int, *, check: bool = True) -> Tokens:
        """The token sequences of one shard, failed samples (without tokens) included.

        Args:
            shard: counted from 0.
            check: compare them with their checksums.

        Raises:
            InputError: the cache holds no tokens, or the shard is missing, truncated or damaged.
        """
        path = self.path / f"{shard:05d}.h5"
        found = read_shard(path, self.manifest, shard, check=check, with_features=False, with_tokens=True).tokens
        if found is None:
            raise InputError(f"{self.path} holds no token sequences: write a cache that does (`xfeat import --tokens`)")
        return found

    def _place(self, shard: int) -> Place:
        place, _ = self._locate(shard)
        if place is None:
            path = self.path / f"{shard:05d}.h5"
            raise InputError(f"shard {path}: its features do not lie byte after byte: write the cache again")
        return place

    def _locate(self, shard: int) -> tuple[Place | None, NDArray[np.uint64]]:
        """Where the features of a shard lie, and their checksums; looked up once, until the file is replaced."""
        known = self._located.get(shard)
        if known is not None and known[0].current:
            return known
        place, sums = locate_features(self.path / f"{shard:05d}.h5", self.manifest, shard)
        if place is not None:
            self._located[shard] = place, sums
        return place, sums

    def _rows(self) -> int:
        # The manifest's word is not enough to allocate by.
        there = sum(1 for _ in self.path.glob("*.h5"))
        if there < self.manifest.shards:
            missing = next(path for path in self._paths() if not path.is_file())
            raise InputError(f"shard {missing} is missing: run the command that wrote the cache again")
        size = sum(path.stat().st_size for path in self._paths())
        m = self.manifest
        if size < (m.rows * m.dim + m.tokens * m.token_dim) * np.dtype(m.dtype).itemsize:
            raise InputError(f"{self.path}: the shards are smaller than the manifest says: run `xfeat cache verify`")
        return self.manifest.rows

    def _paths(self) -> Iterator[Path]:
        return (self.path / f"{shard:05d}.h5" for shard in range(self.manifest.shards))


def _row_numbers(rows: NDArray[np.integer[Any]] | Sequence[int], count: int) -> NDArray[np.int64]:
    given = np.asarray(rows)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise InputError(f"rows are {given.shape} {given.dtype}: they are (k,) whole numbers")
    strange = np.flatnonzero((given < 0) | (given >= count))
    if strange.size:
        raise IndexError(f"row {given[strange[0]]} of a cache of {count}: rows count from 0 to {count - 1}")
    return given.astype(np.int64)


def _wanted(stored: Stored, splits: Collection[str] | None, ok_only: bool) -> NDArray[np.bool_]:
    keep = stored.ok if ok_only else np.ones(len(stored), dtype=bool)
    if splits is not None:
        keep &= np.array([name in splits for name in stored.strings("split")], dtype=bool)
    return keep


def _join(parts: list[Block], features: NDArray[Any], tokens: Tokens | None) -> Block:
    def strings(name: str) -> list[str] | None:
        columns = [getattr(part, name) for part in parts]
        return None if any(column is None for column in columns) else list(chain.from_iterable(columns))

    def numbers(name: str) -> NDArray[Any] | None:
        columns = [getattr(part, name) for part in parts]
        return None if any(column is None for column in columns) else np.concatenate(columns)

    return Block(
        features,
        strings("ids") or [],
        strings("split") or [],
        strings("status") or [],
        numbers("labels"),
        strings("pair"),
        strings("camera"),
        tokens,
        numbers("source"),
        numbers("content"),
    )
