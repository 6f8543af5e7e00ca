"""One sample from its source to what a backbone encodes, or the reason why not."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfeat.backbones.base import Cut
from xfeat.cache import OK
from xfeat.cache.keys import content_key
from xfeat.errors import SampleError
from xfeat.samples.manifest import Samples
from xfeat.samples.paths import Rooted

REASON_WIDTH = 120
MAX_TEXT_BYTES = 4_000_000
NOTHING = bytes(16)  # the content key of what could not be read at all


@dataclass(frozen=True)
class Decoded:
    """One sample after decoding.

    Attributes:
        row: its row among the samples.
        item: what the backbone's ``load`` returned; None where it failed.
        status: ``ok``, or the reason of the failure in one short line without absolute paths.
        content: 16 bytes, the key of the file's bytes or of the text; zeros where there was nothing to read.
        cut: the backbone had to shorten it.
    """

    row: int
    item: Any
    status: str = OK
    content: bytes = NOTHING
    cut: bool = False


class Decoder:
    """Decodes rows of some samples with a backbone; no file is opened outside the samples' root. Can be pickled.

    Args:
        samples: what to read.
        load: the backbone's.
        text_files: sources of texts are files, in UTF-8.
    """

    def __init__(self, samples: Samples, load: Callable[[Path | str], Any], *, text_files: bool = False) -> None:
        self._sources, self._text, self._load = samples.sources, samples.kind == "text", load
        self._literal = self._text and not text_files
        self._given_root = str(samples.root)
        self._rooted = Rooted(samples.root.resolve())

    def __call__(self, row: int) -> Decoded:
        """Decode one row. Whatever a damaged sample makes the decoder raise becomes its status."""
        content = NOTHING
        try:
            source = self._source(self._sources[row])
            content = _key(source)
            item = self._load(source)
        except SampleError as error:
            return Decoded(row, None, self._reason(str(error)), content)
        except Exception as error:  # decoders of foreign bytes raise nearly anything
            return Decoded(row, None, self._reason(f"{type(error).__name__}: {error}"), content)
        if isinstance(item, Cut):
            return Decoded(row, item.item, OK, content, cut=True)
        return Decoded(row, item, OK, content)

    def key(self, row: int) -> bytes:
        """The content key of one row as it is now, without decoding it; zeros where there is nothing to read."""
        try:
            return _key(self._source(self._sources[row]))
        except (SampleError, OSError):
            return NOTHING

    def _source(self, source: str) -> Path | str:
        if not source.strip():
            raise SampleError("empty text" if self._literal else "no path given")
        if self._literal:
            return source
        try:
            path = self._rooted.root / self._rooted.relative(source)
        except ValueError:  # its message names the root
            raise SampleError("path leaves the root folder") from None
        if not path.exists():
            raise SampleError("file not found")
        if not path.is_file():  # a pipe or device would block for ever
            raise SampleError("not a regular file")
        size = path.stat().st_size
        if not size:
            raise SampleError("empty file")
        return _read_text(path, size) if self._text else path

    def _reason(self, text: str) -> str:
        text = text.replace(self._given_root, "").replace(str(self._rooted.root), "")
        text = re.sub(r"(?<![\w.])/[^\s'\",:;)]*/", "", text)  # any other absolute path keeps its last part
        text = " ".join(text.replace("\0", " ").split()).encode("utf-8", "replace").decode()
        if text in ("", OK):
            return "unreadable"
        return text if len(text) <= REASON_WIDTH else text[: REASON_WIDTH - 3] + "..."


def _key(source: Path | str) -> bytes:
    if isinstance(source, str):
        return content_key(source.encode("utf-8", "surrogatepass"))
    total = hashlib.blake2b(digest_size=len(NOTHING))
    with source.open("rb") as file:
        while block := file.read(1 << 20):  # a video need not fit into memory
            total.update(block)
    return total.digest()


def _read_text(path: Path, size: int) -> str:
    if size > MAX_TEXT_BYTES:
        raise SampleError(f"text file of {size} bytes is over the limit of {MAX_TEXT_BYTES}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SampleError("text file is not UTF-8") from None
