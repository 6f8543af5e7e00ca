"""Re-reads every byte of a cache and says what is wrong with it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from xfeat.cache.block import Block
from xfeat.cache.columns import OK
from xfeat.cache.files import TMP
from xfeat.cache.manifest import content_digest, load_manifest
from xfeat.cache.shard import shard_checksums
from xfeat.errors import InputError


def verify(path: Path, advance: Callable[[], None] = lambda: None) -> list[str]:
    """Check checksums, fingerprints, row counts, unique ids, finite features and tokens, and leftovers.

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
    failed = tokens = 0
    there = {int(file.stem): file for file in sorted(path.glob("*.h5")) if file.stem.isdigit()}
    # By the files that are there: a damaged manifest can claim any number of shards.
    missing = manifest.shards - sum(shard < manifest.shards for shard in there)
    if missing and manifest.complete:
        problems.append(
            f"{missing} of {manifest.shards} shards are missing: run the command that wrote the cache again"
        )
    for shard, file in there.items():
        if shard >= manifest.shards:
            problems.append(f"{file.name}: the manifest knows of {manifest.shards} shards only")
            continue
        try:
            block, checksums[file.name] = shard_checksums(file, manifest, shard)
        except InputError as error:
            problems.append(str(error))
        else:
            problems += _wrong_values(file.name, block)
            tokens += 0 if block.tokens is None else len(block.tokens.values)
            failed += sum(word != OK for word in block.status)
            ids.update(block.ids)
        advance()
    problems += [f"id {name!r} appears {count} times" for name, count in ids.items() if count > 1]
    if manifest.complete and not problems:
        if content_digest(manifest, checksums) != manifest.content:
            problems.append("the shards are not those the manifest was written for")
        if failed != manifest.counts.get("failed"):
            problems.append(f"{failed} failed rows, the manifest says {manifest.counts.get('failed')}")
        if tokens != manifest.tokens:
            problems.append(f"{tokens} tokens, the manifest says {manifest.tokens}")
    return problems


def _wrong_values(name: str, block: Block) -> list[str]:
    problems = [] if np.isfinite(block.features).all() else [f"{name}: features that are not finite"]
    if block.tokens is None:
        return problems
    if not np.isfinite(block.tokens.values).all():
        problems.append(f"{name}: tokens that are not finite")
    ok = np.array([word == OK for word in block.status], dtype=bool)
    wrong = int(((block.tokens.lengths > 0) != ok).sum())
    return problems + ([f"{name}: {wrong} samples without tokens, or failed ones with some"] if wrong else [])
