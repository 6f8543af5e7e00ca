"""Makes small caches for the tests."""

from pathlib import Path

import numpy as np

from xfeat.cache import CacheWriter, Columns, FeatureCache, Plan


def make_plan(rows: int = 50, dim: int = 6, *, shard_rows: int = 16, dtype: str = "float32", seed: int = 0) -> Plan:
    """A plan whose every optional column is filled, with ids that are not ASCII."""
    rng = np.random.default_rng(seed)
    columns = Columns(
        ids=[f"größe/{row:05d}" for row in range(rows)],
        split=[("train", "val", "test")[row % 3] for row in range(rows)],
        classes=["cat", "dog", "鳥"],
        labels=rng.integers(-1, 3, rows),
        pair=[f"pair {row // 5}" for row in range(rows)],
        camera=[f"c{row % 2}" for row in range(rows)],
    )
    return Plan("image", {"family": "test", "seed": seed}, dim, columns, dtype, shard_rows=shard_rows)


def make_features(plan: Plan, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + 1).normal(size=(len(plan.columns), plan.dim)).astype(np.float32)


def write_cache(path: Path, plan: Plan, features: np.ndarray | None = None) -> FeatureCache:
    features = make_features(plan) if features is None else features
    with CacheWriter(path, plan) as writer:
        for shard in list(writer.missing):
            start, stop = writer.manifest.span(shard)
            writer.write(shard, features[start:stop])
        writer.finish()
    return FeatureCache(path)
