"""Weights files: read as tensors and nothing else, hashed by what they hold, and held against a network's names."""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xfeat.errors import InputError

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


def existing(file: Path) -> Path:
    """The file itself.

    Raises:
        InputError: no such file, or a name that is none of a weights file.
    """
    if not file.is_file():
        raise InputError(f"weights file {file} does not exist")
    if file.suffix not in SUFFIXES:
        raise InputError(f"weights file {file}: the name must end in {', '.join(SUFFIXES)}")
    return file


def read_tensors(file: Path) -> dict[str, Any]:
    """The tensors in a weights file by name, on the CPU, read without unpickling code.

    Raises:
        InputError: not a weights file, or one that holds more than tensors.
    """
    import torch
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            stored = load_file(file)
        else:
            stored = torch.load(file, map_location="cpu", weights_only=True)
            stored = stored.get("state_dict", stored.get("model", stored))
        tensors = {str(name).removeprefix("module."): tensor for name, tensor in stored.items()}
        for tensor in tensors.values():
            tuple(tensor.shape)
    except Exception as error:  # torch, pickle, zip and safetensors each have their own
        raise InputError(
            f"weights file {file} cannot be read as tensors ({one_line(error)}): give a state dict saved as "
            ".safetensors, or as .pt without other objects (a TorchScript archive must be converted first)"
        ) from error
    if not tensors:
        raise InputError(f"weights file {file} holds no tensors")
    return tensors


def tensors_sha256(state: Mapping[str, Any]) -> str:
    """Sha256 over name, dtype, shape and bytes of every tensor in order of names: the container does not matter."""
    import torch

    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name} {str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def other_shape(stored: Mapping[str, tuple[int, ...]], state: Mapping[str, Any]) -> str:
    """The first tensor that a file has in another shape than a network, in words; empty where there is none."""
    for name, tensor in state.items():
        shape = tuple(tensor.shape)
        if name in stored and shape != stored[name] and tensor.numel() > 1:
            return f"{name} is {stored[name]}, the model has {shape}"
    return ""


def is_file_of(published: Mapping[str, Any], repository: str, file: Path) -> bool:
    """Whether a file has the name of published weights, or lies in the hub's cache of their repository.

    Args:
        published: their settings; ``url`` is read.
        repository: ``organization/name`` on the hub; empty for none.
        file: the file.
    """
    url = published.get("url") or ""
    if url and Path(url).name == file.name:
        return True
    return bool(repository) and "--".join(["models", *repository.split("/")]) in file.parts


@contextmanager
def quiet(name: str | None = None) -> Iterator[None]:
    """Let a library say only what is an error: what matters is said by us, once."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def one_line(error: Exception, width: int = 160) -> str:
    """The start of an exception's message on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= width else text[: width - 3] + "..."
