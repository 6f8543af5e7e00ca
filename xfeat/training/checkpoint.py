"""The state of an unfinished stage, in one safetensors file that is there whole or not at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn, optim

from xfeat.cache.files import whole_file
from xfeat.errors import InputError

RANDOM = "random"


@dataclass
class Best:
    """The best epoch so far.

    Attributes:
        epoch: counted from 1; 0 before the first validation.
        score: its score, higher is better.
        tensors: what the stage keeps of it.
    """

    epoch: int
    score: float
    tensors: dict[str, Tensor]


def save_checkpoint(
    path: Path,
    module: nn.Module,
    optimizer: optim.Optimizer,
    generator: torch.Generator,
    epoch: int,
    best: Best,
    identity: str = "",
) -> None:
    """Write everything that the next epoch depends on: module, optimizer, random state, best epoch.

    Args:
        path: the file; replaced whole.
        module: after ``epoch`` epochs.
        optimizer: of its parameters.
        generator: of the stream.
        epoch: epochs done.
        best: the best epoch so far.
        identity: of data and settings; the checkpoint resumes nothing else.
    """
    tensors = {f"module/{name}": tensor for name, tensor in module.state_dict().items()}
    for number, slots in optimizer.state_dict()["state"].items():
        tensors.update({f"optimizer/{number}/{name}": value for name, value in slots.items()})
    tensors[RANDOM] = generator.get_state()
    tensors.update({f"best/{name}": tensor for name, tensor in best.tensors.items()})
    state = json.dumps(
        {"identity": identity, "epoch": epoch, "best_epoch": best.epoch, "best_score": best.score}, sort_keys=True
    )
    write_tensors(path, tensors, {"xfeat": state})


def load_checkpoint(
    path: Path, module: nn.Module, optimizer: optim.Optimizer, generator: torch.Generator, identity: str = ""
) -> tuple[int, Best]:
    """Put a training back to where ``save_checkpoint`` saw it.

    Returns:
        Epochs done and the best epoch so far.

    Raises:
        InputError: the file is damaged or belongs to a stage of another shape.
    """
    tensors, meta = read_tensors(path)
    try:
        state = json.loads(meta["xfeat"])
        if state["identity"] != identity:
            raise ValueError("data or settings changed since")
        module.load_state_dict(_part(tensors, "module/"))
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _part(tensors, "optimizer/").items():
            number, slot = name.split("/")
            slots.setdefault(int(number), {})[slot] = _laid_out_as(parameters[int(number)], tensor)
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        generator.set_state(tensors[RANDOM])
        kept = {name: tensor.to(generator.device) for name, tensor in _part(tensors, "best/").items()}
        return int(state["epoch"]), Best(int(state["best_epoch"]), float(state["best_score"]), kept)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        raise InputError(f"checkpoint {path} does not fit ({why}): delete it to start this stage again") from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: dict[str, str]) -> None:
    """Write a safetensors file whole; the same tensors and metadata give the same bytes.

    Args:
        path: the file; replaced if it exists.
        tensors: any shapes and dtypes; copied to the CPU.
        meta: at most one entry: safetensors writes several in no fixed order.
    """
    if len(meta) > 1:
        raise ValueError("one metadata entry at most: more would not be written in a fixed order")
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(tensors.items())}
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as tmp:
        # Not `save_file`: it writes to a temporary name of its own, which a kill leaves behind.
        tmp.write_bytes(save(plain, meta))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file and its metadata.

    Raises:
        InputError: missing, truncated or not safetensors.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a whole safetensors file ({error})") from None


def _laid_out_as(parameter: Tensor, state: Tensor) -> Tensor:
    # A fused optimizer walks memory and takes it for granted that a parameter and its state have the same strides.
    return torch.empty_like(parameter, dtype=state.dtype).copy_(state) if state.ndim else state


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
