"""Samples through a backbone into a cache: resumable, growing with its data set, no sample dropped silently."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xfeat.backbones.base import Backbone
from xfeat.cache import SHARD_ROWS, CacheWriter, Columns, Manifest, Plan
from xfeat.cache.failures import failures
from xfeat.cache.growth import Growth
from xfeat.cache.growth import grow as grow_cache
from xfeat.cache.keys import source_keys
from xfeat.errors import InputError
from xfeat.extraction.decode import Decoder
from xfeat.extraction.encode import cores_kept
from xfeat.extraction.feed import Feed, available_cores
from xfeat.extraction.flow import Flow
from xfeat.extraction.jobs import find_jobs
from xfeat.extraction.report import ExtractReport, Reason, count_reasons
from xfeat.progress import progress
from xfeat.samples.manifest import Samples

TOKEN_SHARD_ROWS = 1024  # a shard is composed in memory, and token sequences are a hundred times as large


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
    tokens: bool = False,
    recheck: bool = False,
    grow: bool = True,
    shard_rows: int | None = None,
) -> ExtractReport:
    """Write the features of all samples into a cache, finish one that was begun, or add what is new to one.

    A sample that cannot be read becomes a row of zeros with the reason as its status. Inputs of the same content are
    encoded once. Errors of the backbone's ``encode`` are not a sample's fault and are raised.

    A cache of fewer samples grows: its rows keep their places, new samples come after them, and samples that are no
    longer named stay.

    Args:
        samples: n samples.
        backbone: a frozen encoder of their kind.
        out: the cache's folder; new, empty, or an unfinished or finished cache of the same backbone.
        modality: name of the modality.
        batch_size: samples encoded at a time; fewer where memory runs out.
        dtype: stored type.
        workers: decoding processes; None takes one per core, 0 decodes in threads of this process.
        on_error: ``row`` keeps failed samples as rows, ``fail`` stops at the first.
        retry_failed: among samples already stored, try the failed ones again.
        text_files: sources of texts are UTF-8 files.
        tokens: store token sequences beside the features.
        recheck: read the files of stored samples again, and encode those whose content has changed.
        grow: False: a cache of other samples is an error.
        shard_rows: rows per shard; None: 8,192, and 1,024 with tokens.

    Returns:
        What was done.

    Raises:
        InputError: samples of another kind, a folder that does not fit, a backbone without tokens where they are
            asked for, non-finite features, or a failed sample with ``on_error="fail"``.
        ExtractionInterrupted: Ctrl-C; what was encoded is kept.
    """
    _check(samples, backbone, modality, batch_size, workers, tokens)
    begun = time.perf_counter()
    target = _target(samples, out, grow)
    plan = Plan(
        modality,
        _fingerprint(backbone, tokens),
        backbone.dim,
        target.columns,
        dtype,
        target.sources,
        shard_rows=shard_rows or (TOKEN_SHARD_ROWS if tokens else SHARD_ROWS),
        token_dim=_token_dim(backbone) if tokens else 0,
        grown_from=target.growth.grown_from if target.growth else "",
    )
    with CacheWriter(out, plan) as writer:
        repaired = len(writer.damaged)
        decode = Decoder(samples, backbone.load, text_files=text_files)
        fail = on_error == "fail"
        try:
            jobs = find_jobs(writer, target.rows, retry_failed=retry_failed, recheck=decode.key if recheck else None)
            tried = jobs.tried
            flow = Flow(writer, samples, backbone, jobs, target.rows, batch_size=batch_size, fail=fail, tokens=tokens)
            count = min(available_cores() if workers is None else workers, -(-tried // batch_size))
            collate = getattr(backbone, "collate", None)
            bar = progress(f"extract {modality}", tried)
            with cores_kept(), Feed(decode, collate, count) as feed, bar as advance:
                flow.run(feed, advance)
        except KeyboardInterrupt:
            raise ExtractionInterrupted(_what_is_kept(writer)) from None
        manifest = writer.finish()
        reasons = count_reasons(failures(out, manifest))
    return _report(out, samples, manifest, target, flow, tried=tried, repaired=repaired, reasons=reasons, begun=begun)


@dataclass(frozen=True)
class _Target:
    """What the cache will hold."""

    columns: Columns
    sources: NDArray[np.uint64]
    rows: NDArray[np.int64]
    growth: Growth | None


def _check(
    samples: Samples, backbone: Backbone, modality: str, batch_size: int, workers: int | None, tokens: bool
) -> None:
    if samples.kind != backbone.kind:
        raise InputError(f"{backbone.name} reads {backbone.kind}, the samples of {modality!r} are {samples.kind}")
    if batch_size < 1:
        raise InputError(f"batch size {batch_size} must be at least 1")
    if workers is not None and workers < 0:
        raise InputError(f"workers {workers} must be 0 (decode in threads) or more")
    if tokens and not _token_dim(backbone):
        raise InputError(f"{backbone.name} gives no token sequences: leave --tokens out, or choose another backbone")


def _token_dim(backbone: Backbone) -> int:
    return int(getattr(backbone, "token_dim", 0))


def _fingerprint(backbone: Backbone, tokens: bool) -> dict[str, object]:
    made = backbone.fingerprint()
    return {**made, "tokens": backbone.token_fingerprint()} if tokens else made  # type: ignore[attr-defined]


def _target(samples: Samples, out: Path, growing: bool) -> _Target:
    keys = source_keys(samples.sources)
    growth = grow_cache(out, samples.columns, keys) if growing else None
    if growth is None:
        return _Target(samples.columns, keys, np.arange(len(samples)), None)
    return _Target(growth.columns, growth.sources, growth.rows, growth)


def _what_is_kept(writer: CacheWriter) -> str:
    shards = writer.manifest.shards
    whole = shards - len(writer.missing)
    begun = sum(len(kept.places) for shard in writer.missing if (kept := writer.kept(shard)) is not None)
    more = f" and {begun:,} rows of the next" if begun else ""
    return f"interrupted; {whole} of {shards} shards{more} are kept in {writer.path}, the same command resumes"


def _report(
    out: Path,
    samples: Samples,
    manifest: Manifest,
    target: _Target,
    flow: Flow,
    *,
    tried: int,
    repaired: int,
    reasons: tuple[Reason, ...],
    begun: float,
) -> ExtractReport:
    growth = target.growth
    return ExtractReport(
        path=out,
        rows=manifest.rows,
        ok=manifest.counts["ok"],
        failed=manifest.counts["failed"],
        by_reason=reasons,
        resumed_rows=manifest.rows - tried,
        tried_rows=tried,
        repaired_shards=repaired,
        truncated=flow.cut,
        left_out=samples.left_out,
        duplicates=flow.duplicates,
        added=growth.added if growth else 0,
        gone=growth.gone if growth else 0,
        changed=growth.changed if growth else 0,
        moved=growth.moved if growth else 0,
        batch_size=flow.batch_size if tried else 0,
        dim=manifest.dim,
        dtype=manifest.dtype,
        tokens=manifest.tokens,
        token_dim=manifest.token_dim,
        splits=manifest.counts["split"],
        seconds=time.perf_counter() - begun,
    )
