"""Writes a cache shard by shard, resumes after a kill at any moment, and lets one process write at a time."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from xfeat.cache.block import Block
from xfeat.cache.claim import LOCK, claim, remove_leftovers, unwritable
from xfeat.cache.columns import OK
from xfeat.cache.incoming import Rows, incoming
from xfeat.cache.kept import Kept, kept_rows, read_contents, read_rows
from xfeat.cache.manifest import FILE, Manifest, content_digest, load_manifest
from xfeat.cache.plan import Plan
from xfeat.cache.resume import same_classes, same_columns, taken_over
from xfeat.cache.shard import read_shard, write_shard
from xfeat.cache.stored import Stored, read_stored, stored_columns
from xfeat.cache.tokens import Tokens
from xfeat.errors import InputError


class _Done(NamedTuple):
    """Of a shard that is as planned: all its checksums, failed samples and tokens."""

    checksums: bytes
    failed: int
    tokens: int


class CacheWriter:
    """Context manager that owns a cache directory while it writes.

    Example:
        >>> with CacheWriter(path, plan) as writer:                       # doctest: +SKIP
        ...     for shard in list(writer.missing):
        ...         start, stop = writer.manifest.span(shard)
        ...         writer.write(shard, features[start:stop])
        ...     writer.finish()

    Attributes:
        manifest: the manifest as it stands.
        missing: shards still to be written, in order: absent, damaged, short, or with other columns than the plan's.
        damaged: shards found damaged on resume; they are among the missing.

    Raises:
        InputError: another process writes here, the folder holds something else, or the cache there has another
            fingerprint or other samples than the plan and the plan did not grow from it (the difference is printed).
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        self.plan = plan
        self.manifest = plan.manifest()
        self.missing: list[int] = []
        self.damaged: list[int] = []
        self._there: dict[int, int] = {}  # rows of each shard file that can be read
        self._done: dict[int, _Done] = {}
        self._lock = FileLock(path / LOCK)

    def __enter__(self) -> "CacheWriter":
        claim(self.path, self._lock)
        try:
            self._take_over()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def write(
        self,
        shard: int,
        features: NDArray[Any],
        status: Sequence[str] | None = None,
        tokens: Tokens | None = None,
        content: NDArray[np.uint8] | None = None,
    ) -> None:
        """Write one shard, or the first rows of one, or replace it.

        A shard of which only the first rows are written stays among the missing, and ``kept`` gives them back. Rows
        that a longer file has behind them stay.

        Args:
            shard: its number.
            features: (n, D) of any float dtype; rows of failed samples are ignored and stored as zeros.
            status: (n,) ``ok`` or why the sample failed; None means all are ok.
            tokens: the n token sequences where the plan has a ``token_dim``; those of failed samples are not stored.
            content: (n, 16) the keys of the samples' bytes, zeros where unknown; None: of none.

        Raises:
            InputError: a value of an ok sample is not finite in the stored dtype, or such a sample has no tokens (the
                sample is named); or the disk is full.
        """
        start, stop = self.manifest.span(shard)
        n = len(features)
        if not 0 < n <= stop - start:
            raise ValueError(f"shard {shard} takes {stop - start} rows, got {n}")
        rows = incoming(
            self.manifest,
            self.plan.columns.rows(start, start + n),
            features,
            [OK] * n if status is None else status,
            tokens,
            content,
            self._source(start, start + n),
        )
        if n < self._there.get(shard, 0):
            rows = rows.followed_by(self._stored(shard), self.plan.columns.rows(start, stop))
        if self.manifest.complete:
            # Until `finish`, the manifest's digest would not be that of the shards.
            self._save(replace(self.manifest, complete=False, parts=list(self.plan.parts)))
        self._put(shard, rows)

    def read(self, shard: int) -> Block:
        """The rows of a shard that is already written."""
        return read_shard(self.shard_path(shard), self.manifest, shard, with_tokens=True)

    def kept(self, shard: int) -> Kept | None:
        """Of a missing shard, the rows that are encoded already and whose sources are unchanged; None: there are none.

        Raises:
            InputError: the file was damaged since the cache was opened.
        """
        if shard not in self._there:
            return None
        start, stop = self.manifest.span(shard)
        return kept_rows(self._stored(shard), self.plan.columns.rows(start, stop), self._source(start, stop))

    def contents(self) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.bool_]]]:
        """Each shard file that can be read: its number, content keys (m, 16), and (m,) whether a row can be reused.

        A row can be reused where its sample is ok and its content is known.
        """
        for shard in sorted(self._there):
            content, ok = read_contents(self.shard_path(shard))
            yield shard, content, ok

    def fetch(self, shard: int, places: NDArray[np.int64]) -> tuple[NDArray[Any], Tokens | None]:
        """Features (m, D) and tokens of some rows of a shard file as it is on disk now.

        Args:
            shard: its number.
            places: (m,) rows, counted from the shard's first, in any order.
        """
        return read_rows(self.shard_path(shard), places)

    @property
    def failed_shards(self) -> list[int]:
        """Written shards that hold failed samples."""
        return [shard for shard, done in sorted(self._done.items()) if done.failed]

    def finish(self) -> Manifest:
        """Mark the cache complete and return its manifest.

        Raises:
            ValueError: shards are missing.
            InputError: the disk is full.
        """
        if self.missing:
            raise ValueError(f"{len(self.missing)} shards are not written")
        failed = sum(done.failed for done in self._done.values())
        counts = {"ok": self.manifest.rows - failed, "failed": failed, "split": dict(Counter(self.plan.columns.split))}
        sums = {self.shard_path(shard).name: done.checksums for shard, done in self._done.items()}
        content = content_digest(self.manifest, sums)
        tokens = sum(done.tokens for done in self._done.values())
        self._save(replace(self.manifest, complete=True, counts=counts, content=content, tokens=tokens, orders=[]))
        return self.manifest

    def shard_path(self, shard: int) -> Path:
        """File of a shard."""
        return self.path / f"{shard:05d}.h5"

    def _put(self, shard: int, rows: Rows) -> None:
        start, stop = self.manifest.span(shard)
        columns = self.plan.columns.rows(start, start + len(rows))
        path, fingerprint = self.shard_path(shard), self.manifest.fingerprint_sha256
        checksums = write_shard(
            path, rows.features, columns, rows.status, fingerprint, rows.tokens, rows.source, rows.content
        )
        self._there[shard] = len(rows)
        # Rows that stayed behind the new ones may have other sources than the plan's.
        source = self._source(start, stop)
        same = rows.source is None or source is None or np.array_equal(rows.source, source)
        if same and start + len(rows) == stop:
            tokens = 0 if rows.tokens is None else len(rows.tokens.values)
            self._done[shard] = _Done(checksums, rows.failed, tokens)
            self.missing = [other for other in self.missing if other != shard]
        else:
            self._done.pop(shard, None)
            self.missing = sorted({*self.missing, shard})

    def _source(self, start: int, stop: int) -> NDArray[np.uint64] | None:
        return None if self.plan.sources is None else self.plan.sources[start:stop]

    def _stored(self, shard: int) -> Stored:
        return read_stored(self.shard_path(shard), self.manifest, shard)

    def _save(self, manifest: Manifest) -> None:
        try:
            manifest.save(self.path)
        except OSError as error:
            raise unwritable(self.path / FILE, error) from None
        self.manifest = manifest

    def _take_over(self) -> None:
        remove_leftovers(self.path)
        wanted = self.manifest
        if not (self.path / FILE).exists():
            self._save(wanted)
        stored = load_manifest(self.path)
        self.manifest = taken_over(stored, wanted, self.path, self.plan.grown_from)
        if self.manifest.samples != stored.samples:
            self._save(self.manifest)  # before any shard: nobody takes the old shards for those of the new manifest
            for shard in range(self.manifest.shards, stored.shards):
                self.shard_path(shard).unlink(missing_ok=True)  # damaged: growth keeps the place of every row it reads
        elif wanted.parts and wanted.parts != stored.parts:
            self._begin_anew()
        for shard in range(self.manifest.shards):
            self._look_at(shard)

    def _begin_anew(self) -> None:
        # The parts were written again. Their shards go first: the new manifest never stands beside the old ones.
        self._save(replace(self.manifest, complete=False))
        for shard in range(self.manifest.shards):
            self.shard_path(shard).unlink(missing_ok=True)
        self._save(replace(self.manifest, parts=list(self.plan.parts)))

    def _look_at(self, shard: int) -> None:
        if not self.shard_path(shard).exists():
            self.missing.append(shard)
            return
        try:
            stored = self._stored(shard)
        except InputError:
            self.damaged.append(shard)
            self.missing.append(shard)
            return
        self._there[shard] = len(stored)
        start, stop = self.manifest.span(shard)
        wanted = stored_columns(self.plan.columns.rows(start, stop), self._source(start, stop))
        if same_columns(stored, wanted) and same_classes(stored, self.manifest):
            self._done[shard] = _Done(stored.checksums, int((~stored.ok).sum()), stored.tokens)
        else:
            self.missing.append(shard)
