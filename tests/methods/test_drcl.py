"""Both stages of DRCL against the paper's formulas, written out in float64."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import one_hot

from xfeat.methods.base import BranchData, Rows
from xfeat.methods.drcl import (
    SELECTION_Q,
    RscStage,
    SplStage,
    embed,
    make_branch,
    orthogonal_columns,
    quality_score,
    recast_matrix,
    schedule_q,
)
from xfeat.methods.drcl_settings import DrclSettings

CLASSES, DIM, OUT = 4, 6, 9
SETTINGS = DrclSettings(hidden=8, out=OUT, batch_size=16, spl_epochs=10, epochs=10, lr=1e-2, spl_lr=1e-2, dropout=0.0)
ABLATIONS: dict[str, dict[str, Any]] = {
    "as published": {},
    "no recast": {"alpha": 0.0, "beta": 0.0},
    "no augmentation": {"gamma": 1.0},
    "cross entropy": {"gce": False},
    "other weights": {"alpha": 0.7, "beta": 2.0, "eta": 0.3, "gamma": 0.6},
}


def resolved(rows: int = 24, **changes: Any) -> DrclSettings:
    return SETTINGS.model_copy(update=changes).resolved(rows, CLASSES)


def some_rows(count: int, *, multi: bool = False, seed: int = 0, noise: float = 1.0) -> Rows:
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    targets = one_hot(labels, CLASSES).float()
    if multi:
        targets = (targets + one_hot((labels + 1 + labels % 2) % CLASSES, CLASSES)).clamp(max=1)
        targets /= targets.sum(1, keepdim=True)
    centres = 2 * torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(99))
    return Rows(targets @ centres + noise * torch.randn(count, DIM, generator=g), targets)


def some_data(*, train: int = 24, val: int = 10, multi: bool = False) -> BranchData:
    return BranchData("image", some_rows(train, multi=multi), some_rows(val, multi=multi, seed=1))


def probabilities(z: np.ndarray, y: np.ndarray, prior: np.ndarray) -> list[float]:
    """Softmax probability of each row's own classes."""
    found = []
    for row, target in zip(z, y, strict=True):
        scores = np.array([math.exp(float(row @ column)) for column in prior.T])
        found.append(float(sum(scores / scores.sum() * target / target.sum())))
    return found


def literal_gce(z: np.ndarray, y: np.ndarray, prior: np.ndarray, q: float) -> float:
    each = [-math.log(p) if q == 0 else (1 - p**q) / q for p in probabilities(z, y, prior)]
    return sum(each) / len(each)


def literal_rsc(z: np.ndarray, y: np.ndarray, prior: np.ndarray, q: float, s: DrclSettings) -> dict[str, float]:
    r = y @ np.linalg.pinv(prior)

    def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.array([[2 * (i @ j) / np.linalg.norm(i) / np.linalg.norm(j) for j in b] for i in a])

    cross = similarity(r, z)
    parts = {
        "intra": float(np.mean((similarity(r, r) - similarity(z, z)) ** 2)),
        "inter": float(np.mean((cross - cross.T) ** 2)),
        "mse": float(np.mean((r - z) ** 2)),
        "gce": literal_gce(z, y, prior, q),
    }
    total = s.alpha * (parts["intra"] + parts["inter"]) + s.beta * parts["mse"] + s.eta * parts["gce"]
    return {**parts, "loss": total}


def doubled(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().double().numpy() for tensor in tensors]


def train(stage: SplStage | RscStage, epochs: int) -> None:
    torch.manual_seed(0)
    for epoch in range(epochs):
        for batch in torch.randperm(stage.rows).split(stage.batch_size):
            stage.optimizer.zero_grad()
            stage.loss(batch, epoch)["loss"].backward()
            stage.optimizer.step()


@given(seed=st.integers(0, 10**6), columns=st.integers(1, 12), more=st.integers(0, 20))
def test_orthogonal_columns_are_orthonormal(seed: int, columns: int, more: int) -> None:
    torch.manual_seed(seed)
    frame = orthogonal_columns(columns + more, columns)
    assert frame.dtype == torch.float32
    torch.testing.assert_close(frame.T @ frame, torch.eye(columns), atol=1e-6, rtol=0)


def test_more_classes_than_dimensions_have_no_orthonormal_columns() -> None:
    with pytest.raises(ValueError, match="3 classes need a shared space of at least as many dimensions, got 2"):
        orthogonal_columns(2, 3)


@given(seed=st.integers(0, 10**6), classes=st.integers(1, 8), more=st.integers(0, 8))
def test_recasting_is_the_pseudoinverse_and_undoes_the_prior(seed: int, classes: int, more: int) -> None:
    prior = torch.randn(classes + more, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    recast = recast_matrix(prior)
    np.testing.assert_allclose(recast.numpy(), np.linalg.pinv(prior.numpy()), rtol=1e-6, atol=1e-9)
    condition = float(torch.linalg.cond(prior))
    torch.testing.assert_close(recast @ prior, torch.eye(classes).double(), atol=1e-13 * condition**2, rtol=0)


def test_recasting_keeps_the_dtype_of_the_prior() -> None:
    assert recast_matrix(torch.randn(5, 3)).dtype == torch.float32


def test_q_follows_the_papers_schedule() -> None:
    paper = DrclSettings(size="paper").resolved(2173, 10)
    assert paper.epochs == 200
    for epoch in range(200):
        assert schedule_q(paper, epoch, 200) == pytest.approx(min(1.0, 0.01 * epoch), abs=1e-15)


def test_q_reaches_one_halfway_through_a_stage_of_any_length_or_where_it_is_told_to() -> None:
    assert [schedule_q(SETTINGS, epoch, 8) for epoch in range(8)] == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert schedule_q(SETTINGS, 0, 1) == 0
    assert schedule_q(SETTINGS.model_copy(update={"q_epochs": 4}), 1, 100) == 0.25


def test_q_stays_zero_without_gce() -> None:
    plain = SETTINGS.model_copy(update={"gce": False})
    assert {schedule_q(plain, epoch, 200) for epoch in range(200)} == {0.0}


@pytest.mark.parametrize("multi", [False, True], ids=["single-label", "multi-label"])
@pytest.mark.parametrize("epoch", [0, 3, 9])
@pytest.mark.parametrize("gce", [True, False], ids=["gce", "ce"])
def test_the_loss_of_stage_1_is_its_formula(multi: bool, epoch: int, gce: bool) -> None:
    torch.manual_seed(2)
    data = some_data(multi=multi)
    stage = SplStage(data, resolved(gce=gce))
    batch = torch.tensor([3, 0, 17, 5, 11])
    z, y, prior = doubled(
        stage.module.branch(data.train.features[batch]), data.train.targets[batch], stage.module.prior
    )
    q = min(1.0, epoch / 5) if gce else 0.0
    assert stage.loss(batch, epoch)["loss"].item() == pytest.approx(literal_gce(z, y, prior, q), rel=1e-5)


@pytest.mark.parametrize("multi", [False, True], ids=["single-label", "multi-label"])
@pytest.mark.parametrize("score_on", ["train", "val"])
def test_the_quality_score_is_the_mean_probability_of_the_true_label(multi: bool, score_on: str) -> None:
    torch.manual_seed(3)
    data = some_data(multi=multi)
    stage = SplStage(data, resolved(score_on=score_on, dropout=0.5))
    rows = data.train if score_on == "train" else data.val
    z, y, prior = doubled(embed(stage.module.branch, rows.features), rows.targets, stage.module.prior)
    expected = np.mean(probabilities(z, y, prior))
    assert stage.validate(0)["score"].item() == pytest.approx(expected, rel=1e-5)
    assert quality_score(stage.module.branch, stage.module.prior.detach(), rows).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_stage_1_starts_from_orthonormal_columns_and_trains_them() -> None:
    torch.manual_seed(4)
    stage = SplStage(some_data(), resolved())
    start = stage.keep()["W"].clone()
    torch.testing.assert_close(start.T @ start, torch.eye(CLASSES), atol=1e-6, rtol=0)
    train(stage, 1)
    assert not torch.equal(stage.keep()["W"], start)


def test_training_raises_the_quality_score() -> None:
    torch.manual_seed(5)
    stage = SplStage(some_data(train=64), resolved(rows=64))
    before = stage.validate(0)["score"].item()
    assert before == pytest.approx(1 / CLASSES, abs=0.1)
    train(stage, 40)
    assert stage.validate(39)["score"].item() > before + 0.4


@pytest.mark.parametrize("multi", [False, True], ids=["single-label", "multi-label"])
@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("epoch", [0, 2, 9])
def test_the_loss_of_stage_2_is_its_formula(ablation: str, epoch: int, multi: bool) -> None:
    torch.manual_seed(6)
    data, settings = some_data(multi=multi), resolved(**ABLATIONS[ablation])
    stage = RscStage(data, torch.randn(OUT, CLASSES), settings)
    batch = torch.tensor([3, 0, 17, 5, 11, 20, 8])
    torch.manual_seed(7)
    parts = stage.loss(batch, epoch)

    torch.manual_seed(7)
    pi = torch.randperm(len(batch)).numpy()
    assert sorted(pi) == list(range(len(batch)))
    assert list(pi) != list(range(len(batch)))
    z, y, prior = doubled(stage.module(data.train.features[batch]), data.train.targets[batch], stage.prior)
    g = settings.gamma
    q = min(1.0, epoch / 5) if settings.gce else 0.0
    expected = literal_rsc(g * z + (1 - g) * z[pi], g * y + (1 - g) * y[pi], prior, q, settings)
    assert {name: value.item() for name, value in parts.items()} == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_validation_sees_the_whole_unmixed_where_it_fits_a_batch(gamma: float) -> None:
    torch.manual_seed(8)
    data, settings = some_data(), resolved(gamma=gamma, dropout=0.5)
    stage = RscStage(data, torch.randn(OUT, CLASSES), settings)
    z, y, prior = doubled(embed(stage.module, data.val.features), data.val.targets, stage.prior)
    expected = literal_rsc(z, y, prior, SELECTION_Q, settings)
    for epoch in (0, 9):  # the loss that selects must not move with q
        found = {name: value.item() for name, value in stage.validate(epoch).items()}
        assert found == pytest.approx({**expected, "score": -expected["loss"]}, rel=1e-4, abs=1e-6)


def test_validation_in_batches_is_the_mean_over_rows() -> None:
    torch.manual_seed(9)
    data, settings = some_data(val=10), resolved(batch_size=4, gce=False)
    stage = RscStage(data, torch.randn(OUT, CLASSES), settings)
    z, y, prior = doubled(embed(stage.module, data.val.features), data.val.targets, stage.prior)
    expected = dict.fromkeys(("loss", "intra", "inter", "mse", "gce"), 0.0)
    for piece in (slice(0, 4), slice(4, 7), slice(7, 10)):
        for name, value in literal_rsc(z[piece], y[piece], prior, 0.0, settings).items():
            expected[name] += value * len(z[piece]) / 10
    found = {name: value.item() for name, value in stage.validate(0).items()}
    assert found == pytest.approx({**expected, "score": -expected["loss"]}, rel=1e-4, abs=1e-6)


def test_selecting_the_last_epoch_scores_by_the_epoch() -> None:
    torch.manual_seed(10)
    stage = RscStage(some_data(), torch.randn(OUT, CLASSES), resolved(select="last"))
    assert [stage.validate(epoch)["score"].item() for epoch in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_the_gradient_of_stage_2_with_respect_to_embeddings(ablation: str) -> None:
    torch.manual_seed(11)
    settings = resolved(**ABLATIONS[ablation])
    targets = some_rows(5).targets.double()
    stage = RscStage(some_data(), torch.randn(OUT, CLASSES, dtype=torch.float64), settings)
    stage.module = nn.Identity()  # type: ignore[assignment]

    def loss(z: Tensor) -> Tensor:
        stage.data = replace(stage.data, train=Rows(z, targets))
        torch.manual_seed(12)
        return stage.loss(torch.arange(5), 3)["loss"]

    z = torch.nn.functional.normalize(torch.randn(5, OUT, dtype=torch.float64), dim=1).requires_grad_()
    assert torch.autograd.gradcheck(loss, (z,))


def test_stage_2_lowers_its_validation_loss_and_leaves_the_prior_alone() -> None:
    torch.manual_seed(13)
    prior = torch.randn(OUT, CLASSES)
    stage = RscStage(some_data(train=64), prior.clone(), resolved(rows=64))
    before = stage.validate(0)["loss"].item()
    train(stage, 30)
    assert stage.validate(29)["loss"].item() < 0.7 * before
    assert torch.equal(stage.prior, prior)


def test_a_modality_may_have_its_own_learning_rate() -> None:
    prior, settings = torch.randn(OUT, CLASSES), resolved(modality_lr={"image": 6e-6})
    assert RscStage(some_data(), prior, settings).optimizer.param_groups[0]["lr"] == 6e-6
    other = replace(some_data(), modality="text")
    assert RscStage(other, prior, settings).optimizer.param_groups[0]["lr"] == SETTINGS.lr


def test_weight_decay_spares_the_prior() -> None:
    groups = SplStage(some_data(), resolved(weight_decay=0.1)).optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert [tuple(group["betas"]) for group in groups] == [(0.5, 0.999)] * 2


def test_embedding_switches_dropout_off_and_restores_the_mode() -> None:
    torch.manual_seed(14)
    branch = make_branch(DIM, resolved(dropout=0.5, input_dropout=0.5))
    features = some_rows(20).features
    for mode in (True, False):
        branch.train(mode)
        first, second = embed(branch, features), embed(branch, features)
        assert torch.equal(first, second)
        assert branch.training is mode
        assert not first.requires_grad
    torch.testing.assert_close(first.norm(dim=1), torch.ones(20))


def test_open_settings_make_no_branch() -> None:
    with pytest.raises(ValueError, match="not resolved"):
        make_branch(DIM, DrclSettings())
