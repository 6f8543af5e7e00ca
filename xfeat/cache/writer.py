"""Writes a cache shard by shard, resumes after a kill at any moment, and lets one process write at a time."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from xfeat.cache.block import Block
from xfeat.cache.claim import LOCK, claim, remove_leftovers, unwritable
from xfeat.cache.columns import OK
from xfeat.cache.disk import Disk
from xfeat.cache.done import Done, finished
from xfeat.cache.incoming import Rows, incoming
from xfeat.cache.kept import Kept, kept_rows, read_contents, read_rows
from xfeat.cache.manifest import FILE, Manifest, load_manifest
from xfeat.cache.plan import Plan
from xfeat.cache.resume import same_classes, same_columns, taken_over
from xfeat.cache.shard import compose_shard, read_shard
from xfeat.cache.stored import Stored, read_stored, stored_columns
from xfeat.cache.tokens import Tokens
from xfeat.errors import InputError


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
        damaged: shards found damaged on resume; they are among the missing.

    Raises:
        InputError: another process writes here, the folder holds something else, or the cache there has another
            fingerprint or other samples than the plan and the plan did not grow from it (the difference is printed).
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        self.plan = plan
        self.manifest = plan.manifest()
        self.damaged: list[int] = []
        self._there: dict[int, int] = {}  # rows of each shard file that can be read
        self._done: dict[int, Done] = {}
        self._disk = Disk()
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
        try:
            with nullcontext() if error is None else suppress(InputError):  # that one is told
                self._disk.settle()
        finally:
            self._disk.close()
            self._lock.release()

    @property
    def missing(self) -> list[int]:
        """Shards still to be written, in order: absent, damaged, short, or with other columns than the plan's."""
        self._disk.settle()
        return [shard for shard in range(self.manifest.shards) if shard not in self._done]

    def write(
        self,
        shard: int,
        features: NDArray[Any],
        status: Sequence[str] | None = None,
        tokens: Tokens | None = None,
        content: NDArray[np.uint8] | None = None,
    ) -> None:
        """Write one shard, or the first rows of one, or replace it.

        It is composed at once and put on disk while the next is composed; every other method waits until it is there.

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
                sample is named); or the disk is full, for this shard or the one before.
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
        if n < stop - start:
            self._disk.settle()
            if n < self._there.get(shard, 0):
                rows = rows.followed_by(self._stored(shard), self.plan.columns.rows(start, stop))
        if self.manifest.complete:
            # Until `finish`, the manifest's digest would not be that of the shards.
            self._save(replace(self.manifest, complete=False, parts=list(self.plan.parts)))
        self._put(shard, rows)

    def read(self, shard: int) -> Block:
        """The rows of a shard that is already written."""
        self._disk.settle()
        return read_shard(self.shard_path(shard), self.manifest, shard, with_tokens=True)

    def kept(self, shard: int) -> Kept | None:
        """Of a missing shard, the rows that are encoded already and whose sources are unchanged; None: there are none.

        Raises:
            InputError: the file was damaged since the cache was opened.
        """
        self._disk.settle()
        if shard not in self._there:
            return None
        start, stop = self.manifest.span(shard)
        return kept_rows(self._stored(shard), self.plan.columns.rows(start, stop), self._source(start, stop))

    def contents(self) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.bool_]]]:
        """Each shard file that can be read: its number, content keys (m, 16), and (m,) whether a row can be reused.

        A row can be reused where its sample is ok and its content is known.
        """
        self._disk.settle()
        for shard in sorted(self._there):
            content, ok = read_contents(self.shard_path(shard))
            yield shard, content, ok

    def fetch(
        self, shard: int, places: NDArray[np.int64], content: NDArray[np.uint8] | None = None
    ) -> tuple[NDArray[Any], Tokens | None]:
        """Features (m, D) and tokens of some rows of a shard file as it is on disk now.

        Args:
            shard: its number.
            places: (m,) rows, counted from the shard's first, in any order.
            content: (m, 16) the content keys that they must have; None: whatever they have.

        Raises:
            InputError: the file cannot be read, or a row is of other content or has failed.
        """
        self._disk.settle()
        return read_rows(self.shard_path(shard), places, content)

    @property
    def failed_shards(self) -> list[int]:
        """Written shards that hold failed samples."""
        self._disk.settle()
        return [shard for shard, done in sorted(self._done.items()) if done.failed]

    def finish(self) -> Manifest:
        """Mark the cache complete and return its manifest.

        Raises:
            ValueError: shards are missing.
            InputError: the disk is full.
        """
        if self.missing:
            raise ValueError(f"{len(self.missing)} shards are not written")
        done = {self.shard_path(shard).name: done for shard, done in self._done.items()}
        self._save(finished(self.manifest, done, self.plan.columns.split))
        return self.manifest

    def shard_path(self, shard: int) -> Path:
        """File of a shard."""
        return self.path / f"{shard:05d}.h5"

    def _put(self, shard: int, rows: Rows) -> None:
        start, _ = self.manifest.span(shard)
        columns, fingerprint = self.plan.columns.rows(start, start + len(rows)), self.manifest.fingerprint_sha256
        composed = compose_shard(
            rows.features, columns, rows.status, fingerprint, rows.tokens, rows.source, rows.content
        )
        tokens = 0 if rows.tokens is None else len(rows.tokens.values)
        done = Done(composed.checksums, rows.failed, tokens)
        self._disk.put(self.shard_path(shard), composed, lambda: self._is_there(shard, len(rows), rows.source, done))

    def _is_there(self, shard: int, count: int, source: NDArray[np.uint64] | None, done: Done) -> None:
        start, stop = self.manifest.span(shard)
        self._there[shard] = count
        # Rows that stayed behind the new ones may have other sources than the plan's.
        wanted = self._source(start, stop)
        if start + count == stop and (source is None or wanted is None or np.array_equal(source, wanted)):
            self._done[shard] = done
        else:
            self._done.pop(shard, None)

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
            return
        try:
            stored = self._stored(shard)
        except InputError:
            self.damaged.append(shard)
            return
        self._there[shard] = len(stored)
        start, stop = self.manifest.span(shard)
        wanted = stored_columns(self.plan.columns.rows(start, stop), self._source(start, stop))
        if same_columns(stored, wanted) and same_classes(stored, self.manifest):
            self._done[shard] = Done(stored.checksums, int((~stored.ok).sum()), stored.tokens)
