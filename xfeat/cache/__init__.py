"""The feature cache: a directory of immutable HDF5 shards and a manifest. Nothing here needs torch."""

from xfeat.cache.block import Block
from xfeat.cache.columns import OK, Columns
from xfeat.cache.manifest import SHARD_ROWS, Manifest, load_manifest
from xfeat.cache.plan import Plan
from xfeat.cache.reader import FeatureCache
from xfeat.cache.tokens import Tokens
from xfeat.cache.writer import CacheWriter

__all__ = [
    "OK",
    "SHARD_ROWS",
    "Block",
    "CacheWriter",
    "Columns",
    "FeatureCache",
    "Manifest",
    "Plan",
    "Tokens",
    "load_manifest",
]
