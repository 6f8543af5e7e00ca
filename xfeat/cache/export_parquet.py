"""Writes a cache as a Parquet table with a row per sample."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from xfeat.cache.arrow import import_pyarrow
from xfeat.cache.block import Block
from xfeat.cache.export_rows import Exported, Outgoing, check_file, class_names
from xfeat.cache.files import whole_file
from xfeat.cache.manifest import Manifest
from xfeat.cache.reader import FeatureCache

KEY = b"xfeat"  # of the schema's metadata: what the columns do not say, as JSON
TEXTS = ("id", "split", "pair", "camera")


def export_parquet(cache: FeatureCache, path: Path, splits: Collection[str] | None = None) -> Exported:
    """Write ``id``, ``split``, ``label``, ``pair``, ``camera`` and ``features``, a row group per shard.

    ``label`` is the name of the class, null for none, or a list of names in multi-label data; ``features`` are lists of
    D float16 or float32, as stored. ``label``, ``pair`` and ``camera`` are there if the cache has them. Tokens are left
    out. The schema's metadata name the classes in label order.

    Args:
        cache: the cache.
        path: the .parquet file; replaced whole if it exists.
        splits: only rows of these.

    Raises:
        InputError: pyarrow is missing, the name does not end in .parquet, its folder does not exist, or there are no
            such rows.
    """
    pa, pq = import_pyarrow()
    check_file(path, ".parquet")
    rows = Outgoing(cache, splits)
    m = cache.manifest
    schema = _schema(pa, m, rows.columns)
    texts = [name for name in schema.names if name in TEXTS]
    # Only strings repeat themselves: a dictionary of features would be as large as they are.
    with whole_file(path) as tmp, pq.ParquetWriter(tmp, schema, use_dictionary=texts) as writer:
        for block in rows.blocks():
            writer.write_table(pa.Table.from_arrays(_arrays(pa, block, m, schema), schema=schema))
    notes = ("token sequences are left out: .npz holds them",) if m.token_dim else ()
    return Exported((path,), len(rows), rows.left_out, notes)


def _schema(pa: Any, m: Manifest, columns: Block) -> Any:
    fields = [("id", pa.string()), ("split", pa.string())]
    if columns.labels is not None:
        fields.append(("label", pa.string() if m.label_kind == "single" else pa.list_(pa.string())))
    fields += [(name, pa.string()) for name in ("pair", "camera") if getattr(columns, name) is not None]
    number = pa.float16() if m.dtype == "float16" else pa.float32()
    fields.append(("features", pa.list_(number, m.dim)))
    about = {
        "modality": m.modality,
        "label_kind": m.label_kind,
        "classes": m.classes,
        "fingerprint_sha256": m.fingerprint_sha256,
    }
    return pa.schema(fields, metadata={KEY: json.dumps(about, ensure_ascii=False).encode()})


def _arrays(pa: Any, block: Block, m: Manifest, schema: Any) -> list[Any]:
    columns: dict[str, Any] = {"id": block.ids, "split": block.split, "pair": block.pair, "camera": block.camera}
    if block.labels is not None:
        names = class_names(block, m.classes)
        columns["label"] = names if m.label_kind == "multi" else [cell[0] if cell else None for cell in names]
    flat = pa.array(np.ascontiguousarray(block.features).reshape(-1))
    features = pa.FixedSizeListArray.from_arrays(flat, m.dim)
    return [features if field.name == "features" else pa.array(columns[field.name], field.type) for field in schema]
