"""One process at a time owns a cache's folder."""

import re
from pathlib import Path

from filelock import BaseFileLock, Timeout

from xfeat.cache.files import TMP
from xfeat.cache.manifest import FILE
from xfeat.errors import InputError

LOCK = ".lock"
# What an interrupted write may leave behind; any other file is the user's.
OURS = re.compile(rf"{re.escape(LOCK)}|([0-9]{{5,}}\.h5|{re.escape(FILE)}){re.escape(TMP)}")


def claim(path: Path, lock: BaseFileLock) -> None:
    """Make the folder if there is none, and lock it.

    Raises:
        InputError: another process writes here, the folder holds something else, or it cannot be written.
    """
    if path.is_file():
        raise InputError(f"{path} is a file: --out must name a folder")
    strange = path.is_dir() and not (path / FILE).exists()
    if strange and any(not OURS.fullmatch(entry.name) for entry in path.iterdir()):
        raise InputError(f"{path} holds other files and no manifest.json: choose a new or empty folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(f"another process is writing to {path}: wait for it, or choose another folder") from None
    except OSError as error:
        raise unwritable(path, error) from None


def remove_leftovers(path: Path) -> None:
    """Remove what an interrupted write left behind."""
    for leftover in path.iterdir():
        if OURS.fullmatch(leftover.name) and leftover.name != LOCK:
            leftover.unlink()


def unwritable(path: Path, error: OSError) -> InputError:
    """The error to raise where the system does not take a write, a full disk for example."""
    return InputError(f"{path} cannot be written ({error.strerror}): what is finished is kept, run again to resume")
