"""What a frozen encoder is to the rest of the package."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xfeat.errors import InputError

KINDS = ("image", "text", "audio", "strokes")


class Backbone(Protocol):
    """A frozen encoder of one kind of sample.

    ``load`` is called from several threads at once, ``encode`` from one. A backbone that cuts long samples may count
    them in an attribute ``truncated`` (int), which extraction reports.

    Attributes:
        kind: what it reads: ``image``, ``text``, ``audio`` or ``strokes``.
        name: its SPEC without the weights' path, for example ``filters:hog``.
        dim: D, the width of its features.
    """

    kind: str
    name: str
    dim: int

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON: settings, weights hash, versions. No paths, no times."""

    def load(self, source: Path | str) -> Any:
        """Decode and preprocess one sample on the CPU.

        Args:
            source: a file for images, audio and strokes, the text itself for text.

        Raises:
            SampleError: the sample cannot be read; the message becomes its status.
        """

    def encode(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Encode what ``load`` returned for n samples: (n, D) float32."""


@dataclass(frozen=True)
class Spec:
    """A parsed ``family:model[@weights]``.

    Attributes:
        family: for example ``open_clip``.
        model: for example ``ViT-B-32``.
        weights: a hub tag or a local file; empty where none was given.
    """

    family: str
    model: str
    weights: str = ""

    def __str__(self) -> str:
        return f"{self.family}:{self.model}" + (f"@{self.weights}" if self.weights else "")


def parse_spec(text: str) -> Spec:
    """Read ``family:model[@weights]``.

    Raises:
        InputError: no family or no model.
    """
    family, colon, rest = text.partition(":")
    model, _, weights = rest.partition("@")
    if not (family and colon and model):
        raise InputError(f"backbone {text!r}: write family:model or family:model@weights, for example filters:hog")
    return Spec(family, model, weights)
