"""manifest.json: what a cache is, what made it, and whether it is complete."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from xfeat.cache.files import write_text
from xfeat.cache.fingerprint import canonical_json, digest
from xfeat.errors import InputError

SCHEMA = 1
SHARD_ROWS = 8192
FILE = "manifest.json"
DTYPES = ("float16", "float32")
MODALITY = re.compile(r"[\w-]{1,48}")  # it becomes part of file names


@dataclass(frozen=True)
class Manifest:
    """The contents of manifest.json.

    Attributes:
        modality: name of the modality, for example ``image``.
        dim: D, the width of the features.
        dtype: ``float16`` or ``float32``.
        classes: class names in label order; empty where there are no labels.
        label_kind: ``single``, ``multi`` or ``none``.
        rows: samples, failed ones included.
        shard_rows: rows per shard (the last may be shorter).
        samples: sha256 over ids, splits, labels, pairs and sources: which samples these are.
        fingerprint: everything that decided the numbers (backbone, weights, preprocessing, precision, versions).
        complete: all shards are written.
        counts: once complete: ``ok``, ``failed`` and ``split`` (rows per split).
        content: once complete: sha256 over classes and the shards' checksums: the data themselves.
        schema: version of the format.
        writer: the xfeat version that wrote it.
        token_dim: width of the token sequences; 0 where there are none, as in a manifest that does not name it.
        tokens: once complete: tokens of all samples together.
        orders: while a cache that grew is unfinished: the classes of shards that were not written again yet.
        parts: ``content`` of the caches that were merged into this one, in order.

    Raises:
        InputError: a value of another type or out of its range; a manifest on disk is not trusted.
    """

    modality: str
    dim: int
    dtype: str
    classes: list[str]
    label_kind: str
    rows: int
    samples: str
    fingerprint: Mapping[str, Any]
    shard_rows: int = SHARD_ROWS
    complete: bool = False
    counts: Mapping[str, Any] = field(default_factory=dict)
    content: str = ""
    schema: int = SCHEMA
    writer: str = ""
    token_dim: int = 0
    tokens: int = 0
    orders: list[list[str]] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not isinstance(self.modality, str) or not MODALITY.fullmatch(self.modality):
            raise InputError(f"modality {self.modality!r:.80}: use letters, digits, '-' and '_', 48 at most")
        if self.dtype not in DTYPES:
            raise InputError(f"dtype {self.dtype!r}: a cache stores float16 or float32")
        for name, least in (("dim", 1), ("rows", 1), ("shard_rows", 1), ("token_dim", 0), ("tokens", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise InputError(f"{name} is {value!r}: it must be a whole number of {least} or more")
        if not _names(self.classes):
            raise InputError("classes must be a list of names")
        if not isinstance(self.orders, list) or not all(map(_names, self.orders)) or not _names(self.parts):
            raise InputError("orders must be lists of class names, parts a list of digests")
        if self.label_kind not in ("single", "multi", "none"):
            raise InputError(f"label_kind is {self.label_kind!r}: single, multi or none")
        self._check_counts()

    def _check_counts(self) -> None:
        if self.complete and not _whole_counts(self.counts, self.rows):
            raise InputError("counts do not add up to the rows")
        if self.complete and self.tokens < (self.counts["ok"] if self.token_dim else 0):
            raise InputError(f"there are {self.tokens} tokens for {self.counts['ok']} samples")
        if self.tokens and not self.token_dim:
            raise InputError(f"there are {self.tokens} tokens of no width")

    @property
    def fingerprint_sha256(self) -> str:
        """Sha256 of the fingerprint's canonical JSON."""
        return digest(self.fingerprint)

    @property
    def shards(self) -> int:
        """Number of shards of the complete cache."""
        return -(-self.rows // self.shard_rows)

    def span(self, shard: int) -> tuple[int, int]:
        """First row of a shard and the row after its last."""
        return shard * self.shard_rows, min(self.rows, (shard + 1) * self.shard_rows)

    def save(self, cache: Path) -> None:
        """Write manifest.json whole."""
        document = asdict(self)
        document["fingerprint"] = {"sha256": self.fingerprint_sha256, "config": dict(self.fingerprint)}
        write_text(cache / FILE, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def label_kind(labels: NDArray[Any] | None) -> str:
    """``none``, ``single`` or ``multi``."""
    return "none" if labels is None else "single" if labels.ndim == 1 else "multi"


def load_manifest(cache: Path) -> Manifest:
    """Read and check manifest.json.

    Raises:
        InputError: no cache there, a manifest that is not JSON or of another schema, or a fingerprint that was edited.
    """
    path = cache / FILE
    if not path.is_file():
        what = "has no manifest.json" if cache.exists() else "does not exist"
        raise InputError(f"{cache} {what}: not a feature cache (make one with `xfeat extract` or `xfeat import`)")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        stored = document.pop("fingerprint")
        schema = document["schema"]
        if schema == SCHEMA:
            known = {f.name for f in fields(Manifest)}
            manifest = Manifest(
                fingerprint=stored["config"], **{key: value for key, value in document.items() if key in known}
            )
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error}): write the cache again into a new folder") from None
    if schema != SCHEMA:
        raise InputError(f"{path} has schema {schema!r}, this xfeat reads {SCHEMA}: use the version that wrote it")
    if stored.get("sha256") != manifest.fingerprint_sha256:
        raise InputError(f"{path}: the fingerprint does not match its own sha256: the manifest was edited")
    return manifest


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _whole_counts(counts: Any, rows: int) -> bool:
    try:
        splits = sum(counts["split"].values())
        return bool(counts["ok"] + counts["failed"] == splits == rows and min(counts["ok"], counts["failed"]) >= 0)
    except (KeyError, TypeError, AttributeError):
        return False


def content_digest(manifest: Manifest, checksums: Mapping[str, bytes]) -> str:
    """Sha256 over what gives the labels their meaning and the checksums of all shards, in order of their names."""
    total = hashlib.sha256(canonical_json([manifest.label_kind, list(manifest.classes)]).encode())
    for name in sorted(checksums):
        total.update(checksums[name])
    return total.hexdigest()
