"""Re-reads every byte of a cache and says what is wrong with it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from xfeat.cache.columns import OK
from xfeat.cache.files import TMP
from xfeat.cache.manifest import content_digest, load_manifest
from xfeat.cache.shard import shard_checksums
from xfeat.errors import InputError


def verify(path: Path, advance: Callable[[], None] = lambda: None) -> list[str]:
    """Check checksums, fingerprints, row counts, unique ids, finite features and leftovers.

    Args:
        path: the cache.
        advance: called after each shard.

    Returns:
        One line per problem; empty when the cache is whole.

    Raises:
        InputError: there is no cache, or its manifest cannot be read.
    """
    manifest = load_manifest(path)
    problems = [] if manifest.complete else ["unfinished: run the command that writes it again, it resumes"]
    problems += [
        f"{left.name}: left by an interrupted write; the next write removes it" for left in path.glob(f"*{TMP}")
    ]
    checksums: dict[str, bytes] = {}
    ids: Counter[str] = Counter()
    failed = 0
    for shard in range(manifest.shards):
        start, stop = manifest.span(shard)
        file = path / f"{shard:05d}.h5"
        if not file.exists() and not manifest.complete:
            continue
        try:
            block, checksums[file.name] = shard_checksums(file, manifest.fingerprint_sha256)
        except InputError as error:
            problems.append(str(error))
        else:
            if block.features.shape != (stop - start, manifest.dim) or str(block.features.dtype) != manifest.dtype:
                problems.append(f"{file.name}: {block.features.shape} {block.features.dtype} does not fit the manifest")
            if not np.isfinite(block.features).all():
                problems.append(f"{file.name}: features that are not finite")
            failed += sum(word != OK for word in block.status)
            ids.update(block.ids)
        advance()
    problems += [f"id {name!r} appears {count} times" for name, count in ids.items() if count > 1]
    if manifest.complete and not problems:
        if content_digest(checksums) != manifest.content:
            problems.append("the shards are not those the manifest was written for")
        if failed != manifest.counts.get("failed"):
            problems.append(f"{failed} failed rows, the manifest says {manifest.counts.get('failed')}")
    return problems
