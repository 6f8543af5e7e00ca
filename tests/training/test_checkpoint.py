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
from xfeat.training.loop import make_optimizer


class Training:
    """A toy stage with all that a checkpoint holds."""

    def __init__(self, seed: int = 0, **options: Any) -> None:
        torch.manual_seed(seed)
        self.stage = ToyStage(**options)
        self.objective = self.stage.objective
        self.optimizer = make_optimizer(self.stage, dict(self.objective.named_parameters()))
        self.generator = torch.Generator().manual_seed(seed)

    def step(self) -> torch.Tensor:
        x, y = next(iter(self.stage.train.epoch(self.stage.schedule.batch_size, self.generator)))
        loss = self.objective(x, y, self.objective.draw(len(x), self.generator), torch.zeros(()))["loss"]
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def save(self, path: Path, epoch: int, best: Best, identity: str = "this run") -> None:
        save_checkpoint(path, self.objective, self.optimizer, self.generator, epoch, best, identity)

    def load(self, path: Path, identity: str = "this run") -> tuple[int, Best]:
        return load_checkpoint(path, self.objective, self.optimizer, self.generator, identity)


def saved(path: Path, **options: Any) -> tuple[Training, Best]:
    training = Training(**options)
    for _ in range(3):
        training.step()
    best = Best(2, -0.125, {"W": torch.arange(6.0).reshape(2, 3)})
    training.save(path, 3, best)
    return training, best


@pytest.mark.parametrize("by_columns", [False, True])
def test_a_stage_comes_back_with_its_optimizer_and_its_randomness(tmp_path: Path, by_columns: bool) -> None:
    path = tmp_path / "deep" / "toy.safetensors"
    training, best = saved(path, by_columns=by_columns)
    # Dropout and batches depend on the random state, steps on AdamW's.
    ahead = [training.step() for _ in range(4)]

    other = Training(seed=99, by_columns=by_columns)
    epoch, found = other.load(path)
    assert (epoch, found.epoch, found.score) == (3, best.epoch, best.score)
    assert found.tensors.keys() == {"W"}
    assert torch.equal(found.tensors["W"], best.tensors["W"])
    assert [group["weight_decay"] for group in other.optimizer.param_groups] == [0.1, 0]
    assert torch.equal(torch.stack([other.step() for _ in range(4)]), torch.stack(ahead))
    for name, tensor in training.objective.state_dict().items():
        assert torch.equal(other.objective.state_dict()[name], tensor)


def test_a_checkpoint_before_the_first_validation(tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    Training().save(path, 1, Best(0, float("-inf"), {}))
    assert Training().load(path) == (1, Best(0, float("-inf"), {}))


def test_saving_does_not_disturb_a_training(tmp_path: Path) -> None:
    training, untouched = saved(tmp_path / "toy")[0], saved(tmp_path / "other")[0]
    for _ in range(3):
        training.save(tmp_path / "toy", 3, Best(0, 0.0, {}))
        assert torch.equal(training.step(), untouched.step())


def test_equal_states_give_equal_files(tmp_path: Path) -> None:
    saved(tmp_path / "a")
    saved(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_checkpoint_of_other_data_or_settings_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "toy")
    with pytest.raises(InputError, match=r"toy does not fit \(data or settings changed since\): delete it"):
        Training().load(tmp_path / "toy", "that run")


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "toy")
    with pytest.raises(InputError, match="toy does not fit") as caught:
        Training(width=5).load(tmp_path / "toy")
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
        Training().load(path)


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
        Training().load(path)


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
