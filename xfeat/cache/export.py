"""Takes a cache elsewhere: .npz, .npy, .parquet, or a folder of vectors for a nearest-neighbour library."""

from collections.abc import Collection
from pathlib import Path

from xfeat.cache.export_arrays import export_npy, export_npz
from xfeat.cache.export_faiss import export_faiss
from xfeat.cache.export_parquet import export_parquet
from xfeat.cache.export_rows import Exported
from xfeat.cache.reader import FeatureCache
from xfeat.errors import InputError

__all__ = ["FORMATS", "Exported", "export", "export_faiss", "export_npy", "export_npz", "export_parquet"]
FORMATS = ("npz", "npy", "parquet", "faiss")


def export(
    cache: FeatureCache,
    out: Path,
    *,
    format: str | None = None,
    splits: Collection[str] | None = None,
    normalise: bool = True,
) -> Exported:
    """Write a cache in another format, whole or not at all, with no more than a shard's features in memory.

    Args:
        cache: the cache.
        out: the file; for ``faiss`` the folder.
        format: of ``FORMATS``; None goes by the suffix of ``out``.
        splits: only rows of these splits.
        normalise: for ``faiss``: divide each vector by its L2 norm.

    Raises:
        InputError: no such format, a name that does not fit it, a full disk, or whatever the format refuses.
    """
    format = (format or out.suffix[1:]).lower()
    if format not in FORMATS:
        endings = ", ".join(f".{name}" for name in FORMATS[:-1])
        raise InputError(f"--out {out}: the name must end in {endings} or .{FORMATS[-1]} (or give --format)")
    if not normalise and format != "faiss":
        raise InputError(f"--no-normalise is for --format faiss: .{format} holds the features as they are stored")
    try:
        if format == "faiss":
            return export_faiss(cache, out, splits, normalise=normalise)
        if format == "npz":
            return Exported((out,), *export_npz(cache, out, splits))
        return (export_npy if format == "npy" else export_parquet)(cache, out, splits)
    except OSError as error:  # of a full disk, say, it does not name the file; what was begun is removed
        if error.filename:
            raise
        raise InputError(f"--out {out}: cannot be written ({error.strerror or error}); nothing is left of it") from None
