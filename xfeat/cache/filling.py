"""The features of a shard straight into the array they belong in: nothing is read twice, nothing is held twice."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.manifest import Manifest
from xfeat.cache.rows import Place, fill
from xfeat.cache.shard import read_features
from xfeat.cache.stored import AGAIN, compare
from xfeat.errors import InputError


def features_into(
    out: NDArray[Any],
    path: Path,
    manifest: Manifest,
    shard: int,
    place: Place | None,
    sums: NDArray[np.uint64] | None,
    keep: NDArray[np.bool_] | None = None,
) -> None:
    """Read the features of one shard into an array.

    Args:
        out: where the wanted rows go, C-contiguous.
        path: the shard's file.
        manifest: of its cache.
        shard: its number.
        place: where the features lie in it; None: HDF5 reads them.
        sums: their checksums, to compare them with; None: they are not compared.
        keep: (n,) the rows wanted; None: all.

    Raises:
        InputError: the shard is truncated or damaged, or was replaced since its columns were read.
    """
    if place is None:
        features = read_features(path, manifest, shard, check=sums is not None)
        out[...] = features if keep is None else features[keep]
        return
    features = out if keep is None else np.empty(place.shape, place.dtype)
    try:
        with place.open() as file:
            fill(file, features)
    except (OSError, EOFError) as error:
        raise InputError(f"shard {path} is truncated or damaged ({error}): {AGAIN}") from None
    if sums is not None:
        compare("features", features, sums, path)
    if keep is not None:
        np.compress(keep, features, axis=0, out=out)
