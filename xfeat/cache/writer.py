"""Writes a cache shard by shard, resumes after a kill at any moment, and lets one process write at a time."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from xfeat import __version__
from xfeat.cache.block import Block
from xfeat.cache.casting import cast_features, cast_tokens
from xfeat.cache.columns import OK, Columns
from xfeat.cache.files import TMP
from xfeat.cache.fingerprint import difference
from xfeat.cache.manifest import FILE, SHARD_ROWS, Manifest, content_digest, load_manifest
from xfeat.cache.shard import read_shard, shard_checksums, write_shard
from xfeat.cache.tokens import Tokens
from xfeat.errors import InputError

LOCK = ".lock"
# What must be the same for a write to go on, and how to say that it is not.
OTHER = {
    "modality": "another modality",
    "dtype": "another dtype",
    "dim": "another width",
    "token_dim": "another width of tokens",
    "rows": "another number of rows",
    "shard_rows": "another number of rows per shard",
    "label_kind": "another kind of labels",
    "classes": "other classes",
    "samples": "other samples (ids, splits, labels, pairs or sources changed)",
}
# What an interrupted write may leave behind; any other file is the user's.
OURS = re.compile(rf"{re.escape(LOCK)}|([0-9]{{5,}}\.h5|{re.escape(FILE)}){re.escape(TMP)}")


@dataclass(frozen=True)
class Plan:
    """What the finished cache will be, known before the first sample is encoded.

    Attributes:
        modality: name of the modality.
        fingerprint: everything that decides the numbers.
        dim: D.
        columns: all n samples, in the order of the cache's rows.
        dtype: ``float16`` or ``float32``.
        sources: (n,) where each sample comes from (root-relative path or the text itself), to notice a changed
            manifest on resume; None where the columns say enough.
        shard_rows: rows per shard.
        token_dim: width of the token sequences; 0: there are none.
    """

    modality: str
    fingerprint: Mapping[str, Any]
    dim: int
    columns: Columns
    dtype: str = "float32"
    sources: Sequence[str] | None = None
    shard_rows: int = SHARD_ROWS
    token_dim: int = 0

    def manifest(self) -> Manifest:
        """The manifest of the cache before its first shard.

        Raises:
            InputError: no samples, a bad modality name, or a dtype that is never stored.
        """
        if not len(self.columns):
            raise InputError(f"no samples for modality {self.modality!r}: nothing to write")
        labels = self.columns.labels
        return Manifest(
            modality=self.modality,
            dim=self.dim,
            dtype=self.dtype,
            classes=list(self.columns.classes),
            label_kind="none" if labels is None else "single" if labels.ndim == 1 else "multi",
            rows=len(self.columns),
            samples=_samples_digest(self.columns, self.sources),
            fingerprint=self.fingerprint,
            shard_rows=self.shard_rows,
            writer=__version__,
            token_dim=self.token_dim,
        )


class CacheWriter:
    """Context manager that owns a cache directory while it writes.

    Example:
        >>> with CacheWriter(path, plan) as writer:                       # doctest: +SKIP
        ...     for shard in writer.missing:
        ...         start, stop = writer.manifest.span(shard)
        ...         writer.write(shard, features[start:stop])
        ...     writer.finish()

    Attributes:
        manifest: the manifest as it stands.
        missing: shards still to be written, in order.
        damaged: shards found damaged on resume; they are among the missing.

    Raises:
        InputError: another process writes here, the folder holds something else, or the cache there has another
            fingerprint or other samples (the difference is printed).
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        self.plan = plan
        self.manifest = plan.manifest()
        self.missing: list[int] = []
        self.damaged: list[int] = []
        self._checksums: dict[str, bytes] = {}
        self._failed: dict[int, int] = {}
        self._tokens: dict[int, int] = {}
        self._lock = FileLock(path / LOCK)

    def __enter__(self) -> "CacheWriter":
        self._claim()
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
    ) -> None:
        """Write one shard, or replace it.

        Args:
            shard: its number.
            features: (n, D) of any float dtype; rows of failed samples are ignored and stored as zeros.
            status: (n,) ``ok`` or why the sample failed; None means all are ok.
            tokens: the n token sequences where the plan has a ``token_dim``; those of failed samples are not stored.

        Raises:
            InputError: a value of an ok sample is not finite in the stored dtype, or such a sample has no tokens; the
                sample is named.
        """
        start, stop = self.manifest.span(shard)
        columns = self.plan.columns.rows(start, stop)
        status = [OK] * (stop - start) if status is None else status
        if features.shape != (stop - start, self.manifest.dim) or len(status) != stop - start:
            raise ValueError(f"shard {shard} takes {(stop - start, self.manifest.dim)}, got {features.shape}")
        if (0 if tokens is None else tokens.values.shape[1]) != self.manifest.token_dim:
            raise ValueError(f"shard {shard} takes tokens of width {self.manifest.token_dim} (0: none)")
        if tokens is not None:
            if len(tokens) != stop - start:
                raise ValueError(f"shard {shard} takes {stop - start} token sequences, got {len(tokens)}")
            tokens = cast_tokens(tokens, columns, status, self.manifest.dtype)
        stored = cast_features(features, columns, status, self.manifest.dtype)
        name = self.shard_path(shard)
        if self.manifest.complete:
            # Until `finish`, the manifest's digest would not be that of the shards.
            self.manifest = replace(self.manifest, complete=False)
            self.manifest.save(self.path)
        fingerprint = self.manifest.fingerprint_sha256
        self._checksums[name.name] = write_shard(name, stored, columns, status, fingerprint, tokens)
        self._tokens[shard] = 0 if tokens is None else len(tokens.values)
        self._failed[shard] = sum(word != OK for word in status)
        if shard in self.missing:
            self.missing.remove(shard)

    def read(self, shard: int) -> Block:
        """The rows of a shard that is already written."""
        return read_shard(self.shard_path(shard), self.manifest, shard, with_tokens=True)

    @property
    def failed_shards(self) -> list[int]:
        """Written shards that hold failed samples."""
        return [shard for shard, failed in sorted(self._failed.items()) if failed]

    def finish(self) -> Manifest:
        """Mark the cache complete and return its manifest.

        Raises:
            ValueError: shards are missing.
        """
        if self.missing:
            raise ValueError(f"{len(self.missing)} shards are not written")
        splits: dict[str, int] = {}
        for name in self.plan.columns.split:
            splits[name] = splits.get(name, 0) + 1
        failed = sum(self._failed.values())
        self.manifest = replace(
            self.manifest,
            complete=True,
            counts={"ok": self.manifest.rows - failed, "failed": failed, "split": splits},
            content=content_digest(self.manifest, self._checksums),
            tokens=sum(self._tokens.values()),
        )
        self.manifest.save(self.path)
        return self.manifest

    def shard_path(self, shard: int) -> Path:
        """File of a shard."""
        return self.path / f"{shard:05d}.h5"

    def _claim(self) -> None:
        if self.path.is_file():
            raise InputError(f"{self.path} is a file: --out must name a folder")
        strange = self.path.is_dir() and not (self.path / FILE).exists()
        if strange and any(not OURS.fullmatch(entry.name) for entry in self.path.iterdir()):
            raise InputError(f"{self.path} holds other files and no manifest.json: choose a new or empty folder")
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise InputError(
                f"another process is writing to {self.path}: wait for it, or choose another folder"
            ) from None

    def _take_over(self) -> None:
        for leftover in self.path.iterdir():
            if OURS.fullmatch(leftover.name) and leftover.name != LOCK:
                leftover.unlink()
        if not (self.path / FILE).exists():
            self.manifest.save(self.path)
        stored = load_manifest(self.path)
        _check_same(stored, self.manifest, self.path)
        self.manifest = stored
        for shard in range(stored.shards):
            path = self.shard_path(shard)
            if not path.exists():
                self.missing.append(shard)
                continue
            try:
                block, self._checksums[path.name] = shard_checksums(path, stored, shard)
            except InputError:
                self.damaged.append(shard)
                self.missing.append(shard)
            else:
                self._failed[shard] = sum(word != OK for word in block.status)
                self._tokens[shard] = 0 if block.tokens is None else len(block.tokens.values)


def _check_same(stored: Manifest, wanted: Manifest, path: Path) -> None:
    advice = "choose a new --out, or delete the folder first"
    if stored.fingerprint_sha256 != wanted.fingerprint_sha256:
        changes = difference(stored.fingerprint, wanted.fingerprint)
        raise InputError(f"{path} was made with another fingerprint ({changes}): {advice}")
    for name in OTHER:
        old, new = getattr(stored, name), getattr(wanted, name)
        if old != new:
            values = "" if name in ("samples", "classes") else f" ({old} instead of {new})"
            raise InputError(f"{path} holds a cache with {OTHER[name]}{values}: {advice}")


def _samples_digest(columns: Columns, sources: Sequence[str] | None) -> str:
    total = hashlib.sha256()
    for name, strings in (
        ("ids", columns.ids),
        ("split", columns.split),
        ("classes", columns.classes),
        ("pair", columns.pair),
        ("camera", columns.camera),
        ("sources", sources),
    ):
        if strings is not None:
            total.update(f"{name} {len(strings)}\n".encode())
            for text in strings:
                encoded = text.encode()
                total.update(len(encoded).to_bytes(8, "little") + encoded)
    if columns.labels is not None:
        total.update(f"labels {columns.labels.shape}".encode() + np.ascontiguousarray(columns.labels).tobytes())
    return total.hexdigest()
