"""A frozen torch network that encodes batches, with or without its tokens; several threads may use it at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.backbones.base import Setup
from xfeat.backbones.runtime import autocast_name, check_precision, inference, pick_device
from xfeat.backbones.weights import one_line
from xfeat.cache.tokens import Tokens, offsets_of
from xfeat.errors import InputError


def stack(items: Sequence[Any]) -> Any:
    """Loaded samples of one shape to one tensor, a row each; for ``collate``."""
    import torch

    return torch.stack(list(items))


@dataclass(frozen=True)
class TokenPass:
    """How to get token sequences out of a network together with its features.

    Attributes:
        run: a batch on the network's device to features (n, D) and tokens (n, T, width), in one pass.
        width: of the tokens.
        about: which tokens they are, as JSON.
        kept: the batch to the places (n, T) bool of real tokens; None where all are.
    """

    run: Callable[[Any], tuple[Any, Any]]
    width: int
    about: Mapping[str, Any]
    kept: Callable[[Any], Any] | None = None


class Network:
    """Takes over a module: moves it to the device and lays it out in memory.

    Args:
        module: holds all parameters that ``encode`` uses.
        encode: a batch on the device to features (n, dim).
        dim: D.
        name: of the backbone, for messages.
        setup: how it runs.

    Attributes:
        device: a torch device.
        compiled: whether it runs through ``torch.compile``.

    Raises:
        InputError: a device that is not there, an unknown precision.
    """

    def __init__(self, module: Any, encode: Callable[[Any], Any], dim: int, name: str, setup: Setup) -> None:
        self.device, self._precision = pick_device(setup.device), check_precision(setup.precision)
        self.compiled = setup.compile
        self._dim, self._name = dim, name
        _place(module.eval(), self.device, self._precision)
        self._encode = self._wrap(encode)

    def fingerprint(self) -> dict[str, Any]:
        """What it adds to a backbone's fingerprint.

        Compiling fuses operations. In float32 that moves the last bits, as another device or batch size does. Under
        autocast it leaves out roundings to 16 bits, which moves the third digit: then the fingerprint says so.
        """
        said: dict[str, Any] = {"precision": autocast_name(self._precision)}
        return {**said, "compiled": True} if self.compiled and self._precision != "fp32" else said

    def prepare(self, tokens: TokenPass | None) -> TokenPass | None:
        """A pass that runs as this network does: compiled if it is."""
        return replace(tokens, run=self._wrap(tokens.run)) if tokens else None

    def features(self, items: Any) -> NDArray[np.float32]:
        """Features (n, D) float32 of n items: a tensor with a row each, or a list of such rows."""
        return self._rows(self._run(self._encode, items)) if len(items) else np.zeros((0, self._dim), np.float32)

    def features_and_tokens(self, items: Any, tokens: TokenPass) -> tuple[NDArray[np.float32], Tokens]:
        """The same features, and n token sequences float32; ``tokens`` is a prepared pass."""
        if not len(items):
            empty = np.zeros((0, tokens.width), np.float32)
            return np.zeros((0, self._dim), np.float32), Tokens(empty, np.zeros(1, np.int64))
        batch = items if hasattr(items, "shape") else stack(items)
        pooled, hidden = self._run(tokens.run, batch)
        values = hidden.float().cpu().numpy()
        kept = np.ones(values.shape[:2], np.bool_) if tokens.kept is None else tokens.kept(batch).numpy()
        return self._rows(pooled), Tokens(values[kept], offsets_of(kept.sum(axis=1)))

    def _run(self, function: Callable[[Any], Any], items: Any) -> Any:
        batch = items if hasattr(items, "shape") else stack(items)
        try:
            with inference(self.device, self._precision):
                return function(batch.to(self.device, non_blocking=True))
        except Exception as error:
            if self.compiled and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise InputError(
                    f"{self._name} cannot be compiled here ({one_line(error)}): leave compiling out, or install a C++ "
                    "compiler"
                ) from error
            raise

    def _wrap(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        if not self.compiled:
            return function
        import torch

        compiled: Callable[[Any], Any] = torch.compile(function)
        return compiled

    def _rows(self, features: Any) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = features.float().cpu().numpy()
        if rows.shape[1:] != (self._dim,):
            raise ValueError(f"{self._name} gave features of shape {rows.shape}, its width is {self._dim}")
        return rows


class NetworkBackbone:
    """What backbones of one network share.

    Attributes:
        device: the torch device it runs on.
        compiled: whether it runs through ``torch.compile``.
        token_dim: width of the tokens; 0 where the network has none that can be told with certainty.
    """

    kind: str
    name: str
    device: str
    compiled: bool
    token_dim = 0
    collate: Any = staticmethod(stack)
    _network: Network
    _tokens: TokenPass | None = None

    def _runs_on(self, network: Network) -> None:
        self._network = network
        self.device, self.compiled = network.device, network.compiled

    def _has(self, tokens: TokenPass | None) -> None:
        self._tokens = self._network.prepare(tokens)
        self.token_dim = tokens.width if tokens else 0

    def token_fingerprint(self) -> dict[str, Any]:
        """Which tokens they are, as JSON; empty where there are none."""
        return dict(self._tokens.about) if self._tokens else {}

    def encode(self, items: Any, /) -> NDArray[np.float32]:
        """Encode n loaded samples: (n, D) float32, as the network gives them."""
        return self._network.features(self._batch(items))

    def encode_tokens(self, items: Any, /) -> tuple[NDArray[np.float32], Tokens]:
        """Encode n loaded samples: features as ``encode`` gives them, and n token sequences float32.

        Raises:
            ValueError: there are no tokens: ``token_dim`` is 0.
        """
        if self._tokens is None:
            raise ValueError(f"{self.name} has no {self.kind} tokens")
        return self._network.features_and_tokens(self._batch(items), self._tokens)

    def _batch(self, items: Any) -> Any:
        return items if hasattr(items, "shape") or not len(items) else self.collate(items)


def _place(module: Any, device: str, precision: str) -> None:
    """Move a network to its device, and convolutions to the memory layout in which they are faster.

    That is channels last: on a CPU a ResNet-50 is 1.4 times as fast, and tensor cores want it. The one convolution of a
    vision transformer gains nothing.
    """
    import torch

    module.to(device)
    convolutional = sum(isinstance(part, torch.nn.Conv2d) for part in module.modules()) > 1
    if convolutional and (device == "cpu" or precision != "fp32"):
        module.to(memory_format=torch.channels_last)
