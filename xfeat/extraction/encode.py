"""Runs a backbone over batches in threads, with smaller batches where memory runs out."""

import gc
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.backbones.base import Backbone
from xfeat.cache import Tokens
from xfeat.errors import InputError

MAX_THREADS = 4


@dataclass(frozen=True)
class Encoded:
    """A batch after the network.

    Attributes:
        features: (n, D) float32.
        tokens: n sequences; None where none were asked for.
    """

    features: NDArray[np.float32]
    tokens: Tokens | None = None


class Encoder:
    """Encodes batches in threads.

    Each thread takes a batch of its own. On a CPU they share its cores evenly, so that a decoding process that takes a
    core away does not hold up all threads of one parallel region; on a GPU one batch is computed while the results of
    another are fetched.

    Args:
        backbone: encodes.
        tokens: give token sequences too.

    Attributes:
        threads: how many batches are encoded at a time.
        limit: the largest batch that memory holds, as far as is known; 0: no batch was too large.
    """

    def __init__(self, backbone: Backbone, *, tokens: bool) -> None:
        self._backbone, self._tokens = backbone, tokens
        self._gpu = str(getattr(backbone, "device", "cpu")).startswith("cuda")
        self.limit = 0
        cores = _compute_cores()
        self.threads = 2 if self._gpu else max(1, min(MAX_THREADS, cores))
        if getattr(backbone, "compiled", False):
            self.threads = 1  # compiling is not for several threads at once
        self._cores_each = max(1, cores // self.threads)
        self._pool = ThreadPoolExecutor(self.threads, "encode", initializer=_set_cores, initargs=(self._cores_each,))

    def submit(self, items: Any, count: int) -> "Future[Encoded]":
        """Encode ``count`` collated items."""
        return self._pool.submit(self._encode, items, count)

    def close(self) -> None:
        """End the threads; what is being encoded is finished first."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _encode(self, items: Any, count: int) -> Encoded:
        parts: list[Encoded] = []
        start = 0
        while start < count:
            size = min(self.limit or count, count - start)
            try:
                parts.append(self._run(items[start : start + size], size))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if size == 1:
                    raise InputError(
                        f"{self._backbone.name}: memory does not hold a batch of one ({_line(error)}): free some, or "
                        "choose another --device or a smaller model"
                    ) from error
                self.limit = min(self.limit or size, size // 2)
            else:
                start += size
                continue
            self._free()
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _run(self, items: Any, count: int) -> Encoded:
        if self._gpu and hasattr(items, "pin_memory"):
            items = items.pin_memory()
        tokens = None
        if self._tokens:
            features, tokens = self._backbone.encode_tokens(items)  # type: ignore[attr-defined]
        else:
            features = self._backbone.encode(items)
        wanted = (count, self._backbone.dim)
        if features.shape != wanted:
            raise ValueError(f"{self._backbone.name} encoded to {features.shape} instead of {wanted}")
        if tokens is not None and len(tokens) != count:
            raise ValueError(f"{self._backbone.name} gave {len(tokens)} token sequences for {count} samples")
        return Encoded(features, tokens)

    def _free(self) -> None:
        # Outside the handler: the exception's frames hold the activations that were too many.
        gc.collect()
        if self._gpu:
            import torch

            torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory, the GPU's or the machine's, is too small."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch on a CPU


@contextmanager
def cores_kept() -> Iterator[None]:
    """Gives torch back the number of threads that it had."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else 0
    try:
        yield
    finally:
        if torch is not None:
            torch.set_num_threads(before)


def _compute_cores() -> int:
    torch = sys.modules.get("torch")
    # torch's number heeds OMP_NUM_THREADS; without a network, threads only take turns in Python.
    return int(torch.get_num_threads()) if torch is not None else min(2, os.cpu_count() or 1)


def _set_cores(count: int) -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)


def _joined(parts: list[Encoded]) -> Encoded:
    tokens = [part.tokens for part in parts if part.tokens is not None]
    return Encoded(
        np.concatenate([part.features for part in parts]), Tokens.concatenate(tokens) if len(tokens) else None
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
