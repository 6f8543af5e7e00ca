"""The loop, on a stage that is no method: batches, rates, the best epoch, and going on after a crash."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.toy import ToyStage
from xfeat.errors import InputError
from xfeat.training.checkpoint import Best
from xfeat.training.loop import Place, fit, learning_rate_factor

CPU = torch.device("cpu")


class CrashError(Exception):
    pass


def same(one: Best, two: Best) -> bool:
    return (one.epoch, one.score) == (two.epoch, two.score) and all(
        torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors | two.tensors
    )


def run(seed: int = 3, names: tuple[str, ...] = ("image", "toy"), **options: Any) -> tuple[Best, ToyStage, list[Any]]:
    stages: list[ToyStage] = []
    log: list[dict[str, Any]] = []

    def make() -> ToyStage:
        stages.append(ToyStage(**options))
        return stages[0]

    return fit(make, Place(CPU, seed, names, log=log.append)), stages[0], log


@given(rows=st.integers(1, 30), batch_size=st.integers(1, 35))
def test_every_row_is_used_once_per_epoch_in_equal_batches(rows: int, batch_size: int) -> None:
    _, stage, _ = run(rows=rows, batch_size=batch_size, epochs=3)
    for batches in stage.batches:
        assert sorted(row for batch in batches for row in batch) == list(range(rows))
        assert len(batches) == math.ceil(rows / batch_size)
        sizes = [len(batch) for batch in batches]
        assert max(sizes) <= batch_size
        assert max(sizes) - min(sizes) <= 1


def test_batches_differ_from_epoch_to_epoch() -> None:
    _, stage, _ = run(rows=30, epochs=4)
    assert len({str(batches) for batches in stage.batches}) == 4


def test_seed_and_names_alone_decide_the_result() -> None:
    torch.manual_seed(1)
    first = run()[0]
    torch.manual_seed(2)
    assert same(run()[0], first)
    assert not same(run(seed=4)[0], first)
    assert not same(run(names=("text", "toy"))[0], first)


def test_the_callers_randomness_is_untouched() -> None:
    before = torch.get_rng_state()
    run()
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(InputError):
        run(broken=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_lowers_the_error() -> None:
    _, _, log = run(rows=60, epochs=60)
    assert log[-1]["val_score"] > 0.5 * log[0]["val_score"]  # scores are negative errors


@pytest.mark.parametrize(
    ("scores", "best"),
    [([1, 3, 3, 2, 3], 2), ([0, 0, 0, 0, 0], 1), ([-3, -2, -1, -0.5, -0.25], 5), ([9, 1, 1, 1, 1], 1)],
)
def test_the_earliest_of_the_best_epochs_is_kept(scores: list[float], best: int) -> None:
    found, stage, _ = run(scores=scores)
    assert (found.epoch, found.score) == (best, scores[best - 1])
    final = stage.module.state_dict()
    assert (best == 5) == all(torch.equal(found.tensors[name], final[name]) for name in final)


def test_the_kept_tensors_are_those_of_the_best_epoch() -> None:
    kept = run(scores=[0, 1, 0, 0, 0], lr_schedule="constant")[0]
    shorter = run(scores=[0, 1], epochs=2, lr_schedule="constant")[0]
    assert same(kept, shorter)


@pytest.mark.parametrize(
    ("epochs", "every", "looked"), [(5, 1, [1, 2, 3, 4, 5]), (5, 2, [2, 4, 5]), (6, 3, [3, 6]), (2, 9, [2])]
)
def test_validation_comes_as_often_as_asked_and_after_the_last_epoch(
    epochs: int, every: int, looked: list[int]
) -> None:
    _, _, log = run(epochs=epochs, validate_every=every)
    assert [row["epoch"] for row in log] == looked
    assert {key for row in log for key in row} == {"epoch", "train_loss", "train_half", "val_score"}
    for row in log:
        assert row["train_half"] == pytest.approx(row["train_loss"] / 2)


def test_a_loss_that_is_not_finite_is_named_with_its_place() -> None:
    with pytest.raises(InputError, match=r"^image toy: train_loss, train_half, val_score is not finite in epoch 3"):
        run(broken=2)
    with pytest.raises(InputError, match=r"^image toy: val_score is not finite in epoch 2"):
        run(scores=[0, math.inf, 0, 0, 0])


def test_the_rate_falls_from_its_start_along_half_a_cosine() -> None:
    assert learning_rate_factor("cosine", 0) == 1
    assert learning_rate_factor("cosine", 0.5) == pytest.approx(0.5)
    assert learning_rate_factor("cosine", 0.999) == pytest.approx(0, abs=1e-5)
    assert learning_rate_factor("constant", 0.7) == 1
    _, stage, _ = run(rows=8, batch_size=4, epochs=4)
    assert len(stage.rates) == 8
    assert stage.rates[0] == [0.05, 0.02]
    assert stage.rates[4] == pytest.approx([0.025, 0.01])
    assert all(0 < later[0] < earlier[0] for earlier, later in zip(stage.rates, stage.rates[1:], strict=False))


def test_a_constant_rate_stays() -> None:
    _, stage, _ = run(lr_schedule="constant")
    assert stage.rates == [[0.05, 0.02]] * len(stage.rates)


class Interrupted:
    """Trains with a checkpoint after every epoch; crashes when the clock, ticking once per batch, reaches a number."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.log: list[int] = []
        self.restarts: list[int] = []

    def start(self, crash_in_epoch: int | None = None, where: str = "loss") -> Best:
        crash = crash_in_epoch

        class Stage(ToyStage):
            def loss(self, batch: torch.Tensor, epoch: int) -> dict[str, torch.Tensor]:
                if (where, epoch) == ("loss", crash) and len(self.batches[epoch]) == 1:
                    raise CrashError
                return super().loss(batch, epoch)

            def validate(self, epoch: int) -> dict[str, torch.Tensor]:
                if (where, epoch) == ("validate", crash):
                    raise CrashError
                return super().validate(epoch)

        def log(row: dict[str, Any]) -> None:
            self.log.append(row["epoch"])
            if (where, row["epoch"] - 1) == ("log", crash):
                raise CrashError

        place = Place(CPU, 3, ("image", "toy"), self.checkpoint, "id", log, restart=self._restart, checkpoint_seconds=0)
        return fit(Stage, place)

    def _restart(self, epoch: int) -> None:
        self.restarts.append(epoch)
        self.log = [row for row in self.log if row <= epoch]


@pytest.mark.parametrize("where", ["loss", "validate", "log"])
@pytest.mark.parametrize("epoch", range(5))
def test_a_crash_in_any_epoch_changes_nothing(tmp_path: Path, epoch: int, where: str) -> None:
    whole = run()[0]
    training = Interrupted(tmp_path / "toy")
    with pytest.raises(CrashError):
        training.start(epoch, where)
    assert same(training.start(), whole)
    assert training.restarts == [0, epoch]
    assert training.log == [1, 2, 3, 4, 5]


def test_crashes_in_every_epoch_one_after_the_other_change_nothing(tmp_path: Path) -> None:
    training = Interrupted(tmp_path / "toy")
    for epoch in range(5):
        with pytest.raises(CrashError):
            training.start(epoch)
    assert same(training.start(), run()[0])
    assert training.restarts == [0, 0, 1, 2, 3, 4]


def test_a_finished_stage_is_read_from_its_checkpoint(tmp_path: Path) -> None:
    training = Interrupted(tmp_path / "toy")
    first = training.start()
    assert same(training.start(crash_in_epoch=0), first)
    assert training.restarts == [0, 5]


def test_checkpoints_wait_for_their_time(tmp_path: Path) -> None:
    place = Place(CPU, 3, ("image", "toy"), tmp_path / "toy", checkpoint_seconds=3600)
    fit(ToyStage, place)
    assert not (tmp_path / "toy").exists()
