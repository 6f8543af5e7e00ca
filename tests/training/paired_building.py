"""Makes small paired caches: instances with a hidden vector, which every modality sees through a map of its own."""

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xfeat.cache import CacheWriter, Columns, FeatureCache, Plan, Tokens
from xfeat.cache.tokens import offsets_of
from xfeat.errors import InputError
from xfeat.methods.sspc_settings import SspcSettings
from xfeat.training.sspc import train

HIDDEN = 5
WIDTHS = {"image": 12, "text": 7, "audio": 9}
SPLITS = ("train", "train", "test", "train", "val", "train")
TINY = SspcSettings(
    input_dim=16,
    joint_dim=12,
    input_anchors="projected",
    anchors=6,
    iterations=4,
    eps=0.1,
    temperature=0.05,
    queue=20,
    batch_size=16,
    epochs=4,
    lr=0.01,
    lr_schedule="cosine",
    ema=0.8,
    dropout=0.0,
    input_noise=0.0,
)


@dataclass(frozen=True)
class View:
    """Rows of one modality: everything a test may want to change before it is written."""

    modality: str
    features: np.ndarray
    keys: list[str] | None
    split: list[str]
    classes: Sequence[str] = ()
    labels: np.ndarray | None = None
    tokens: Tokens | None = None

    def write(self, path: Path, *, shard_rows: int = 200) -> FeatureCache:
        ids = [f"{self.modality}/{row:04d}" for row in range(len(self.features))]
        columns = Columns(ids, self.split, self.classes, self.labels, self.keys)
        width = 0 if self.tokens is None else self.tokens.values.shape[1]
        plan = Plan(
            self.modality,
            {"backbone": "views"},
            self.features.shape[1],
            columns,
            shard_rows=shard_rows,
            token_dim=width,
        )
        with CacheWriter(path, plan) as writer:
            for shard in list(writer.missing):
                start, stop = writer.manifest.span(shard)
                tokens = self.tokens.slice(start, stop) if self.tokens else None
                writer.write(shard, self.features[start:stop], tokens=tokens)
            writer.finish()
        return FeatureCache(path)

    def change(self, **fields: Any) -> "View":
        return replace(self, **fields)


def views(
    *modalities: str,
    count: int = 60,
    captions: Mapping[str, int] | None = None,
    missing: Mapping[str, float] | None = None,
    classes: Sequence[str] = (),
    tokens: Collection[str] = (),
    splits: Sequence[str] = SPLITS,
    noise: float = 0.1,
    seed: int = 0,
) -> dict[str, View]:
    """Rows of every modality, shuffled.

    Args:
        modalities: their names.
        count: instances.
        captions: rows of an instance, where a modality has several.
        missing: share of the instances that a modality lacks.
        classes: instance i has class i modulo their number; none without names.
        tokens: modalities with one to four tokens per row, whose mean is the pooled feature.
        splits: instance i is in split i modulo their number.
        noise: of every row.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(count, HIDDEN))
    found = {}
    for name in modalities:
        own = np.random.default_rng([seed, zlib.crc32(name.encode())])
        width = WIDTHS.get(name, 6)
        there = np.flatnonzero(own.random(count) >= (missing or {}).get(name, 0.0))
        who = own.permutation(np.repeat(there, (captions or {}).get(name, 1)))
        seen = hidden[who] @ own.normal(size=(HIDDEN, width)) + 2
        lengths = own.integers(1, 5, len(who)) if name in tokens else np.ones(len(who), int)
        values = np.repeat(seen, lengths, axis=0)
        values = (values + noise * own.normal(size=values.shape)).astype(np.float32)
        offsets = offsets_of(lengths)
        pooled = np.add.reduceat(values, offsets[:-1]) / lengths[:, None]
        found[name] = View(
            name,
            pooled.astype(np.float32),
            [f"k{instance:03d}" for instance in who],
            [splits[instance % len(splits)] for instance in who],
            tuple(classes),
            who.astype(np.int64) % len(classes) if classes else None,
            Tokens(values, offsets) if name in tokens else None,
        )
    return found


def write_views(folder: Path, made: Mapping[str, View]) -> list[FeatureCache]:
    return [view.write(folder / name) for name, view in made.items()]


def paired(folder: Path, *modalities: str, **options: Any) -> list[FeatureCache]:
    """Caches of ``views`` in a folder."""
    return write_views(folder, views(*modalities, **options))


def tiny(**changes: Any) -> SspcSettings:
    return SspcSettings(**{**TINY.model_dump(), **changes})


def constant(one: View) -> View:
    return one.change(features=np.ones_like(one.features))


def unpaired(one: View) -> View:
    return one.change(keys=None)


def strange(one: View) -> View:
    return one.change(keys=[f"other {row}" for row in range(len(one.features))])


def untrained(one: View) -> View:
    return one.change(split=["test"] * len(one.features))


def constant_tokens(one: View) -> View:
    return one.change(tokens=Tokens(np.ones((len(one.features), 3), np.float32), np.arange(len(one.features) + 1)))


def sspc_error(caches: Sequence[FeatureCache], out: Path, settings: SspcSettings = TINY, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        train(caches, out, settings, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
