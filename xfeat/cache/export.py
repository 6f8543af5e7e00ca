"""Writes a cache as the .npz that ``xfeat import`` reads."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.files import whole_file
from xfeat.cache.reader import FeatureCache
from xfeat.errors import InputError


def export_npz(cache: FeatureCache, path: Path) -> tuple[int, int]:
    """Write ``features``, ``ids`` and ``split``, and what the cache has of the other columns.

    These are ``labels`` with ``classes``, ``pair``, ``camera``, and ``tokens`` with ``offsets``. Failed rows have no
    features and are left out.

    Args:
        cache: the cache.
        path: the .npz file; replaced whole if it exists.

    Returns:
        Rows written and failed rows left out.

    Raises:
        InputError: the name does not end in .npz, or its folder does not exist.
    """
    if path.suffix != ".npz":
        raise InputError(f"--out {path}: the name must end in .npz")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: the folder {path.parent} does not exist")
    block = cache.load(with_tokens=True)
    arrays: dict[str, NDArray[Any]] = {
        "features": block.features,
        "ids": np.array(block.ids, dtype=np.str_),
        "split": np.array(block.split, dtype=np.str_),
    }
    if block.labels is not None:
        arrays["labels"] = block.labels
        arrays["classes"] = np.array(cache.manifest.classes, dtype=np.str_)
    if block.pair is not None:
        arrays["pair"] = np.array(block.pair, dtype=np.str_)
    if block.camera is not None:
        arrays["camera"] = np.array(block.camera, dtype=np.str_)
    if block.tokens is not None:
        arrays["tokens"], arrays["offsets"] = block.tokens.values, block.tokens.offsets
    with whole_file(path) as tmp, tmp.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return len(block), cache.manifest.rows - len(block)
