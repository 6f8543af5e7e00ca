"""Writes features made elsewhere into a cache."""

import os
from collections.abc import Callable
from pathlib import Path

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
        InputError: features that are not finite in ``dtype`` (nothing is written then), or another cache in ``out``.
    """
    features, columns = imported.features, imported.columns
    fingerprint = {
        "family": "import",
        "format": imported.format,
        "arrays": {"features": features.names},
        "content": features.content(columns.ids, dtype),
        "dtype": dtype,
        "dim": features.shape[1],
    }
    plan = Plan(modality, fingerprint, features.shape[1], columns, dtype)
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
            writer.write(shard, features.rows(*writer.manifest.span(shard)))
            advance()
        return writer.finish()


def default_folder(file: Path, modality: str) -> Path:
    """Where an import goes by default: ``<file stem>/<modality>.import`` in ``$XFEAT_CACHE``, or else in ``cache``."""
    return Path(os.environ.get("XFEAT_CACHE") or "cache") / file.stem / f"{modality}.import"
