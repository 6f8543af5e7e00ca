"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xfeat.errors import InputError

TMP = ".tmp"


@contextmanager
def whole_file(path: Path, *, lasting: bool = True) -> Iterator[Path]:
    """Write to the yielded temporary name; on success it is synced and takes the place of ``path`` in one step.

    A crash at any moment leaves either the old file or the new one, and perhaps a ``*.tmp`` that nobody reads. Where
    ``path`` is a link, the file it leads to is replaced.

    Args:
        path: the file.
        lasting: sync the folder too, so that a power cut does not take the file's name back. Until that is done, for
            this file or a later one of the folder, it may.

    Raises:
        InputError: there is something at ``path`` that is not a plain file.
    """
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a plain file: it is not written to")
    tmp = path.with_name(path.name + TMP)
    try:
        yield tmp
        _sync(tmp)
        tmp.replace(path)
        if lasting:
            _sync(path.parent)
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, in UTF-8."""
    with whole_file(path) as tmp:
        tmp.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot sync a directory
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
