"""Independent streams of randomness: one per seed, modality and stage, so that no branch feels another."""

import hashlib
from collections.abc import Callable
from typing import TypeVar

import torch

Made = TypeVar("Made")


def stream_seed(seed: int, *names: str) -> int:
    """A 63-bit seed that depends on its arguments alone: not on the order of training, nor on the process."""
    text = "\0".join((str(seed), *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def seeded(make: Callable[[], Made], device: torch.device, seed: int, *names: str) -> tuple[Made, torch.Generator]:
    """What ``make`` builds from torch's default generator, and a generator for everything after it.

    Both depend on the seed and the names alone. Parameters are drawn on the CPU whatever the device, so that they start
    from the same values everywhere. The caller's random state comes back.

    Args:
        make: called with the default generator seeded.
        device: of the generator that is returned.
        seed: of the run.
        names: of the stream.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, *names))
        made = make()
        generator = torch.Generator(device)
        if device.type == "cpu":
            generator.set_state(torch.get_rng_state())
        else:
            generator.manual_seed(stream_seed(seed, *names, "device"))
    return made, generator
