"""What a frozen encoder is to the rest of the package."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xfeat.cache import Tokens
from xfeat.errors import InputError

KINDS = ("image", "text", "audio", "strokes", "video")
PRECISIONS = ("fp32", "fp16", "bf16")


@dataclass(frozen=True)
class Setup:
    """How a backbone runs.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; families without a network run on the CPU whatever it says.
        precision: ``fp32``, or ``fp16`` or ``bf16`` autocast; ignored likewise.
        compile: compile the network with ``torch.compile``.
        frames: frames that a video backbone samples.
    """

    device: str = "auto"
    precision: str = "fp32"
    compile: bool = False
    frames: int = 8


@dataclass(frozen=True)
class Cut:
    """What ``load`` returns for a sample that it had to shorten: extraction counts them.

    Attributes:
        item: the loaded sample.
    """

    item: Any


class Backbone(Protocol):
    """A frozen encoder of one kind of sample.

    ``load`` runs in worker processes: extraction sends ``backbone.load`` there alone, so it can be pickled and does not
    hold the network. ``encode`` runs in threads of the main process, several at a time. A backbone may have a function
    ``collate``, which can be pickled too: the workers call it with the list of loaded items and send its result, which
    can be indexed by a list of places and sliced (a stacked tensor); without one, a batch is the list itself. It may
    have a ``device``, the name of a torch device, and ``compiled``, whether it runs through ``torch.compile``.

    Attributes:
        kind: what it reads, of ``KINDS``.
        name: its SPEC without the weights' path, for example ``filters:hog``.
        dim: D, the width of its features.
    """

    kind: str
    name: str
    dim: int

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON: settings, weights hash, versions. No paths, no times."""

    def load(self, source: Path | str, /) -> Any:
        """Decode and preprocess one sample on the CPU.

        Args:
            source: the text itself for text, a file for everything else.

        Returns:
            The item, or a ``Cut`` that holds it.

        Raises:
            SampleError: the sample cannot be read; the message becomes its status.
        """

    def encode(self, items: Any, /) -> NDArray[np.float32]:
        """Encode a batch of n loaded samples: (n, D) float32."""


class TokenBackbone(Backbone, Protocol):
    """A backbone that can give token sequences too: patches, words, frames or time steps.

    Attributes:
        token_dim: their width; 0 where this model has none.
    """

    token_dim: int

    def token_fingerprint(self) -> dict[str, Any]:
        """Which tokens they are, as JSON: unit, layer, what is left out. Part of the fingerprint of a cache of them."""

    def encode_tokens(self, items: Any, /) -> tuple[NDArray[np.float32], Tokens]:
        """Encode a batch of n loaded samples.

        Returns:
            The features (n, D) float32, as ``encode`` gives them, and n sequences of at least one token each, float32.
        """


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
