"""One sample from its source to what a backbone encodes, or the reason why not; decoding runs ahead of encoding."""

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfeat.backbones.base import Backbone
from xfeat.cache import OK
from xfeat.errors import SampleError
from xfeat.samples.manifest import Samples
from xfeat.samples.paths import Rooted

REASON_WIDTH = 120
AHEAD = 1  # batches decoded while one is encoded
MAX_TEXT_BYTES = 4_000_000


@dataclass(frozen=True)
class Decoded:
    """One sample after decoding.

    Attributes:
        row: its row in the cache.
        item: what the backbone's ``load`` returned; None where it failed.
        status: ``ok``, or the reason of the failure in one short line without absolute paths.
    """

    row: int
    item: Any
    status: str = OK


class Decoder:
    """Decodes rows of some samples with a backbone; no file is opened outside the samples' root.

    Args:
        samples: what to read.
        backbone: whose ``load`` is used.
        text_files: sources of texts are files, in UTF-8.
    """

    def __init__(self, samples: Samples, backbone: Backbone, *, text_files: bool = False) -> None:
        self._samples, self._backbone, self._text_files = samples, backbone, text_files
        self._rooted = Rooted(samples.root.resolve())

    def __call__(self, row: int) -> Decoded:
        """Decode one row. Whatever a damaged sample makes the decoder raise becomes its status."""
        try:
            return Decoded(row, self._backbone.load(self._source(self._samples.sources[row])))
        except SampleError as error:
            return Decoded(row, None, self._reason(str(error)))
        except Exception as error:  # decoders of foreign bytes raise nearly anything
            return Decoded(row, None, self._reason(f"{type(error).__name__}: {error}"))

    def _source(self, source: str) -> Path | str:
        literal = self._samples.kind == "text" and not self._text_files
        if not source.strip():
            raise SampleError("empty text" if literal else "no path given")
        if literal:
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
        return _read_text(path, size) if self._samples.kind == "text" else path

    def _reason(self, text: str) -> str:
        text = text.replace(str(self._samples.root), "").replace(str(self._rooted.root), "")
        text = re.sub(r"(?<![\w.])/[^\s'\",:;)]*/", "", text)  # any other absolute path keeps its last part
        text = " ".join(text.replace("\0", " ").split()).encode("utf-8", "replace").decode()
        if text in ("", OK):
            return "unreadable"
        return text if len(text) <= REASON_WIDTH else text[: REASON_WIDTH - 3] + "..."


def decode_ahead(
    pool: Executor, decode: Callable[[int], Decoded], rows: Sequence[int], batch_size: int
) -> Iterator[list[Decoded]]:
    """Batches of decoded rows, in order; the next batch is decoded by the pool while the caller works on one."""
    waiting: deque[list[Future[Decoded]]] = deque()
    for start in range(0, len(rows), batch_size):
        waiting.append([pool.submit(decode, row) for row in rows[start : start + batch_size]])
        if len(waiting) > AHEAD:
            yield [future.result() for future in waiting.popleft()]
    while waiting:
        yield [future.result() for future in waiting.popleft()]


def _read_text(path: Path, size: int) -> str:
    if size > MAX_TEXT_BYTES:
        raise SampleError(f"text file of {size} bytes is over the limit of {MAX_TEXT_BYTES}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SampleError("text file is not UTF-8") from None
