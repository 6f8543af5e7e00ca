"""Writes the embeddings of an index as a folder that faiss searches on its own."""

import json
from pathlib import Path
from typing import Any

from xfeat.cache.export_faiss import IDS, META, README, whole_folder
from xfeat.cache.files import write_text
from xfeat.errors import InputError
from xfeat.search.document import row
from xfeat.search.index import Index

FORMAT = "xfeat search index"
VECTORS, ROWS = "index.faiss", "rows.jsonl"
FILES = (VECTORS, IDS, ROWS, META, README)
ADDED_AT_ONCE = 1 << 16
HOW = """\
{rows} embeddings of {dim} numbers of the run {run} ({modalities}), compared by {similarity}.
Row i of index.faiss is line i of rows.jsonl (modality, id, split, label, pair), and ids.json[i] is "MODALITY:ID".
An exact index, faiss.IndexFlatIP{unit}. With faiss alone (pip install faiss-cpu):

    import faiss, json, pathlib
    index = faiss.read_index("index.faiss")
    ids = json.loads(pathlib.Path("ids.json").read_text("utf-8"))

    query = index.reconstruct(0)[None]      # float32 (1, {dim}): a row of the index ...
    scores, rows = index.search(query, 10)  # ... and the ten nearest to it, itself included
    print([ids[row] for row in rows[0]])

Vectors of other queries come from the run:{length}

    from pathlib import Path
    from xfeat.search.index import open_index
    queries = open_index(Path("{run}")).embed_rows([("{first}", "ID")]).cpu().numpy(){scaled}
"""


def export_index(index: Index, out: Path) -> Path:
    """Write ``index.faiss``, ``ids.json``, ``rows.jsonl``, ``meta.json`` and ``README.txt``.

    The index is exact: an ``IndexFlatIP`` over rows of length 1 where the run compares by cosine, over the embeddings
    as they are where it compares by inner product; so its scores are those of `Index.search`.

    Args:
        index: what to write.
        out: the folder; an earlier export there is replaced whole, nothing else is.

    Returns:
        The folder.

    Raises:
        InputError: faiss is not there, the folder holds something else, or the folder above it does not exist.
    """
    faiss = find_faiss()
    cosine = index.similarity == "cosine"
    with whole_folder(out, FORMAT, FILES, "--export") as folder:
        flat = faiss.IndexFlatIP(index.vectors.shape[1])
        for piece in index.vectors.split(ADDED_AT_ONCE):
            flat.add(piece.cpu().contiguous().numpy())
        faiss.write_index(flat, str(folder / VECTORS))
        items = [index.item(place) for place in range(len(index))]
        write_text(folder / IDS, json.dumps([f"{item.modality}:{item.id}" for item in items], ensure_ascii=False))
        lines = [json.dumps({"modality": item.modality, **row(item)}, ensure_ascii=False) for item in items]
        write_text(folder / ROWS, "\n".join(lines) + "\n")
        write_text(folder / META, json.dumps(_meta(index), indent=1, ensure_ascii=False) + "\n")
        write_text(folder / README, _how(index, cosine))
    return out


def find_faiss() -> Any:
    """The library.

    Raises:
        InputError: it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise InputError('writing a search index needs faiss: pip install "xfeat[faiss]"') from None
    return faiss


def _meta(index: Index) -> dict[str, object]:
    run = index.run
    return {
        "format": FORMAT,
        "run": str(run.path),
        "method": run.config.method,
        "seed": run.config.seed,
        "rows": len(index),
        "dim": index.vectors.shape[1],
        "dtype": "float32",
        "index": "IndexFlatIP",
        "similarity": index.similarity,
        "normalised": index.similarity == "cosine",
        "gallery": index.counts,
        "splits": index.splits or None,
        "classes": index.classes or None,
        "branches": {name: str(run[name].branch.note.get("sha256", "")) for name in index.counts},
    }


def _how(index: Index, cosine: bool) -> str:
    return HOW.format(
        rows=len(index),
        dim=index.vectors.shape[1],
        run=index.run.path,
        modalities=", ".join(f"{name} {count}" for name, count in index.counts.items()),
        similarity=index.similarity,
        unit=" over rows of length 1: inner product is cosine" if cosine else " over embeddings as they are",
        length=" divide them by their length for cosines." if cosine else "",
        first=next(iter(index.counts)),
        scaled="\n    faiss.normalize_L2(queries)" if cosine else "",
    )
