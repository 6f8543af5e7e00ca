"""A file of named arrays, whatever its format."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from xfeat.errors import InputError

SUFFIXES = (".npz", ".npy", ".mat", ".h5", ".hdf5", ".parquet")
USUAL = {"ids": "id", "labels": "label"}  # how tables and HDF5 files call what this package's arrays call otherwise


@dataclass(frozen=True)
class ArrayFile:
    """Named arrays of one file, read one at a time.

    Attributes:
        path: the file.
        format: ``npz``, ``npy``, ``mat``, ``h5``, ``parquet`` or ``embeddings``.
        names: name -> a few words such as ``2000x240``, or '' where finding out would mean reading.
        read: reads one array; the reference may reach into a cell array or struct where the format has them.
        usual: field of ``Names`` -> the reference that stands for it where the user names none.
        notes: what a reader should know, one line each.
        parts: all arrays that a name stands for, one after the other, each with a name; none where it is one array.
        wild: ``prefix*`` stands for several arrays side by side.
    """

    path: Path
    format: str
    names: Mapping[str, str]
    read: Callable[[str], NDArray[Any]]
    usual: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    parts: Callable[[str], list[tuple[str, NDArray[Any]]]] | None = None
    wild: bool = False

    def has(self, reference: str) -> bool:
        """Whether the reference starts at one of the arrays."""
        return bool(self.covered(reference))

    def covered(self, reference: str) -> list[str]:
        """The arrays that a reference reads from."""
        if reference in self.names:
            return [reference]
        if self.wild and reference.endswith("*"):
            return [name for name in self.names if name.startswith(reference[:-1])]
        root = root_name(reference)
        return [root] if root in self.names else []

    def listing(self) -> str:
        """All arrays, for an error line."""
        return ", ".join(f"{name} ({words})" if words else name for name, words in self.names.items()) or "nothing"


def root_name(reference: str) -> str:
    """The array that a reference such as ``X[0]`` or ``data.view`` starts at."""
    return reference.split("[", 1)[0].split(".", 1)[0]


def open_arrays(path: Path, modality: str = "") -> ArrayFile:
    """Open a .npz, .npy, .mat, .h5, .hdf5 or .parquet file, or a folder of embeddings in numbered parts.

    Args:
        path: the file or folder.
        modality: name of the modality; of a folder of embeddings it chooses the kind.

    Raises:
        InputError: it does not exist, has another suffix, or is damaged.
    """
    # Imported here: each format brings its own reader.
    from xfeat.samples.importers.embeddings import open_embeddings
    from xfeat.samples.importers.hdf5 import open_hdf5
    from xfeat.samples.importers.mat import open_mat
    from xfeat.samples.importers.npy import open_npy
    from xfeat.samples.importers.npz import open_npz
    from xfeat.samples.importers.parquet import open_parquet

    if path.is_dir():
        return open_embeddings(path, modality)
    openers = dict(zip(SUFFIXES, (open_npz, open_npy, open_mat, open_hdf5, open_hdf5, open_parquet), strict=True))
    opener = openers.get(path.suffix.lower())
    if opener is None:
        raise InputError(
            f"{path}: only {', '.join(SUFFIXES)} files and folders of embeddings can be imported, "
            f"not {path.suffix or 'this'!r}"
        )
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file")
    return opener(path)
