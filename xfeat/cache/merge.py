"""Joins caches that were written apart, by several machines for example, into one."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.block import Block
from xfeat.cache.columns import Columns
from xfeat.cache.fingerprint import difference
from xfeat.cache.manifest import Manifest, load_manifest
from xfeat.cache.plan import Plan
from xfeat.cache.reader import FeatureCache
from xfeat.cache.shard import read_shard
from xfeat.cache.tokens import Tokens
from xfeat.cache.writer import CacheWriter
from xfeat.errors import InputError
from xfeat.progress import Advance

# What all parts have in common, in the words of an error line.
SAME = {
    "modality": "modality",
    "dtype": "dtype",
    "dim": "width",
    "token_dim": "width of tokens",
    "label_kind": "kind of labels",
    "classes": "classes",
}
COLUMNS = ("pair", "camera", "source", "content")


def part_path(out: Path, number: int, parts: int) -> Path:
    """Where part ``number`` of ``parts``, counted from 0, of the cache ``out`` is written: beside it."""
    return out.with_name(f"{out.name}.part-{number}-of-{parts}")


def find_parts(out: Path) -> list[Path]:
    """The parts that stand beside ``out``, in order.

    Raises:
        InputError: there are none, some are missing, or they are of several divisions.
    """
    pattern = re.compile(re.escape(out.name) + r"\.part-([0-9]+)-of-([0-9]+)")
    folder = out.resolve().parent
    names = [entry.name for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []
    found = sorted((int(hit[2]), int(hit[1])) for name in names if (hit := pattern.fullmatch(name)))
    if not found:
        raise InputError(f"no parts beside {out}: write them with --shard i/n, or name the caches to merge")
    divisions = sorted({parts for parts, _ in found})
    if len(divisions) > 1:
        words = " and ".join(f"of {parts}" for parts in divisions)
        raise InputError(
            f"beside {out} are parts {words}: remove those that do not belong, or name the caches to merge"
        )
    parts = divisions[0]
    there = {number for _, number in found}
    missing = [f"{number}/{parts}" for number in range(parts) if number not in there]
    if missing:
        rest = f" (+{len(missing) - 8} more)" if len(missing) > 8 else ""
        raise InputError(
            f"{out}: {len(missing)} of {parts} parts are missing: run --shard {', '.join(missing[:8])}{rest} first"
        )
    return [part_path(out, number, parts) for number in range(parts)]


def merge(parts: Sequence[Path], out: Path, advance: Advance | None = None) -> Manifest:
    """Join finished caches of one fingerprint into one, row after row. Resumes after a kill at any moment.

    One shard of the parts and one of the result are in memory at a time, beside the columns.

    Args:
        parts: the caches, in the order of their rows.
        out: the cache to write; a finished one of the same parts is left as it is.
        advance: called with the number of rows after each shard, first with those that were there; all are the parts'.

    Returns:
        The manifest of ``out``.

    Raises:
        InputError: no parts; one that is no cache, unfinished or damaged; parts that do not fit together (the
            difference is named); an id in two of them; or an ``out`` that is one of them or another cache.
    """
    caches = _opened(parts, out)
    columns, sources = _columns(caches)
    first = caches[0].manifest
    plan = Plan(
        first.modality,
        first.fingerprint,
        first.dim,
        columns,
        first.dtype,
        sources,
        shard_rows=first.shard_rows,
        token_dim=first.token_dim,
        parts=tuple(cache.manifest.content for cache in caches),
    )
    joined = _Joined(caches)
    with CacheWriter(out, plan) as writer:
        there = len(columns) - sum(stop - start for start, stop in map(writer.manifest.span, writer.missing))
        if advance and there:
            advance(there)
        for shard in list(writer.missing):
            start, stop = writer.manifest.span(shard)
            writer.write(shard, *joined.rows(start, stop))
            if advance:
                advance(stop - start)
        return writer.manifest if writer.manifest.complete else writer.finish()


class _Joined:
    """The rows of caches end to end, read shard by shard; the last shard stays, as the next rows start in it."""

    def __init__(self, caches: Sequence[FeatureCache]) -> None:
        self._shards: list[tuple[FeatureCache, int, int]] = []
        end = 0
        for cache in caches:
            self._shards += [(cache, shard, end + cache.manifest.span(shard)[0]) for shard in _shards(cache)]
            end += cache.manifest.rows
        self._starts = [start for _, _, start in self._shards]
        self._held: tuple[int, Block] | None = None

    def rows(self, start: int, stop: int) -> tuple[NDArray[Any], list[str], Tokens | None, NDArray[np.uint8] | None]:
        """Features, statuses, tokens and content of the rows from ``start`` to ``stop``."""
        manifest = self._shards[0][0].manifest
        features = np.empty((stop - start, manifest.dim), manifest.dtype)
        status: list[str] = []
        tokens: list[Tokens] = []
        content: list[NDArray[np.uint8]] = []
        while len(status) < stop - start:
            filled = len(status)
            block, first = self._block(start + filled)
            last = min(len(block), first + stop - start - filled)
            features[filled : filled + last - first] = block.features[first:last]
            status += block.status[first:last]
            if block.tokens is not None:
                piece = block.tokens.slice(first, last)
                tokens.append(Tokens(piece.values.copy(), piece.offsets))  # a view would keep its shard in memory
            if block.content is not None:
                content.append(block.content[first:last])
        return (
            features,
            status,
            Tokens.concatenate(tokens) if tokens else None,
            np.concatenate(content) if content else None,
        )

    def _block(self, row: int) -> tuple[Block, int]:
        """The shard that holds a row, and the row's place in it."""
        number = bisect_right(self._starts, row) - 1
        cache, shard, start = self._shards[number]
        if self._held is None or self._held[0] != number:
            self._held = None
            path = cache.path / f"{shard:05d}.h5"
            self._held = number, read_shard(path, cache.manifest, shard, with_tokens=True)
        return self._held[1], row - start


def _shards(cache: FeatureCache) -> range:
    return range(cache.manifest.shards)


def _opened(parts: Sequence[Path], out: Path) -> list[FeatureCache]:
    if not parts:
        raise InputError("nothing to merge: name the caches, or the one whose parts stand beside it")
    for number, part in enumerate(parts):
        if part.resolve() == out.resolve():
            raise InputError(f"--out {out} is one of the parts: choose a new folder")
        if part.resolve() in {other.resolve() for other in parts[:number]}:
            raise InputError(f"{part} is named twice")
    unfinished = [str(part) for part in parts if not load_manifest(part).complete]
    if unfinished:
        raise InputError(f"unfinished: {', '.join(unfinished)}; run the commands that write them again, they resume")
    caches = [FeatureCache(part) for part in parts]
    for other in caches[1:]:
        _check_fits(caches[0], other)
    return caches


def _check_fits(first: FeatureCache, other: FeatureCache) -> None:
    old, new = first.manifest, other.manifest
    if old.fingerprint_sha256 != new.fingerprint_sha256:
        changes = difference(old.fingerprint, new.fingerprint)
        raise InputError(f"{first.path} and {other.path} have different fingerprints ({changes}): they do not mix")
    for name, words in SAME.items():
        left, right = getattr(old, name), getattr(new, name)
        if left != right:
            values = "" if name == "classes" else f" ({left} and {right})"
            raise InputError(f"{first.path} and {other.path} differ in {words}{values}: they do not fit together")


def _columns(caches: Sequence[FeatureCache]) -> tuple[Columns, NDArray[np.uint64] | None]:
    """The columns of all caches end to end, and their source keys."""
    blocks = [cache.load(ok_only=False, with_features=False) for cache in caches]
    for cache, block in zip(caches, blocks, strict=True):
        for name in COLUMNS:
            if (getattr(block, name) is None) != (getattr(blocks[0], name) is None):
                raise InputError(f"only one of {caches[0].path} and {cache.path} has {name}: they do not fit together")
    _check_ids(caches, blocks)
    columns = Columns(
        ids=_joined([block.ids for block in blocks]) or [],
        split=_joined([block.split for block in blocks]) or [],
        classes=caches[0].manifest.classes,
        labels=_stacked([block.labels for block in blocks]),
        pair=_joined([block.pair for block in blocks]),
        camera=_joined([block.camera for block in blocks]),
    )
    return columns, _stacked([block.source for block in blocks])


def _check_ids(caches: Sequence[FeatureCache], blocks: Sequence[Block]) -> None:
    seen: dict[str, Path] = {}
    for cache, block in zip(caches, blocks, strict=True):
        twice = next((name for name in block.ids if name in seen), None)
        if twice is not None:
            raise InputError(f"id {twice!r} is in {seen[twice]} and in {cache.path}: each sample may be in one part")
        seen.update(dict.fromkeys(block.ids, cache.path))


def _joined(columns: Sequence[list[str] | None]) -> list[str] | None:
    there = [column for column in columns if column is not None]
    return list(chain.from_iterable(there)) if there else None


def _stacked(columns: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    there = [column for column in columns if column is not None]
    return np.concatenate(there) if there else None
