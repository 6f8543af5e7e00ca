"""Texts and files to features, as the rows of a cache were made, and on to embeddings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xfeat.backbones.base import Backbone, Setup
from xfeat.backbones.registry import open_backbone
from xfeat.backbones.runtime import stated_precision
from xfeat.cache import OK, Columns, FeatureCache, Tokens
from xfeat.cache.casting import cast_features, cast_tokens
from xfeat.errors import InputError
from xfeat.extraction.decode import Decoder
from xfeat.extraction.encode import Encoded, Encoder, cores_kept
from xfeat.extraction.feed import Feed
from xfeat.extraction.reencode import check_backbone
from xfeat.progress import progress
from xfeat.samples.manifest import Samples
from xfeat.search.opened import OpenRun
from xfeat.search.queries import Query, cache_kind

BATCH = 64


@dataclass
class Encoders:
    """The backbones that made the caches of a run, opened again where raw queries need them.

    Attributes:
        run: the run.
        specs: backbones by modality, where not the one that the cache names is to be opened (its weights are a file).
        device: where networks run, a name.
        notes: what a reader should know, one line each.
    """

    run: OpenRun
    specs: Mapping[str, str] = field(default_factory=dict)
    device: str = "auto"
    notes: list[str] = field(default_factory=list)
    _opened: dict[str, Backbone] = field(default_factory=dict)

    def embed(self, modality: str, queries: Sequence[Query]) -> Tensor:
        """Embeddings (Q, O) float32 of texts and files by the branch of a modality, on the run's device.

        They are decoded, encoded and rounded as an extraction does it.

        Raises:
            InputError: a backbone that cannot be opened or did not make the cache, or a query that cannot be read.
        """
        one, backbone = self.run[modality], self.backbone(modality)
        features, tokens, cut = encode(queries, one.cache, backbone, with_tokens=one.branch.wants_tokens)
        if cut:
            self.notes.append(f"{backbone.name} shortened {cut} of {len(queries)} queries to what it reads")
        return one.branch.embed(features, self.run.device, tokens=tokens)

    def backbone(self, modality: str) -> Backbone:
        """The backbone of a modality, the one that made its cache.

        Raises:
            InputError: it cannot be opened, or its fingerprint is another than the cache's.
        """
        if modality not in self._opened:
            cache = self.run.cache(modality)
            backbone = _open(cache, self.specs.get(modality, ""), self.device)
            if versions := check_backbone(cache, backbone):
                self.notes.append(f"{modality}: other library versions than the cache's: {versions}")
            self._opened[modality] = backbone
        return self._opened[modality]


def encode(
    queries: Sequence[Query], cache: FeatureCache, backbone: Backbone, *, with_tokens: bool
) -> tuple[NDArray[Any], Tokens | None, int]:
    """Features of texts and files, as a cache holds them.

    Args:
        queries: Q texts or files.
        cache: gives the stored type.
        backbone: the one that made it.
        with_tokens: token sequences too.

    Returns:
        (Q, D) in the cache's dtype; Q token sequences or None; how many queries the backbone had to shorten.

    Raises:
        InputError: a query that cannot be read, or features that are not finite in that type.
    """
    if backbone.kind != "text" and (text := next((query for query in queries if query.form == "text"), None)):
        raise InputError(f"text {text.said!r}: {backbone.name} reads {backbone.kind}, not text")
    features: list[NDArray[np.float32] | None] = [None] * len(queries)
    tokens: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(queries)
    unreadable: dict[int, str] = {}
    cut = 0
    encoder = Encoder(backbone, tokens=with_tokens)
    try:
        with cores_kept(), progress("encode queries", len(queries)) as advance:
            for places, samples, text_files in _groups(queries, backbone.kind):
                batches = [range(start, min(start + BATCH, len(places))) for start in range(0, len(places), BATCH)]
                decode = Decoder(samples, backbone.load, text_files=text_files)
                with Feed(decode, getattr(backbone, "collate", None), 0) as feed:
                    for batch in feed.batches(batches):
                        rows = [places[sample.row] for sample in batch.samples]
                        unreadable |= {
                            row: sample.status
                            for row, sample in zip(rows, batch.samples, strict=True)
                            if sample.status != OK
                        }
                        cut += sum(sample.cut for sample in batch.samples)
                        if batch.good:
                            found = encoder.submit(batch.items, len(batch.good)).result()
                            _fill([rows[place] for place in batch.good], found, features, tokens)
                        advance(len(rows))
    finally:
        encoder.close()
    _refuse(queries, unreadable)
    return *_stored(features, tokens, cache, with_tokens), cut


def _groups(queries: Sequence[Query], kind: str) -> list[tuple[list[int], Samples, bool]]:
    """Queries that one decoder takes: those of a folder, and texts as they are."""
    groups: dict[tuple[str, bool], list[int]] = {}
    for place, query in enumerate(queries):
        groups.setdefault((str(query.root), query.form == "file"), []).append(place)
    found = []
    for (_, files), places in groups.items():
        some = [queries[place] for place in places]
        columns = Columns([f"query {place}" for place in places], ["query"] * len(places))
        samples = Samples(columns, [query.value for query in some], some[0].root, 0, kind)  # type: ignore[arg-type]
        found.append((places, samples, files and kind == "text"))
    return found


def _fill(
    rows: Sequence[int],
    found: Encoded,
    features: list[NDArray[np.float32] | None],
    tokens: list[NDArray[np.float32]],
) -> None:
    for number, row in enumerate(rows):
        features[row] = found.features[number]
        if found.tokens is not None:
            tokens[row] = found.tokens.slice(number, number + 1).values


def _refuse(queries: Sequence[Query], unreadable: Mapping[int, str]) -> None:
    if not unreadable:
        return
    first = min(unreadable)
    more = f" ({len(unreadable)} such queries)" if len(unreadable) > 1 else ""
    raise InputError(f"{queries[first].form} {queries[first].said!r} cannot be read: {unreadable[first]}{more}")


def _stored(
    features: Sequence[NDArray[np.float32] | None],
    tokens: Sequence[NDArray[np.float32]],
    cache: FeatureCache,
    with_tokens: bool,
) -> tuple[NDArray[Any], Tokens | None]:
    columns = Columns([f"query {place}" for place in range(len(features))], ["query"] * len(features))
    status, dtype = [OK] * len(features), cache.manifest.dtype
    rows = cast_features(np.stack([row for row in features if row is not None]), columns, status, dtype)
    if not with_tokens:
        return rows, None
    offsets = np.cumsum([0, *map(len, tokens)], dtype=np.int64)
    return rows, cast_tokens(Tokens(np.concatenate(tokens), offsets), columns, status, dtype)


def _open(cache: FeatureCache, spec: str, device: str) -> Backbone:
    made = cache.manifest.fingerprint
    if made.get("family") == "import":
        raise InputError(
            f"{cache.path} was imported, not extracted: no backbone is known that makes such features; search by --id"
        )
    inner = made.get("inner", made)  # of a video backbone, that of its frames
    setup = Setup(device, stated_precision(made), bool(inner.get("compiled")), int(made.get("frames", Setup.frames)))
    kind = cache_kind(cache) or None
    if spec:
        return open_backbone(spec, kind, setup)
    try:
        return open_backbone(str(made.get("backbone", "")), kind, setup)
    except InputError as error:
        raise InputError(f"the backbone of {cache.path} does not open by its name ({error}); give --backbone") from None
