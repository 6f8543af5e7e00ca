"""Paths that stay under a folder."""

import os
import posixpath
import re
from functools import lru_cache
from pathlib import Path

_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")  # of POSIX or of Windows, wherever the manifest is read


class Rooted:
    """Checks that relative paths stay under ``root``, symbolic links resolved.

    Attributes:
        root: an absolute folder without symbolic links in it.
    """

    # Strings rather than Path objects, and one look-up per folder: manifests name millions of files in few folders.
    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder_stays = lru_cache(maxsize=None)(self._stays)

    def __reduce__(self) -> tuple[type["Rooted"], tuple[Path]]:
        return Rooted, (self.root,)  # look-ups made so far stay here

    def relative(self, path: str) -> str:
        """The path in its shortest POSIX form, relative to the root. The file need not exist.

        Raises:
            ValueError: absolute, or leading out of the root; the message continues a sentence about the path.
        """
        if "\0" in path:
            raise ValueError("holds a NUL character")
        if _ABSOLUTE.match(path):
            raise ValueError(f"is absolute: make it relative to the root {self.root}")
        short = posixpath.normpath(path.replace(os.sep, "/"))
        if short in (".", "..") or short.startswith("../"):
            raise ValueError(f"leaves the root {self.root}: choose a --root that holds all files")
        link = os.path.islink(f"{self.root}/{short}")  # noqa: PTH114
        if not self._folder_stays(posixpath.dirname(short)) or (link and not self._stays(short)):
            raise ValueError(
                f"leaves the root {self.root} through a symbolic link: choose a --root that holds all files"
            )
        return short

    def _stays(self, short: str) -> bool:
        # realpath, not resolve: a loop of links is then a file that cannot be opened, not an exception here.
        return Path(os.path.realpath(self.root / short)).is_relative_to(self.root)
