"""A training that does next to nothing, for processes that import little."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import BaseModel

from xfeat.cache import FeatureCache


class Settings(BaseModel):
    """Of the training."""

    word: str = "a"


def train(
    caches: Sequence[FeatureCache], out: Path, settings: Settings, *, seed: int, device: torch.device, resume: bool
) -> tuple[int, str]:
    """Write down which process it was, with how many threads, unless one did before; what is there."""
    assert resume
    assert device.type == "cpu"
    file = out / "trained"
    if not file.exists():
        out.mkdir(parents=True)
        modalities = " ".join(cache.manifest.modality for cache in caches)
        file.write_text(f"{os.getpid()} {torch.get_num_threads()} {settings.word} {seed} {modalities}")
    return seed, file.read_text()
