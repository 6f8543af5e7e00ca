"""Writes features made elsewhere into a cache."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xfeat.cache import CacheWriter, Manifest, Plan
from xfeat.progress import progress
from xfeat.samples.importers import Imported


def import_features(
    imported: Imported, out: Path, modality: str, dtype: str = "float32", say: Callable[[str], None] = lambda _: None
) -> Manifest:
    """Write a cache, or the shards that are still missing from it.

    The fingerprint holds the digest of the features themselves and no path: the same arrays from another place are the
    same cache.

    Args:
        imported: samples and features.
        out: folder of the cache.
        modality: name of the modality.
        dtype: ``float32`` or ``float16``.
        say: told in words when shards are there already.

    Returns:
        The manifest of the complete cache.

    Raises:
        InputError: features or tokens that are not finite in ``dtype`` (nothing is written then), or another cache in
            ``out``.
    """
    features, columns, tokens = imported.features, imported.columns, imported.tokens
    width = 0 if tokens is None else tokens.dim
    plan = Plan(modality, _fingerprint(imported, dtype), features.shape[1], columns, dtype, token_dim=width)
    with CacheWriter(out, plan) as writer, progress(f"import {modality}", len(writer.missing)) as advance:
        missing = list(writer.missing)
        if not missing and writer.manifest.complete:
            say(f"{out} is already complete: nothing to do")
            return writer.manifest
        if writer.damaged:
            say(f"{len(writer.damaged)} damaged shards are written again")
        if len(missing) < writer.manifest.shards:
            say(f"resumed: {writer.manifest.shards - len(missing)} of {writer.manifest.shards} shards were there")
        for shard in missing:
            start, stop = writer.manifest.span(shard)
            sequences = None if tokens is None else tokens.rows(start, stop)
            writer.write(shard, features.rows(start, stop), tokens=sequences)
            advance()
        return writer.finish()


def _fingerprint(imported: Imported, dtype: str) -> dict[str, Any]:
    features, ids, tokens = imported.features, imported.columns.ids, imported.tokens
    arrays: dict[str, Any] = {"features": features.names}
    made: dict[str, Any] = {"family": "import", "format": imported.format, "arrays": arrays}
    if tokens is not None:
        # First: where the features are the tokens' means, it is a token that is not finite.
        made |= {"token_content": tokens.content(ids, dtype), "token_dim": tokens.dim}
        arrays["tokens"] = tokens.name
    return made | {"content": features.content(ids, dtype), "dtype": dtype, "dim": features.shape[1]}


def default_folder(file: Path, modality: str) -> Path:
    """Where an import goes by default: ``<file stem>/<modality>.import`` in ``$XFEAT_CACHE``, or else in ``cache``."""
    return Path(os.environ.get("XFEAT_CACHE") or "cache") / file.stem / f"{modality}.import"
