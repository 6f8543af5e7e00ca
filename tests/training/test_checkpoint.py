import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.training.toy import ToyStage
from xfeat.errors import InputError
from xfeat.training.checkpoint import Best, load_checkpoint, read_tensors, save_checkpoint, write_tensors

CPU = torch.device("cpu")


def step(stage: ToyStage) -> torch.Tensor:
    loss = stage.loss(torch.randperm(stage.rows)[: stage.batch_size], 0)["loss"]
    stage.optimizer.zero_grad()
    loss.backward()
    stage.optimizer.step()
    return loss.detach()


def saved(path: Path, identity: str = "this run", **options: Any) -> tuple[ToyStage, Best]:
    torch.manual_seed(0)
    stage = ToyStage(**options)
    for _ in range(3):
        step(stage)
    best = Best(2, -0.125, {"W": torch.arange(6.0).reshape(2, 3)})
    save_checkpoint(path, stage, 3, best, CPU, identity)
    return stage, best


@pytest.mark.parametrize("by_columns", [False, True])
def test_a_stage_comes_back_with_its_optimizer_and_its_randomness(tmp_path: Path, by_columns: bool) -> None:
    path = tmp_path / "deep" / "toy.safetensors"
    stage, best = saved(path, by_columns=by_columns)
    ahead = [step(stage) for _ in range(4)]  # dropout and batches depend on the random state, steps on AdamW's

    torch.manual_seed(99)
    other = ToyStage(by_columns=by_columns)
    epoch, found = load_checkpoint(path, other, CPU, "this run")
    assert (epoch, found.epoch, found.score) == (3, best.epoch, best.score)
    assert found.tensors.keys() == {"W"}
    assert torch.equal(found.tensors["W"], best.tensors["W"])
    assert [group["lr"] for group in other.optimizer.param_groups] == [0.05, 0.02]
    assert torch.equal(torch.stack([step(other) for _ in range(4)]), torch.stack(ahead))
    for name, tensor in stage.module.state_dict().items():
        assert torch.equal(other.module.state_dict()[name], tensor)


def test_a_checkpoint_before_the_first_validation(tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    save_checkpoint(path, ToyStage(), 1, Best(0, float("-inf"), {}), CPU)
    assert load_checkpoint(path, ToyStage(), CPU) == (1, Best(0, float("-inf"), {}))


def test_equal_states_give_equal_files(tmp_path: Path) -> None:
    saved(tmp_path / "a")
    saved(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_checkpoint_of_other_data_or_settings_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "toy")
    with pytest.raises(InputError, match=r"toy does not fit \(data or settings changed since\): delete it"):
        load_checkpoint(tmp_path / "toy", ToyStage(), CPU, "that run")


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "toy")
    with pytest.raises(InputError, match="toy does not fit") as caught:
        load_checkpoint(tmp_path / "toy", ToyStage(width=5), CPU, "this run")
    assert "\n" not in str(caught.value)


def overwrite(path: Path) -> None:
    path.write_bytes(b"\0" * 200)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [overwrite, truncate, empty, remove])
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "toy"
    saved(path)
    damage(path)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))} (is not a whole safetensors file|does not exist)"):
        load_checkpoint(path, ToyStage(), CPU, "this run")


@pytest.mark.parametrize(
    "meta",
    [None, {}, {"xfeat": "{"}, {"xfeat": "[]"}, {"xfeat": json.dumps({"identity": "this run"})}],
)
def test_a_safetensors_file_that_is_no_checkpoint(tmp_path: Path, meta: dict[str, str] | None) -> None:
    path = tmp_path / "toy"
    saved(path)
    tensors, _ = read_tensors(path)
    save_file(tensors, path, meta)
    with pytest.raises(InputError, match="toy does not fit"):
        load_checkpoint(path, ToyStage(), CPU, "this run")


def test_tensors_and_metadata_come_back(tmp_path: Path) -> None:
    whole = torch.arange(12, dtype=torch.float64).reshape(3, 4)
    tensors = {"b": whole.T, "a": whole[:, 1], "half": whole.half(), "index": torch.tensor(3)}
    write_tensors(tmp_path / "t", tensors, {"note": "größe"})
    found, meta = read_tensors(tmp_path / "t")
    assert meta == {"note": "größe"}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_the_order_of_names_does_not_reach_the_file(tmp_path: Path) -> None:
    tensors = {name: torch.full((3,), float(n)) for n, name in enumerate("cab")}
    write_tensors(tmp_path / "one", tensors, {"k": "v"})
    write_tensors(tmp_path / "two", dict(sorted(tensors.items())), {"k": "v"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_more_than_one_metadata_entry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one metadata entry"):
        write_tensors(tmp_path / "t", {"a": torch.ones(1)}, {"a": "1", "b": "2"})
    assert list(tmp_path.iterdir()) == []
