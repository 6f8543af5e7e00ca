"""The loop, on a stage that is no method: its steps, rates, the best epoch, and going on after a crash."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.training.toy import ToyObjective, ToyStage
from xfeat.errors import InputError
from xfeat.methods.base import Noise
from xfeat.training.checkpoint import Best
from xfeat.training.loop import Place, fit, is_validated, make_optimizer, set_learning_rate
from xfeat.training.seeds import seeded

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
    assert len(stage.train.seen) == 3
    for batches in stage.train.seen:
        assert sorted(row for batch in batches for row in batch) == list(range(rows))
        sizes = [len(batch) for batch in batches]
        assert max(sizes) - min(sizes) <= 1


def test_batches_differ_from_epoch_to_epoch() -> None:
    _, stage, _ = run(rows=30, epochs=4)
    assert len({str(batches) for batches in stage.train.seen}) == 4


def literal_adam(
    parameters: dict[str, Tensor], gradients: list[Tensor], slots: dict[str, list[Tensor]], step: int, lr: float
) -> None:
    """Adam with betas 0.5 and 0.999 and decoupled decay 0.1 of the last layer's weights, in float64."""
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        first, second = slots[name]
        first.mul_(0.5).add_(gradient, alpha=0.5)
        second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        with torch.no_grad():
            if name == "last.weight":
                parameter.mul_(1 - lr * 0.1)
            unbiased = first / (1 - 0.5**step), second / (1 - 0.999**step)
            parameter.sub_(lr * unbiased[0] / (unbiased[1].sqrt() + 1e-8))


@pytest.mark.parametrize("course", ["cosine", "constant"])
def test_training_is_adam_on_each_batch_at_its_rate(course: str) -> None:
    """The whole loop, written out: batches, noise, q, rates, updates."""
    stage, generator = seeded(lambda: ToyStage(lr_schedule=course, epochs=3), CPU, 3, "image", "toy")  # type: ignore[arg-type]
    objective = stage.objective.double()
    parameters = dict(objective.named_parameters())
    slots = {name: [torch.zeros_like(p), torch.zeros_like(p)] for name, p in parameters.items()}
    step, means = 0, []
    for epoch in range(3):
        losses = []
        order = torch.randperm(10, generator=generator)
        for batch in (order[:4], order[4:7], order[7:]):
            x, y = stage.train.table.take(batch, stage.train.scale)
            noise = objective.draw(len(batch), generator)
            loss = objective(x.double(), y.double(), noise, torch.tensor(epoch / 6, dtype=torch.float64))["loss"]
            rate = 0.05 * (0.5 * (1 + math.cos(math.pi * step / 9)) if course == "cosine" else 1)
            gradients = torch.autograd.grad(loss, list(parameters.values()))
            literal_adam(parameters, list(gradients), slots, step := step + 1, rate)
            losses.append(loss.item())
        means.append(sum(losses) / 3)
    found, _, log = run(epochs=3, lr_schedule=course, scores=[0, 1, 2])
    for name, tensor in objective.state_dict().items():
        torch.testing.assert_close(found.tensors[name].double(), tensor, atol=2e-5, rtol=1e-4)
    assert [row["train_loss"] for row in log] == pytest.approx(means, rel=1e-4)


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
    _, _, log = run(rows=60, epochs=60, width=32, lr=0.01)
    assert log[-1]["val_score"] > 0.5 * log[0]["val_score"]  # scores are negative errors


@pytest.mark.parametrize(
    ("scores", "best"),
    [([1, 3, 3, 2, 3], 2), ([0, 0, 0, 0, 0], 1), ([-3, -2, -1, -0.5, -0.25], 5), ([9, 1, 1, 1, 1], 1)],
)
def test_the_earliest_of_the_best_epochs_is_kept(scores: list[float], best: int) -> None:
    found, stage, _ = run(scores=scores)
    assert (found.epoch, found.score) == (best, scores[best - 1])
    final = stage.objective.state_dict()
    assert (best == 5) == all(torch.equal(found.tensors[name], final[name]) for name in final)


def test_the_kept_tensors_are_those_of_the_best_epoch() -> None:
    class AlikeStage(ToyStage):
        def q(self, epoch: int) -> float:
            return 0.0  # whatever the number of epochs

    def kept(**options: Any) -> Best:
        return fit(lambda: AlikeStage(lr_schedule="constant", **options), Place(CPU, 3, ("image", "toy")))

    assert same(kept(scores=[0, 1, 0, 0, 0]), kept(scores=[0, 1], epochs=2))


@pytest.mark.parametrize(
    ("epochs", "every", "looked"), [(5, 1, [1, 2, 3, 4, 5]), (5, 2, [2, 4, 5]), (6, 3, [3, 6]), (2, 9, [2])]
)
def test_validation_comes_as_often_as_asked_and_after_the_last_epoch(
    epochs: int, every: int, looked: list[int]
) -> None:
    _, stage, log = run(epochs=epochs, validate_every=every)
    assert [row["epoch"] for row in log] == looked
    assert [epoch + 1 for epoch in range(epochs) if is_validated(stage.schedule, epoch)] == looked
    assert {key for row in log for key in row} == {"epoch", "train_loss", "train_half", "val_score"}
    for row in log:
        assert row["train_half"] == pytest.approx(row["train_loss"] / 2)


def test_a_loss_that_is_not_finite_is_named_with_its_place() -> None:
    with pytest.raises(InputError, match=r"^image toy: train_loss, train_half, val_score is not finite in epoch 3"):
        run(broken=2)
    with pytest.raises(InputError, match=r"^image toy: val_score is not finite in epoch 2"):
        run(scores=[0, math.inf, 0, 0, 0])


@pytest.mark.parametrize(("course", "half"), [("cosine", 0.025), ("constant", 0.05)])
def test_the_rate_falls_from_its_start_along_half_a_cosine_or_stays(course: str, half: float) -> None:
    stage = ToyStage(lr_schedule=course)  # type: ignore[arg-type]
    optimizer = make_optimizer(stage, dict(stage.objective.named_parameters()))

    def rate(progress: float) -> float:
        set_learning_rate(optimizer, stage.schedule, progress)
        (found,) = {float(group["lr"]) for group in optimizer.param_groups}
        return found

    assert rate(0) == 0.05
    assert rate(0.5) == pytest.approx(half)
    assert rate(0.999) == pytest.approx(0.05 if course == "constant" else 0, abs=1e-6)
    assert rate(0) == 0.05


@pytest.mark.parametrize("weight_decay", [0.1, 0.0])
def test_weight_decay_acts_where_the_stage_says_so(weight_decay: float) -> None:
    stage = ToyStage(weight_decay=weight_decay)
    parameters = dict(stage.objective.named_parameters())
    optimizer = make_optimizer(stage, parameters)
    decaying, others = optimizer.param_groups
    assert [p is parameters["last.weight"] for p in decaying["params"]] == [True]
    assert {id(p) for p in others["params"]} == {id(p) for n, p in parameters.items() if n != "last.weight"}
    assert [group["weight_decay"] for group in (decaying, others)] == [weight_decay, 0]
    assert {tuple(group["betas"]) for group in optimizer.param_groups} == {(0.5, 0.999)}


def test_a_stage_in_which_nothing_decays_has_an_optimizer_too() -> None:
    class Undecayed(ToyStage):
        def decays(self, name: str) -> bool:
            return False

    stage = Undecayed()
    (group,) = make_optimizer(stage, dict(stage.objective.named_parameters())).param_groups
    assert (len(group["params"]), group["weight_decay"]) == (4, 0)


class CrashingObjective(ToyObjective):
    """Crashes in the second batch of an epoch, which q tells."""

    crash: float | None = None
    steps = 0

    def forward(self, x: Tensor, y: Tensor, noise: Noise, q: Tensor) -> dict[str, Tensor]:
        if noise and self.crash is not None and q == torch.tensor(self.crash):
            self.steps += 1
            if self.steps == 2:
                raise CrashError
        return super().forward(x, y, noise, q)


class Interrupted:
    """Trains with a checkpoint after every epoch; crashes where and in which epoch it is told to."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.log: list[int] = []
        self.restarts: list[int] = []
        self.advanced = 0

    def start(self, crash_in_epoch: int | None = None, where: str = "loss") -> Best:
        crash = crash_in_epoch

        class Stage(ToyStage):
            def __init__(self) -> None:
                super().__init__()
                self.objective.__class__ = CrashingObjective
                if where == "loss" and crash is not None:
                    self.objective.crash = self.q(crash)

            def validate(self, epoch: int) -> dict[str, torch.Tensor]:
                if (where, epoch) == ("validate", crash):
                    raise CrashError
                return super().validate(epoch)

        def log(row: dict[str, Any]) -> None:
            self.log.append(row["epoch"])
            if (where, row["epoch"] - 1) == ("log", crash):
                raise CrashError

        place = Place(
            CPU,
            3,
            ("image", "toy"),
            checkpoint=self.checkpoint,
            identity="id",
            log=log,
            advance=self._advance,
            restart=self._restart,
            checkpoint_seconds=0,
        )
        return fit(Stage, place)

    def _advance(self) -> None:
        self.advanced += 1

    def _restart(self, epoch: int) -> None:
        self.restarts.append(epoch)
        self.advanced = epoch
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
    assert training.advanced == 5


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
    place = Place(CPU, 3, ("image", "toy"), checkpoint=tmp_path / "toy", checkpoint_seconds=3600)
    fit(ToyStage, place)
    assert not (tmp_path / "toy").exists()
