"""A file of named arrays, whatever its format."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from xfeat.errors import InputError


@dataclass(frozen=True)
class ArrayFile:
    """Named arrays of one file, read one at a time.

    Attributes:
        path: the file.
        format: ``npz``, ``npy`` or ``mat``.
        names: name -> a few words such as ``2000x240``, or '' where finding out would mean reading.
        read: reads one array; the reference may reach into a cell array or struct where the format has them.
    """

    path: Path
    format: str
    names: Mapping[str, str]
    read: Callable[[str], NDArray[Any]]

    def has(self, reference: str) -> bool:
        """Whether the reference starts at one of the arrays."""
        return reference in self.names or root_name(reference) in self.names

    def listing(self) -> str:
        """All arrays, for an error line."""
        return ", ".join(f"{name} ({words})" if words else name for name, words in self.names.items()) or "nothing"


def root_name(reference: str) -> str:
    """The array that a reference such as ``X[0]`` or ``data.view`` starts at."""
    return reference.split("[", 1)[0].split(".", 1)[0]


def open_arrays(path: Path) -> ArrayFile:
    """Open a .npz, .npy or .mat file.

    Raises:
        InputError: the file does not exist, has another suffix, or is damaged.
    """
    # Imported here: each format brings its own reader.
    from xfeat.samples.importers.mat import open_mat
    from xfeat.samples.importers.npy import open_npy
    from xfeat.samples.importers.npz import open_npz

    openers = {".npz": open_npz, ".npy": open_npy, ".mat": open_mat}
    opener = openers.get(path.suffix.lower())
    if opener is None:
        raise InputError(f"{path}: only {', '.join(openers)} files can be imported, not {path.suffix or 'this'!r}")
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file")
    return opener(path)
