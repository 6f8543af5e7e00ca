"""Writes a cache as a folder that a nearest-neighbour library reads: vectors, ids, and what they are."""

import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.export_rows import Exported, Outgoing, write_header
from xfeat.cache.files import TMP
from xfeat.cache.reader import FeatureCache
from xfeat.errors import InputError

FORMAT = "xfeat vectors"
META, VECTORS, IDS, README = "meta.json", "vectors.npy", "ids.json", "README.txt"
HOW = """\
{rows} {modality} vectors of {dim} numbers, float32, {length}. Row i of vectors.npy has the id ids.json[i].
An exact index in faiss (pip install faiss-cpu); inner product {cosine}:

    import faiss, json, numpy as np, pathlib
    vectors = np.load("vectors.npy", mmap_mode="r")
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)

    ids = json.loads(pathlib.Path("ids.json").read_text("utf-8"))
    scores, rows = index.search(queries, 10)  # queries: float32 (q, {dim}){queries}
    print([ids[row] for row in rows[0]])      # the ten nearest to the first query
"""


def export_faiss(
    cache: FeatureCache, out: Path, splits: Collection[str] | None = None, *, normalise: bool = True
) -> Exported:
    """Write ``vectors.npy``, ``ids.json``, ``meta.json`` and ``README.txt``.

    The vectors are (n, D) float32, C-contiguous, so that they can be memory-mapped. Divided by their L2 norm, the inner
    product of two is their cosine; a row of zeros stays one. No index is written: the exact one is a line of faiss, and
    the choice among the others is the user's.

    Args:
        cache: the cache.
        out: the folder; an earlier export there is replaced whole, nothing else is.
        splits: only rows of these.
        normalise: divide each vector by its norm.

    Raises:
        InputError: the folder holds something else, the folder above it does not exist, or there are no such rows.
    """
    rows = Outgoing(cache, splits)
    with whole_folder(out, FORMAT, (META, VECTORS, IDS, README)) as folder:
        zeros = _write_vectors(folder / VECTORS, rows, normalise)
        _write(folder / IDS, json.dumps(rows.columns.ids, ensure_ascii=False))
        _write(folder / META, json.dumps(_meta(rows, splits, normalise, zeros), indent=1, ensure_ascii=False) + "\n")
        words = ("of length 1", "is cosine", " of length 1") if normalise else ("as stored", "is not cosine", "")
        names = dict(zip(("length", "cosine", "queries"), words, strict=True))
        m = cache.manifest
        _write(folder / README, HOW.format(rows=len(rows), modality=m.modality, dim=m.dim, **names))
    notes = (f"{zeros:,} rows are all zeros and have no direction",) if zeros else ()
    return Exported((out,), len(rows), rows.left_out, notes)


def _write_vectors(path: Path, rows: Outgoing, normalise: bool) -> int:
    zeros = 0
    with path.open("wb") as file:
        write_header(file, (len(rows), rows.cache.manifest.dim), "float32")
        for block in rows.blocks():
            vectors: NDArray[np.float32] = np.ascontiguousarray(block.features, np.float32)
            norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
            zeros += int((norms == 0).sum())
            file.write(
                (vectors / np.where(norms == 0, 1, norms)).astype(np.float32).data if normalise else vectors.data
            )
        file.flush()
        os.fsync(file.fileno())
    return zeros


def _meta(rows: Outgoing, splits: Collection[str] | None, normalise: bool, zeros: int) -> dict[str, object]:
    m = rows.cache.manifest
    return {
        "format": FORMAT,
        "version": 1,
        "modality": m.modality,
        "rows": len(rows),
        "dim": m.dim,
        "dtype": "float32",
        "metric": "inner product",
        "normalised": normalise,
        "zero_rows": zeros,
        "splits": sorted(m.counts["split"] if splits is None else set(splits)),
        "cache_dtype": m.dtype,
        "fingerprint_sha256": m.fingerprint_sha256,
        "content_sha256": m.content,
    }


@contextmanager
def whole_folder(out: Path, form: str, files: Collection[str], option: str = "--out") -> Iterator[Path]:
    """Build an export's folder beside ``out``; on success it takes that place.

    Args:
        out: missing, empty, or an earlier export, which is replaced whole.
        form: what the ``format`` of an earlier export's meta.json says.
        files: names of the files that such an export has; a folder that holds others is none.
        option: what names the folder on the command line, for messages.

    Raises:
        InputError: the folder holds something else, or the folder above it does not exist.
    """
    shown, out = out, out.resolve()
    if not out.parent.is_dir():
        raise InputError(f"{option} {shown}: the folder {out.parent} does not exist")
    if not _ours(out, form, files):
        raise InputError(
            f"{option} {shown} holds something else than an export of vectors: choose a new or empty folder"
        )
    building, old = (out.with_name(f".{out.name}.{name}{TMP}") for name in ("export", "replaced"))
    if old.exists() and not out.exists():
        old.rename(out)  # a process was killed between the two steps below
    for leftover in (building, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        building.mkdir()
        yield building
        if out.exists():
            out.rename(old)
        building.rename(out)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        if old.exists() and not out.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _ours(out: Path, form: str, files: Collection[str]) -> bool:
    if not out.exists():
        return True
    if not out.is_dir():
        return False
    names = {entry.name for entry in out.iterdir()}
    if not names:
        return True
    try:
        about = json.loads((out / META).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return names <= set(files) and isinstance(about, dict) and about.get("format") == form


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
