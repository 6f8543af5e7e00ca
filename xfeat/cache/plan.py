"""What a cache will be, known before the first sample is encoded."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat import __version__
from xfeat.cache.columns import Columns
from xfeat.cache.manifest import SHARD_ROWS, Manifest, label_kind
from xfeat.errors import InputError

STEP = 65536  # strings digested at a time


@dataclass(frozen=True)
class Plan:
    """What the finished cache will be, known before the first sample is encoded.

    Attributes:
        modality: name of the modality.
        fingerprint: everything that decides the numbers.
        dim: D.
        columns: all n samples, in the order of the cache's rows.
        dtype: ``float16`` or ``float32``.
        sources: (n,) the key of where each sample comes from (``keys.source_keys``), to notice a changed manifest on
            resume; 0 for a sample that keeps what is stored of it; None where the columns say enough.
        shard_rows: rows per shard.
        token_dim: width of the token sequences; 0: there are none.
        grown_from: the samples digest of the stored cache that these samples grew from; empty: of none.
        parts: ``content`` of the caches that are merged into this one; empty: it is no merge.
    """

    modality: str
    fingerprint: Mapping[str, Any]
    dim: int
    columns: Columns
    dtype: str = "float32"
    sources: NDArray[np.uint64] | None = None
    shard_rows: int = SHARD_ROWS
    token_dim: int = 0
    grown_from: str = ""
    parts: tuple[str, ...] = ()

    def manifest(self) -> Manifest:
        """The manifest of the cache before its first shard.

        Raises:
            InputError: no samples, a bad modality name, or a dtype that is never stored.
        """
        if not len(self.columns):
            raise InputError(f"no samples for modality {self.modality!r}: nothing to write")
        return Manifest(
            modality=self.modality,
            dim=self.dim,
            dtype=self.dtype,
            classes=list(self.columns.classes),
            label_kind=label_kind(self.columns.labels),
            rows=len(self.columns),
            samples=samples_digest(self.columns, self.sources),
            fingerprint=self.fingerprint,
            shard_rows=self.shard_rows,
            writer=__version__,
            token_dim=self.token_dim,
            parts=list(self.parts),
        )


def samples_digest(columns: Columns, sources: NDArray[np.uint64] | None = None) -> str:
    """Sha256 over ids, splits, classes, pairs, cameras, source keys and labels: which samples these are.

    Raises:
        ValueError: source keys of another length or type.
    """
    total = hashlib.sha256()
    for name in ("ids", "split", "classes", "pair", "camera"):
        strings = getattr(columns, name)
        if strings is not None:
            total.update(f"{name} {len(strings)}\n".encode())
            for piece in _framed(strings):
                total.update(piece)
    if sources is not None:
        if sources.shape != (len(columns),) or sources.dtype != np.uint64:
            raise ValueError(f"source keys are {sources.shape} {sources.dtype} for {len(columns)} samples")
        total.update(f"sources {len(sources)}\n".encode() + sources.astype("<u8").tobytes())
    if columns.labels is not None:
        total.update(f"labels {columns.labels.shape}".encode() + np.ascontiguousarray(columns.labels).tobytes())
    return total.hexdigest()


def _framed(strings: Sequence[str]) -> Iterator[bytes]:
    """Each string in UTF-8 behind its length in eight bytes, many at a time."""
    for start in range(0, len(strings), STEP):
        part = strings[start : start + STEP]
        different = set(part)
        if len(different) <= len(part) // 2:  # splits, for example
            frames = {text: len(text.encode()).to_bytes(8, "little") + text.encode() for text in different}
            yield b"".join([frames[text] for text in part])
            continue
        texts = [text.encode() for text in part]
        heads = {length: length.to_bytes(8, "little") for length in set(map(len, texts))}
        pieces: list[bytes] = [b""] * (2 * len(texts))
        pieces[::2] = [heads[len(text)] for text in texts]
        pieces[1::2] = texts
        yield b"".join(pieces)
