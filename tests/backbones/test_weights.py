import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from xfeat.backbones.weights import existing, is_file_of, other_shape, quiet, read_tensors, tensors_sha256
from xfeat.errors import InputError


def test_the_hash_sees_names_types_and_shapes() -> None:
    states = [
        {"a": torch.zeros(4)},
        {"b": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(4, dtype=torch.int32)},
        {"a": torch.zeros(8, dtype=torch.bfloat16)},
        {"a": torch.tensor(0.0)},
    ]
    assert len({tensors_sha256(state) for state in states}) == len(states)
    rows = torch.arange(6.0).reshape(2, 3)
    assert tensors_sha256({"a": rows.T.contiguous().T}) == tensors_sha256({"a": rows})


class Evil:
    """Unpickling it runs a command."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.witness),)


def test_a_weights_file_is_never_unpickled(tmp_path: Path) -> None:
    torch.save({"state_dict": Evil(tmp_path / "ran")}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="cannot be read as tensors"):
        read_tensors(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights"])
def test_refuses_a_file_that_is_no_weights(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as tensors") as caught:
        read_tensors(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["w.safetensors", "plain.pt", "wrapped.pth", "model.bin", "parallel.pt"])
def test_the_container_does_not_matter(tmp_path: Path, form: str) -> None:
    tensors: dict[str, Any] = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1)}
    state = tensors
    if form == "wrapped.pth":
        state = {"epoch": 3, "state_dict": state}
    if form == "model.bin":
        state = {"model": state}
    if form == "parallel.pt":
        state = {f"module.{name}": tensor for name, tensor in state.items()}
    save_file(state, tmp_path / form) if form.endswith("safetensors") else torch.save(state, tmp_path / form)
    assert tensors_sha256(read_tensors(existing(tmp_path / form))) == tensors_sha256(tensors)


def test_a_file_must_be_there_and_be_called_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "weights.npz").write_bytes(b"")
    with pytest.raises(InputError, match=r"must end in \.safetensors"):
        existing(tmp_path / "weights.npz")
    with pytest.raises(InputError, match="does not exist"):
        existing(tmp_path / "w.pt")


def test_finds_a_tensor_of_another_shape() -> None:
    state = {"a": torch.zeros(2, 3), "scale": torch.zeros(1), "new": torch.zeros(4)}
    assert other_shape({"a": (2, 3), "scale": ()}, state) == ""  # a scalar may be stored with or without its axis
    assert other_shape({"a": (3, 2)}, state) == "a is (3, 2), the model has (2, 3)"


def test_knows_a_published_file_by_its_name_or_its_place() -> None:
    settings = {"url": "https://example.org/weights/vit-1234.pth"}
    assert is_file_of(settings, "", Path("/any/vit-1234.pth"))
    assert is_file_of({}, "timm/vit.in1k", Path("/hub/models--timm--vit.in1k/snapshots/0/model.safetensors"))
    assert not is_file_of({"url": None}, "", Path("/hub/models--timm--vit.in1k/model.safetensors"))
    assert not is_file_of(settings, "timm/vit.in1k", Path("/hub/models--timm--vit.in21k/model.safetensors"))


def test_a_library_is_quiet_only_within(caplog: pytest.LogCaptureFixture) -> None:
    import logging

    with quiet("a.library"):
        logging.getLogger("a.library").warning("within")
    logging.getLogger("a.library").warning("after")
    assert caplog.messages == ["after"]
