"""Manifests that change, and a small extraction that grows a cache with them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xfeat.cache import CacheWriter, Columns, FeatureCache, Plan, Tokens
from xfeat.cache.growth import Growth, grow
from xfeat.cache.keys import content_key, source_keys
from xfeat.cache.tokens import offsets_of

CLASSES = ("ant", "bee", "cat", "dog")


@dataclass
class Extraction:
    """A manifest of samples that changes from run to run, and a backbone that counts what it encodes."""

    columns: Columns
    sources: list[str]
    shard_rows: int = 16
    token_dim: int = 0
    dim: int = 6

    def run(self, path: Path, *, shards: int | None = None, rows: int | None = None) -> list[str]:
        """Write the cache; the ids that had to be encoded.

        Args:
            path: the cache.
            shards: stop after so many, as a kill would.
            rows: of the last of these write so many only.
        """
        keys = source_keys(self.sources)
        growth = grow(path, self.columns, keys)
        plan = Plan(
            "image", {"family": "test"}, self.dim, self.columns, "float32", keys, self.shard_rows, self.token_dim
        )
        places = np.arange(len(self.columns))
        if growth is not None:
            places = growth.rows
            plan = replace(plan, columns=growth.columns, sources=growth.sources, grown_from=growth.grown_from)
        encoded: list[str] = []
        with CacheWriter(path, plan) as writer:
            todo = list(writer.missing)[:shards]
            for shard in todo:
                start, stop = writer.manifest.span(shard)
                if rows is not None and shard == todo[-1]:
                    stop = min(stop, start + rows)
                self._write(writer, shard, places[start:stop], encoded)
            if not writer.missing:
                writer.finish()
        return encoded

    def _write(self, writer: CacheWriter, shard: int, rows: np.ndarray, encoded: list[str]) -> None:
        kept = writer.kept(shard)
        found = {} if kept is None else {int(place): number for number, place in enumerate(kept.places)}
        features = np.zeros((len(rows), self.dim), np.float32)
        content = np.zeros((len(rows), 16), np.uint8)
        tokens: list[np.ndarray] = []
        for place, row in enumerate(rows.tolist()):
            if kept is not None and place in found:
                number = found[place]
                features[place] = kept.features[number]
                if kept.content is not None:
                    content[place] = kept.content[number]
                if kept.tokens is not None:
                    tokens.append(kept.tokens.slice(number, number + 1).values)
            else:
                assert row >= 0, "a row that nobody names must be kept"
                encoded.append(self.columns.ids[row])
                features[place] = embedded(self.sources[row], self.dim)
                content[place] = np.frombuffer(content_key(self.sources[row].encode()), np.uint8)
                tokens.append(np.tile(features[place, : self.token_dim], (1 + len(self.sources[row]) % 3, 1)))
        sequences = None
        if self.token_dim:
            sequences = Tokens(np.concatenate(tokens), offsets_of(np.array([len(values) for values in tokens])))
        writer.write(shard, features, tokens=sequences, content=content)


def embedded(source: str, dim: int) -> np.ndarray:
    """The features of a source."""
    return np.random.default_rng(list(source.encode())).normal(size=dim).astype(np.float32)


def manifest(
    ids: list[str], seed: int = 0, *, classes: tuple[str, ...] = CLASSES, multi: bool = False, shard_rows: int = 4
) -> Extraction:
    """Samples whose split, label and pair depend on the seed, and whose source is their id."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, len(classes), len(ids))
    if multi:
        labels = rng.integers(0, 2, (len(ids), len(classes))).astype(np.uint8)
    splits = rng.choice(["train", "test"], len(ids)).tolist()
    pairs = rng.choice(["p", "größe"], len(ids)).tolist()
    return Extraction(
        Columns(ids, splits, list(classes), labels, pair=pairs), [f"{name}.png" for name in ids], shard_rows
    )


def grown(path: Path, samples: Extraction) -> Growth:
    growth = grow(path, samples.columns, source_keys(samples.sources))
    assert growth is not None
    return growth


def label_names(columns: Columns) -> list[set[str]]:
    """The classes of each sample."""
    assert columns.labels is not None
    names = list(columns.classes)
    if columns.labels.ndim == 1:
        return [{names[label]} if label >= 0 else set() for label in columns.labels]
    return [{names[number] for number in np.flatnonzero(row)} for row in columns.labels]


def facts(columns: Columns) -> dict[str, tuple[object, ...]]:
    """Everything about each sample, by its id."""
    pairs = columns.pair or [None] * len(columns)
    rows = zip(columns.ids, columns.split, label_names(columns), pairs, strict=True)
    return {name: tuple(rest) for name, *rest in rows}


def stored_facts(cache: FeatureCache) -> dict[str, tuple[object, ...]]:
    block = cache.load()
    return facts(Columns(block.ids, block.split, cache.manifest.classes, block.labels, block.pair))


def ids(*numbers: int) -> list[str]:
    return [f"s{number:02d}" for number in numbers]


def assert_same_growth(one: Growth, other: Growth) -> None:
    assert facts(one.columns) == facts(other.columns)
    assert (list(one.columns.ids), one.columns.classes) == (list(other.columns.ids), other.columns.classes)
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one.sources, other.sources)
