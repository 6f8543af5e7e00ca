"""Independent streams of randomness: one per seed, modality and stage, so that no branch feels another."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream_seed(seed: int, *names: str) -> int:
    """A 63-bit seed that depends on its arguments alone: not on the order of training, nor on the process."""
    text = "\0".join((str(seed), *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


@contextmanager
def random_stream(device: torch.device, seed: int, *names: str) -> Iterator[None]:
    """Run a block with torch's default generators seeded for this stream; the caller's state comes back afterwards."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(stream_seed(seed, *names))
        yield


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """State of the default generators that a stream uses, by device type."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(device: torch.device, state: dict[str, torch.Tensor]) -> None:
    """Put back what ``random_state`` returned."""
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
