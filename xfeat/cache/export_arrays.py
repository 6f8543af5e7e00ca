"""Writes a cache as NumPy files: one .npz with everything, or a .npy with a table of its rows beside it."""

import csv
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.export_rows import SEPARATOR, Exported, Outgoing, check_file, class_names, write_header
from xfeat.cache.files import whole_file
from xfeat.cache.reader import FeatureCache
from xfeat.cache.tokens import offsets_of


def export_npz(cache: FeatureCache, path: Path, splits: Collection[str] | None = None) -> tuple[int, int]:
    """Write ``features``, ``ids`` and ``split``, and what the cache has of the other columns.

    These are ``labels`` with ``classes``, ``pair``, ``camera``, and ``tokens`` with ``offsets``. Failed rows have no
    features and are left out. No more than a shard's features are in memory.

    Args:
        cache: the cache.
        path: the .npz file; replaced whole if it exists.
        splits: only rows of these.

    Returns:
        Rows written and failed rows left out.

    Raises:
        InputError: the name does not end in .npz, its folder does not exist, or there are no such rows.
    """
    check_file(path, ".npz")
    rows = Outgoing(cache, splits)
    with whole_file(path) as tmp, zipfile.ZipFile(tmp, "w") as archive:
        for name, array in _columns(rows, cache.manifest.classes):
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        m = cache.manifest
        with archive.open("features.npy", "w", force_zip64=True) as member:
            write_header(member, (len(rows), m.dim), m.dtype)
            for block in rows.blocks():
                member.write(np.ascontiguousarray(block.features).data)
        if m.token_dim:
            _write_tokens(archive, rows)
    return len(rows), rows.left_out


def export_npy(cache: FeatureCache, path: Path, splits: Collection[str] | None = None) -> Exported:
    """Write the features alone, in the stored type, and beside them a table with a line for each row.

    ``NAME.npy`` gets ``NAME.rows.csv``: ``id`` and ``split``, and ``label`` (names, several with | between), ``pair``
    and ``camera`` where the cache has them. Tokens are left out.

    Args:
        cache: the cache.
        path: the .npy file; replaced whole if it exists, as the table is.
        splits: only rows of these.

    Raises:
        InputError: the name does not end in .npy, its folder does not exist, or there are no such rows.
    """
    check_file(path, ".npy")
    rows = Outgoing(cache, splits)
    table = path.with_suffix(".rows.csv")
    with whole_file(table) as table_tmp, whole_file(path) as tmp:
        with tmp.open("wb") as file:
            write_header(file, (len(rows), cache.manifest.dim), cache.manifest.dtype)
            for block in rows.blocks():
                file.write(np.ascontiguousarray(block.features).data)
        with table_tmp.open("w", encoding="utf-8", newline="") as lines:
            cells = _cells(rows, cache.manifest.classes)
            writer = csv.writer(lines)
            writer.writerow(cells)
            writer.writerows(zip(*cells.values(), strict=True))
    notes = ("token sequences are left out: .npz holds them",) if cache.manifest.token_dim else ()
    return Exported((path, table), len(rows), rows.left_out, notes)


def _columns(rows: Outgoing, classes: list[str]) -> Iterator[tuple[str, NDArray[Any]]]:
    columns = rows.columns
    for name, strings in (
        ("ids", columns.ids),
        ("split", columns.split),
        ("pair", columns.pair),
        ("camera", columns.camera),
    ):
        if strings is not None:
            yield name, np.array(strings, dtype=np.str_)
    if columns.labels is not None:
        yield "labels", columns.labels
        yield "classes", np.array(classes, dtype=np.str_)


def _write_tokens(archive: zipfile.ZipFile, rows: Outgoing) -> None:
    m = rows.cache.manifest
    # Read twice: how many tokens the rows have stands before the first of them.
    lengths = [
        block.tokens.lengths for block in rows.blocks(with_features=False, with_tokens=True) if block.tokens is not None
    ]
    offsets = offsets_of(np.concatenate(lengths))
    with archive.open("offsets.npy", "w") as member:
        np.lib.format.write_array(member, offsets, allow_pickle=False)
    with archive.open("tokens.npy", "w", force_zip64=True) as member:
        write_header(member, (int(offsets[-1]), m.token_dim), m.dtype)
        for block in rows.blocks(with_features=False, with_tokens=True):
            if block.tokens is not None:
                member.write(np.ascontiguousarray(block.tokens.values).data)


def _cells(rows: Outgoing, classes: list[str]) -> dict[str, list[str]]:
    columns = rows.columns
    cells = {"id": columns.ids, "split": columns.split}
    if columns.labels is not None:
        cells["label"] = [SEPARATOR.join(names) for names in class_names(columns, classes)]
    others = {"pair": columns.pair, "camera": columns.camera}
    return cells | {name: strings for name, strings in others.items() if strings is not None}
