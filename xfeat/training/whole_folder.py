"""Folders that are there whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xfeat.cache.files import TMP
from xfeat.errors import InputError


def check_vacant(out: Path) -> None:
    """Refuse a place that holds something.

    Raises:
        InputError: neither missing nor an empty folder.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} holds something already: choose a new or empty folder as --out")


@contextmanager
def whole_folder(out: Path, purpose: str) -> Iterator[Path]:
    """Build a folder under a temporary name beside ``out``; on success it takes that place in one step.

    Args:
        out: missing or empty.
        purpose: becomes a part of the temporary name; what a killed process left under it is removed.

    Raises:
        InputError: ``out`` holds something.
    """
    out = out.resolve()
    check_vacant(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    building = out.with_name(f".{out.name}.{purpose}{TMP}")
    if building.exists():
        shutil.rmtree(building)
    try:
        building.mkdir()
        yield building
        if out.exists():
            out.rmdir()  # empty; not every system renames over a folder
        building.rename(out)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
