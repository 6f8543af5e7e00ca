"""Whether a shard's datasets have the shapes its manifest says: looked at before anything is read."""

from typing import Any

from xfeat.cache.checksums import CHECK_ROWS
from xfeat.cache.datasets import Dataset, Datasets
from xfeat.cache.keys import CONTENT_BYTES
from xfeat.cache.manifest import Manifest
from xfeat.cache.tokens import offsets_problem

PER_SAMPLE = ("ids", "split", "status", "pair", "camera", "labels", "source", "content")


def check_layout(file: Datasets, manifest: Manifest, shard: int) -> None:
    """Check shapes and types, and that what the header claims can be in the file: a damaged one can claim any size.

    While a cache is unfinished, a shard may hold fewer rows than it will: the first of its span.

    Args:
        file: the shard.
        manifest: of its cache.
        shard: its number.

    Raises:
        ValueError: something has another shape or type.
        KeyError: something is not there.
    """
    rows = check_features(file, manifest, shard)
    for name in PER_SAMPLE:
        if name in file and file[name].shape[:1] != (rows,):
            raise ValueError(f"{name} has {file[name].shape} rows for {rows} samples")
    if "source" in file:
        _check(file["source"], "source", (rows,), "uint64")
    if "content" in file:
        _check(file["content"], "content", (rows, CONTENT_BYTES), "uint8")
    if manifest.token_dim:
        _check_tokens(file, manifest, rows)
    elif "tokens" in file or "offsets" in file:
        raise ValueError("it holds tokens, the manifest says there are none")


def check_features(file: Datasets, manifest: Manifest, shard: int) -> int:
    """As ``check_layout``, of nothing but the features and their checksums.

    Returns:
        The number of rows.
    """
    start, stop = manifest.span(shard)
    rows = stop - start
    if not manifest.complete and 0 < len(file["features"]) < rows:
        rows = len(file["features"])
    for name in file:
        if file[name].nbytes > file.size:
            raise ValueError(f"{name} has {file[name].nbytes} bytes in a file of {file.size}")
    _check(file["features"], "features", (rows, manifest.dim), manifest.dtype)
    _check(file["checksums"], "checksums", (-(-rows // CHECK_ROWS),), "uint64")
    return rows


def _check_tokens(file: Datasets, manifest: Manifest, rows: int) -> None:
    _check(file["offsets"], "offsets", (rows + 1,), "int64")
    total = len(file["tokens"])
    _check(file["tokens"], "tokens", (total, manifest.token_dim), manifest.dtype)
    _check(file["token_checksums"], "token_checksums", (-(-total // CHECK_ROWS),), "uint64")
    if problem := offsets_problem(file["offsets"].read(), total):
        raise ValueError(problem)


def _check(dataset: Dataset, name: str, shape: tuple[int, ...], dtype: Any) -> None:
    if dataset.shape != shape or dataset.dtype != dtype:
        raise ValueError(f"{name} are {dataset.shape} {dataset.dtype}, the manifest says {shape} {dtype}")
