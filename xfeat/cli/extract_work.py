"""One extraction as the command line asks for it, whole or in parts."""

import os
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfeat.errors import InputError

if TYPE_CHECKING:
    from xfeat.backbones.base import Backbone
    from xfeat.extraction.report import ExtractReport
    from xfeat.samples.manifest import Samples


@dataclass(frozen=True)
class Work:
    """What to extract, how, and where to.

    Attributes:
        samples: of the manifest, or of a part of it.
        backbone: the encoder.
        out: folder of the cache.
        modality: its name.
        options: further keywords of ``xfeat.extraction.pipeline.extract``.
        parts: of how many parts this is one; 0: it is the whole.
    """

    samples: "Samples"
    backbone: "Backbone"
    out: Path
    modality: str
    options: Mapping[str, Any]
    parts: int = 0

    def run(self, **changed: Any) -> "ExtractReport":
        """Do it here and now; ``changed`` goes before the options."""
        from xfeat.extraction.pipeline import extract

        return extract(self.samples, self.backbone, self.out, modality=self.modality, **{**self.options, **changed})

    def part(self, part: int, parts: int) -> "Work":
        """One of several parts, a cache of its own beside the whole. It does not grow: its borders would move.

        Raises:
            InputError: more parts than samples.
        """
        from xfeat.cache.merge import part_path

        return replace(
            self,
            samples=self.samples.part(part, parts),
            out=part_path(self.out.resolve(), part, parts),
            options={**self.options, "grow": False},
            parts=parts,
        )

    @property
    def begun(self) -> bool:
        """There is a cache, finished or not."""
        from xfeat.cache.manifest import FILE

        return (self.out / FILE).exists()

    @property
    def complete(self) -> bool:
        """There is a finished cache, whatever is in it."""
        from xfeat.cache import load_manifest

        return self.begun and load_manifest(self.out).complete

    @property
    def outdated(self) -> bool:
        """There is a cache of other samples, or of the same with other splits, labels or sources."""
        from xfeat.cache.growth import grow
        from xfeat.cache.keys import source_keys

        return grow(self.out, self.samples.columns, source_keys(self.samples.sources)) is not None


def read_shard(text: str) -> tuple[int, int]:
    """Read ``I/N``.

    Raises:
        InputError: not of this form, or not 0 <= I < N.
    """
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    if not found or not int(found[1]) < int(found[2]):
        raise InputError(f"--shard {text!r}: write I/N with I from 0 to N-1, for example 0/4, 1/4, 2/4 and 3/4")
    return int(found[1]), int(found[2])


def one_shard(work: Work, part: int, parts: int) -> Work:
    """The part that ``--shard`` asks for.

    Raises:
        InputError: more parts than samples, or the whole is there already.
    """
    shard = work.part(part, parts)
    if work.begun:
        raise InputError(f"{work.out} is a cache already: extract without --shard to grow it, or choose another --out")
    return shard


@contextmanager
def stopping_keeps() -> Iterator[None]:
    """Within it, being told to end is what Ctrl-C is.

    Told by SIGTERM, by SIGUSR2, which clusters send before a kill, or by SIGHUP, when a terminal is closed. Only
    the first counts, so that the next does not disturb the writing of what is kept (a second Ctrl-C does). What this
    process was started to ignore, as under ``nohup``, it still ignores.
    """
    from xfeat.extraction.processes import STOPS

    owner, seen = os.getpid(), list[int]()

    def stop(number: int, _frame: object) -> None:
        if os.getpid() == owner and (not seen or number == signal.SIGINT):
            seen.append(number)
            raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in STOPS if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
