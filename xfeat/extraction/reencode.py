"""Encodes a sample of a cache's rows again: whether the cache still belongs to the data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.backbones.base import Backbone
from xfeat.cache import FeatureCache
from xfeat.cache.fingerprint import difference
from xfeat.errors import InputError
from xfeat.extraction.comparing import Judge, Mismatch, StoredRows, tolerance_of
from xfeat.extraction.decode import Decoder
from xfeat.extraction.encode import Encoder, cores_kept
from xfeat.extraction.feed import Feed, available_cores
from xfeat.progress import Advance
from xfeat.samples.manifest import Samples

BATCH = 64


@dataclass(frozen=True)
class Reencoded:
    """What encoding again has shown.

    Attributes:
        checked: rows that were tried.
        failed: of these, rows that failed before and failed again for the same reason.
        worst: the largest distance ``||new - stored|| / ||stored||`` of a row; 0 where none has features.
        worst_id: of that sample; empty where none has features.
        tolerance: the distance that is allowed.
        mismatches: rows beyond it, whose file or text changed, or that fail otherwise than before, in order of rows.
        changed: ids of rows whose content key is another than the stored one, failed ones included.
        readable: ids of rows that failed before and can be read now.
        missing: rows of the cache that the samples no longer name; they cannot be tried.
        unknown: samples that the cache does not hold.
        versions: library versions that differ from the fingerprint's, in words; empty if none do.
    """

    checked: int
    failed: int
    worst: float
    worst_id: str
    tolerance: float
    mismatches: tuple[Mismatch, ...]
    changed: tuple[str, ...]
    readable: tuple[str, ...]
    missing: int
    unknown: int
    versions: str


def reencode(
    cache: FeatureCache,
    samples: Samples,
    backbone: Backbone,
    *,
    k: int,
    seed: int = 0,
    tolerance: float | None = None,
    text_files: bool = False,
    advance: Advance | None = None,
) -> Reencoded:
    """Encode k random rows again and compare them with what is stored. Token sequences are not compared.

    A row is not what it was if its features are farther away than the tolerance, if its content key differs (the file
    or text changed, whatever its features), or if it fails now and did not, or for another reason. Reasons that differ
    in numbers only are the same.

    Args:
        cache: a finished cache that was extracted.
        samples: of the manifest it was made from, or of one that has grown since.
        backbone: the one that made it.
        k: rows to try; all where there are fewer.
        seed: of the choice.
        tolerance: relative to the norm of the stored row; None takes ``tolerance_of(cache)``.
        text_files: sources of texts are UTF-8 files.
        advance: called with the number of rows done.

    Raises:
        InputError: an imported cache, a backbone with another fingerprint (library versions aside), samples of another
            kind or none of the cache's, or a damaged shard.
    """
    versions = _check(cache, samples, backbone)
    allowed = tolerance_of(cache) if tolerance is None else tolerance
    stored = StoredRows(cache)
    known = {name: row for row, name in enumerate(samples.columns.ids)}
    there = np.array([row for row, name in enumerate(stored.ids) if name in known], dtype=np.int64)
    if not there.size:
        raise InputError(f"{cache.path}: the manifest names none of its {len(stored.ids)} samples: another manifest?")
    chosen = np.sort(np.random.default_rng(seed).choice(there, min(k, there.size), replace=False))
    features = cache.take(chosen)
    judge = Judge(stored, allowed)
    sources = [known[stored.ids[row]] for row in chosen.tolist()]
    batches = [sources[start : start + BATCH] for start in range(0, len(sources), BATCH)]
    decode = Decoder(samples, backbone.load, text_files=text_files)
    workers = min(available_cores(), len(batches))
    done = 0
    with cores_kept(), Feed(decode, getattr(backbone, "collate", None), workers) as feed:
        encoder = Encoder(backbone, tokens=False)
        try:
            for batch in feed.batches(batches):
                found: dict[int, NDArray[np.float32]] = {}
                if batch.good:
                    encoded = encoder.submit(batch.items, len(batch.good)).result().features
                    found = dict(zip(batch.good, encoded, strict=True))
                for place, sample in enumerate(batch.samples):
                    judge(int(chosen[done + place]), sample, found.get(place), features[done + place])
                done += len(batch.samples)
                if advance is not None:
                    advance(len(batch.samples), f"{len(judge.mismatches)} differ" if judge.mismatches else "")
        finally:
            encoder.close()
    return Reencoded(
        checked=len(chosen),
        failed=judge.failed,
        worst=judge.worst,
        worst_id=judge.worst_id,
        tolerance=allowed,
        mismatches=tuple(judge.mismatches),
        changed=tuple(judge.changed),
        readable=tuple(judge.readable),
        missing=len(stored.ids) - len(there),
        unknown=len(known) - len(there),
        versions=versions,
    )


def refuse_imported(cache: FeatureCache) -> None:
    """Check that there is something to encode again.

    Raises:
        InputError: the cache was imported.
    """
    if cache.manifest.fingerprint.get("family") == "import":
        raise InputError(f"{cache.path} was imported, not extracted: there is nothing to encode again")


def check_backbone(cache: FeatureCache, backbone: Backbone) -> str:
    """The library versions in which a backbone differs from the one that made a cache, in words; empty if none do.

    Raises:
        InputError: an imported cache, or a backbone that differs in anything else; what differs is printed.
    """
    refuse_imported(cache)
    made, now = cache.manifest.fingerprint, backbone.fingerprint()
    if cache.manifest.token_dim and hasattr(backbone, "token_fingerprint"):
        now = {**now, "tokens": backbone.token_fingerprint()}
    changes = difference(_without_versions(made), _without_versions(now))
    if changes:
        raise InputError(f"{cache.path} was made with another fingerprint ({changes}): give the backbone that made it")
    return difference(made, now)


def _check(cache: FeatureCache, samples: Samples, backbone: Backbone) -> str:
    """Whether cache, samples and backbone belong together; the library versions in which they differ, in words."""
    refuse_imported(cache)
    if samples.kind != backbone.kind:
        raise InputError(f"{backbone.name} reads {backbone.kind}, the samples are {samples.kind}")
    return check_backbone(cache, backbone)


def _without_versions(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_versions(value) if isinstance(value, Mapping) else value
        for key, value in fingerprint.items()
        if not key.endswith("versions")
    }
