"""Samples through a backbone into a cache: shard by shard, resumable, no sample dropped silently."""

import os
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xfeat.backbones.base import Backbone
from xfeat.cache import OK, SHARD_ROWS, CacheWriter, Plan
from xfeat.errors import InputError
from xfeat.extraction.decode import Decoded, Decoder, decode_ahead
from xfeat.extraction.report import ExtractReport, Reason, count_reasons
from xfeat.progress import Advance, progress
from xfeat.samples.manifest import Samples


class ExtractionInterrupted(KeyboardInterrupt):
    """Ctrl-C during an extraction; the message says what is kept."""


def extract(
    samples: Samples,
    backbone: Backbone,
    out: Path,
    *,
    modality: str,
    batch_size: int = 64,
    dtype: Literal["float16", "float32"] = "float16",
    workers: int | None = None,
    on_error: Literal["row", "fail"] = "row",
    retry_failed: bool = False,
    text_files: bool = False,
    shard_rows: int = SHARD_ROWS,
) -> ExtractReport:
    """Write the features of all samples into a cache, or finish one that was begun.

    A sample that cannot be read becomes a row of zeros with the reason as its status. Errors of the backbone's
    ``encode`` are not a sample's fault and are raised.

    Args:
        samples: n samples.
        backbone: a frozen encoder of their kind.
        out: the cache's folder; new, empty, or an unfinished or finished cache of the same samples and backbone.
        modality: name of the modality.
        batch_size: samples encoded at a time.
        dtype: stored type.
        workers: decoding threads; None takes one per core, 8 at most.
        on_error: ``row`` keeps failed samples as rows, ``fail`` stops at the first.
        retry_failed: in shards already written, try the failed samples again.
        text_files: sources of texts are UTF-8 files.
        shard_rows: rows per shard.

    Returns:
        What was done.

    Raises:
        InputError: samples of another kind, a folder that does not fit, non-finite features, or a failed sample
            with ``on_error="fail"``.
        ExtractionInterrupted: Ctrl-C; finished shards are kept.
    """
    if samples.kind != backbone.kind:
        raise InputError(f"{backbone.name} reads {backbone.kind}, the samples of {modality!r} are {samples.kind}")
    if batch_size < 1 or (workers is not None and workers < 1):
        raise InputError(f"batch size {batch_size} and workers {workers} must be at least 1")
    begun = time.perf_counter()
    cut_before = _truncated(backbone)
    plan = Plan(
        modality, backbone.fingerprint(), backbone.dim, samples.columns, dtype, samples.sources, shard_rows=shard_rows
    )
    with CacheWriter(out, plan) as writer:
        repaired = len(writer.damaged)
        jobs = _jobs(writer, retry_failed)
        tried = sum(len(rows) for rows in jobs.values())
        decode = Decoder(samples, backbone, text_files=text_files)
        try:
            with _decoding_pool(workers) as pool, progress(f"extract {modality}", tried) as advance:
                encoder = _Encoder(pool, decode, backbone, samples, batch_size, on_error, advance)
                for shard, rows in jobs.items():
                    _write(writer, shard, rows, encoder)
        except KeyboardInterrupt:
            shards = writer.manifest.shards
            raise ExtractionInterrupted(
                f"interrupted; {shards - len(writer.missing)} of {shards} shards are kept in {out}, "
                "the same command resumes"
            ) from None
        manifest = writer.finish()
        reasons = _reasons(writer)
    return ExtractReport(
        path=out,
        rows=manifest.rows,
        ok=manifest.counts["ok"],
        failed=manifest.counts["failed"],
        by_reason=reasons,
        resumed_rows=manifest.rows - tried,
        tried_rows=tried,
        repaired_shards=repaired,
        truncated=_truncated(backbone) - cut_before,
        left_out=samples.left_out,
        dim=manifest.dim,
        dtype=manifest.dtype,
        splits=manifest.counts["split"],
        seconds=time.perf_counter() - begun,
    )


class _Encoder:
    """Decodes and encodes given rows; holds what stays the same over all shards."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        decode: Decoder,
        backbone: Backbone,
        samples: Samples,
        batch_size: int,
        on_error: str,
        advance: Advance,
    ) -> None:
        self._pool, self._decode, self._backbone, self._samples = pool, decode, backbone, samples
        self._batch_size, self._on_error, self._advance = batch_size, on_error, advance
        self._failed = 0

    def __call__(self, rows: Sequence[int]) -> tuple[NDArray[np.float32], list[str]]:
        """Features (n, D) of n rows, zeros where a sample failed, and their statuses."""
        features = np.zeros((len(rows), self._backbone.dim), np.float32)
        status: list[str] = []
        for batch in decode_ahead(self._pool, self._decode, rows, self._batch_size):
            self._check(batch)
            done = len(status)
            good = [place for place, sample in enumerate(batch) if sample.status == OK]
            if good:
                encoded = self._backbone.encode([batch[place].item for place in good])
                if encoded.shape != (len(good), self._backbone.dim):
                    wanted = (len(good), self._backbone.dim)
                    raise ValueError(f"{self._backbone.name} encoded to {encoded.shape} instead of {wanted}")
                features[[done + place for place in good]] = encoded
            status += [sample.status for sample in batch]
            self._advance(len(batch), f"{self._failed} failed" if self._failed else "")
        return features, status

    def _check(self, batch: list[Decoded]) -> None:
        for sample in batch:
            if sample.status == OK:
                continue
            self._failed += 1
            if self._on_error == "fail":
                name = self._samples.columns.ids[sample.row]
                raise InputError(
                    f"sample {name!r} (row {sample.row}): {sample.status}; finished shards are kept: mend or remove "
                    "it, or keep failed samples as rows with --on-error row"
                )


def _jobs(writer: CacheWriter, retry_failed: bool) -> dict[int, list[int]]:
    """Rows to try in each shard that needs work."""
    jobs = {shard: list(range(*writer.manifest.span(shard))) for shard in writer.missing}
    if retry_failed:
        for shard in writer.failed_shards:
            start, _ = writer.manifest.span(shard)
            jobs[shard] = [start + place for place, word in enumerate(writer.read(shard).status) if word != OK]
    return dict(sorted(jobs.items()))


def _write(writer: CacheWriter, shard: int, rows: list[int], encoder: _Encoder) -> None:
    features, status = encoder(rows)
    if shard not in writer.missing:
        block = writer.read(shard)
        places = np.array(rows) - writer.manifest.span(shard)[0]
        merged = block.features.astype(np.float32)  # exact: what is stored is float16 or float32
        merged[places] = features
        words = list(block.status)
        for place, word in zip(places.tolist(), status, strict=True):
            words[place] = word
        if words == block.status:
            return  # nothing new is known
        features, status = merged, words
    writer.write(shard, features, status)


def _reasons(writer: CacheWriter) -> tuple[Reason, ...]:
    blocks = (writer.read(shard) for shard in writer.failed_shards)
    return count_reasons(row for block in blocks for row in zip(block.ids, block.status, strict=True))


@contextmanager
def _decoding_pool(workers: int | None) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1), thread_name_prefix="decode")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images and odd metadata without naming the file; what matters is in the status.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _truncated(backbone: Backbone) -> int:
    return int(getattr(backbone, "truncated", 0))
