"""Makes small caches for the tests."""

from pathlib import Path

import numpy as np

from xfeat.cache import CacheWriter, Columns, FeatureCache, Plan, Tokens
from xfeat.cache.tokens import offsets_of


def make_plan(
    rows: int = 50, dim: int = 6, *, shard_rows: int = 16, dtype: str = "float32", seed: int = 0, token_dim: int = 0
) -> Plan:
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
    fingerprint = {"family": "test", "seed": seed}
    return Plan("image", fingerprint, dim, columns, dtype, shard_rows=shard_rows, token_dim=token_dim)


def make_features(plan: Plan, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + 1).normal(size=(len(plan.columns), plan.dim)).astype(np.float32)


def make_tokens(plan: Plan, seed: int = 0) -> Tokens | None:
    """One to five tokens a sample; None where the plan has none."""
    if not plan.token_dim:
        return None
    rng = np.random.default_rng(seed + 2)
    offsets = offsets_of(rng.integers(1, 6, len(plan.columns)))
    return Tokens(rng.normal(size=(offsets[-1], plan.token_dim)).astype(np.float32), offsets)


def write_cache(path: Path, plan: Plan, features: np.ndarray | None = None) -> FeatureCache:
    features, tokens = make_features(plan) if features is None else features, make_tokens(plan)
    with CacheWriter(path, plan) as writer:
        for shard in list(writer.missing):
            start, stop = writer.manifest.span(shard)
            writer.write(shard, features[start:stop], tokens=tokens.slice(start, stop) if tokens else None)
        writer.finish()
    return FeatureCache(path)


def assert_same_tokens(found: Tokens | None, expected: Tokens | None) -> None:
    assert found is not None
    assert expected is not None
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    np.testing.assert_array_equal(found.values, expected.values)
