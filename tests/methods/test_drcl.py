"""Both stages of DRCL against the paper's formulas, written out in float64."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from tests.methods.building import (
    CLASSES,
    DIM,
    FORMS,
    OUT,
    SETTINGS,
    SMALL_FORM,
    batch_of,
    descend,
    everything,
    resolved,
    some_data,
    some_rows,
)
from tests.methods.oracle import literal_gce, literal_rsc, literal_weights, probabilities
from xfeat.heads import Branch
from xfeat.losses import mix
from xfeat.methods.drcl import embed, make_branch, orthogonal_columns, quality_score, recast_matrix, schedule_q
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.drcl_stages import (
    SELECTION_Q,
    VALIDATIONS,
    RscObjective,
    RscStage,
    SplObjective,
    SplStage,
    class_weights,
)

ABLATIONS: dict[str, dict[str, Any]] = {
    "as published": {},
    "no recast": {"alpha": 0.0, "beta": 0.0},
    "no structure": {"alpha": 0.0},
    "no augmentation": {"gamma": 1.0},
    "cross entropy": {"gce": False},
    "other weights": {"alpha": 0.7, "beta": 2.0, "eta": 0.3, "gamma": 0.6},
    "classes balanced": {"class_weight": "balanced"},
    "sharper softmax": {"logit_scale": 5.0},
    "noisy features": {"input_noise": 0.5},
    "small form": SMALL_FORM,
}


def doubled(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().double().numpy() for tensor in tensors]


def numbers(parts: dict[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in parts.items()}


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


def test_q_may_grow_to_less_than_one() -> None:
    less = SETTINGS.model_copy(update={"q_max": 0.4})
    assert [schedule_q(less, epoch, 4) for epoch in range(4)] == pytest.approx([0, 0.2, 0.4, 0.4])
    assert {schedule_q(SETTINGS.model_copy(update={"q_max": 0.0}), epoch, 4) for epoch in range(4)} == {0.0}


def test_each_stage_has_its_own_schedule() -> None:
    settings = resolved(spl_epochs=8, epochs=20, spl_lr=0.5, lr=0.25, weight_decay=0.1, lr_schedule="cosine")
    first, second = SplStage(some_data(), settings), RscStage(some_data(), torch.randn(OUT, CLASSES), settings)
    for stage, epochs, lr in ((first, 8, 0.5), (second, 20, 0.25)):
        s = stage.schedule
        assert (s.batch_size, s.epochs, s.lr, s.lr_schedule, s.weight_decay) == (16, epochs, lr, "cosine", 0.1)
        assert s.betas == (0.5, 0.999)
        assert [stage.q(epoch) for epoch in (0, epochs // 4, epochs)] == [0, 0.5, 1]


@pytest.mark.parametrize(("size", "epochs", "every"), [("small", 10, 1), ("small", 250, 5), ("paper", 250, 1)])
def test_the_paper_looks_after_every_epoch_and_small_runs_now_and_then(size: str, epochs: int, every: int) -> None:
    stage = RscStage(some_data(), torch.randn(OUT, CLASSES), resolved(size=size, epochs=epochs))
    assert stage.schedule.validate_every == every
    assert size == "paper" or epochs / every <= VALIDATIONS


@pytest.mark.parametrize("multi", [False, True], ids=["single-label", "multi-label"])
def test_balanced_classes_weigh_the_same_in_total(multi: bool) -> None:
    data = some_data(multi=multi)
    weights = class_weights(data, resolved(class_weight="balanced"))
    assert weights is not None
    assert weights.tolist() == pytest.approx(literal_weights(data.counts), rel=1e-6)
    y = everything(data.train)[1]  # type: ignore[arg-type]
    assert len(set(data.counts.tolist())) > 1
    torch.testing.assert_close((y * weights).sum(0), torch.full((CLASSES,), len(y) / CLASSES))
    assert (y @ weights).mean().item() == pytest.approx(1, rel=1e-5)
    assert class_weights(data, resolved()) is None


def test_a_class_without_rows_has_no_weight_and_takes_none_from_the_others() -> None:
    data = replace(some_data(), counts=torch.tensor([6.0, 0.0, 2.0, 0.0]))
    weights = class_weights(data, resolved(class_weight="balanced"))
    assert weights is not None
    assert weights.tolist() == pytest.approx([4 / 6, 0, 2, 0])


@pytest.mark.parametrize("multi", [False, True], ids=["single-label", "multi-label"])
@pytest.mark.parametrize("q", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(
    "changes", [{}, {"class_weight": "balanced"}, {"logit_scale": 5.0, "input_noise": 0.5}, SMALL_FORM]
)
def test_the_loss_of_stage_1_is_its_formula(multi: bool, q: float, changes: dict[str, Any]) -> None:
    torch.manual_seed(2)
    data, settings = some_data(multi=multi), resolved(**changes, dropout=0.5, input_dropout=0.2)
    objective = SplObjective(data, settings)
    x, y = batch_of(data, [3, 0, 17, 5, 11])
    noise = objective.draw(len(x), torch.Generator().manual_seed(3))
    layers = ("input", "hidden")[: settings.layers]
    assert set(noise) == {"features", *layers, *(["noise"] if settings.input_noise else [])}
    for some in (noise, {}):
        z, target, prior = doubled(objective.branch(x + some.get("noise", 0), some), y, objective.prior)
        found = objective(x, y, some, torch.tensor(q))
        assert found.keys() == {"loss"}
        assert found["loss"].item() == pytest.approx(literal_gce(z, target, prior, q, settings, data.counts), rel=1e-5)
    assert objective(x, y, noise, torch.tensor(q))["loss"] != objective(x, y, {}, torch.tensor(q))["loss"]


@pytest.mark.parametrize("multi", [False, True], ids=["single-label", "multi-label"])
@pytest.mark.parametrize("score_on", ["train", "val"])
@pytest.mark.parametrize("s", [1.0, 5.0])
def test_the_quality_score_is_the_mean_probability_of_the_true_label(multi: bool, score_on: str, s: float) -> None:
    torch.manual_seed(3)
    data = some_data(multi=multi)
    stage = SplStage(data, resolved(score_on=score_on, dropout=0.5, input_noise=0.5, logit_scale=s))
    rows = data.train if score_on == "train" else data.val
    x, y = everything(rows)  # type: ignore[arg-type]
    branch, prior = stage.objective.branch, stage.objective.prior.detach()
    expected = probabilities(*doubled(embed(branch, x), y, prior), s)
    assert stage.validate(0)["score"].item() == pytest.approx(np.mean(expected), rel=1e-5)
    assert quality_score(branch, prior, rows, scale=s).item() == pytest.approx(np.mean(expected), rel=1e-5)
    assert quality_score(branch, prior, rows, scale=s, most=10**6).item() == pytest.approx(np.mean(expected), rel=1e-5)
    spread = [round(place) for place in np.linspace(0, len(rows) - 1, 4)]
    some = np.mean([expected[row] for row in spread])
    assert quality_score(branch, prior, rows, scale=s, most=4).item() == pytest.approx(some, rel=1e-5)
    assert some != pytest.approx(np.mean(expected), rel=1e-3)


def test_stage_1_starts_from_orthonormal_columns_and_trains_them() -> None:
    torch.manual_seed(4)
    stage = SplStage(some_data(), resolved())
    start = stage.keep()["W"].clone()
    torch.testing.assert_close(start.T @ start, torch.eye(CLASSES), atol=1e-6, rtol=0)
    assert stage.keep().keys() == {"W"}
    descend(stage, 1)
    assert not torch.equal(stage.keep()["W"], start)


@pytest.mark.parametrize("form", FORMS)
def test_training_raises_the_quality_score(form: str) -> None:
    torch.manual_seed(5)
    stage = SplStage(some_data(train=64), resolved(rows=64, **FORMS[form]))
    before = stage.validate(0)["score"].item()
    assert before < 0.5
    descend(stage, 40)
    assert stage.validate(39)["score"].item() > before + 0.4


def test_the_last_epoch_of_stage_1_outranks_any_before_and_its_quality_is_told() -> None:
    torch.manual_seed(5)
    data = some_data()
    last, best = (SplStage(data, resolved(spl_keep=keep)) for keep in ("last", "best"))
    best.objective.load_state_dict(last.objective.state_dict())
    quality = best.validate(0)["score"].item()
    for epoch in (0, 3):
        found = numbers(last.validate(epoch))
        assert found == pytest.approx({"score": quality + epoch, "quality": quality})
    assert 0 < quality < 1


@pytest.mark.parametrize("multi", [False, True], ids=["single-label", "multi-label"])
@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("q", [0.0, 0.4, 1.0])
def test_the_loss_of_stage_2_is_its_formula(ablation: str, q: float, multi: bool) -> None:
    torch.manual_seed(6)
    data, settings = some_data(multi=multi), resolved(**ABLATIONS[ablation], dropout=0.2)
    objective = RscObjective(data, torch.randn(OUT, CLASSES), settings)
    x, y = batch_of(data, [3, 0, 17, 5, 11, 20, 8])
    noise = objective.draw(len(x), torch.Generator().manual_seed(7))
    g = settings.gamma
    assert ("partner" in noise) is (g < 1)
    pi = noise["partner"].numpy() if g < 1 else np.arange(len(x))
    assert sorted(pi) == list(range(len(x)))
    z, target, prior = doubled(objective.branch(x + noise.get("noise", 0), noise), y, objective.prior)
    expected = literal_rsc(g * z + (1 - g) * z[pi], g * target + (1 - g) * target[pi], prior, q, settings, data.counts)
    assert numbers(objective(x, y, noise, torch.tensor(q))) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_augmentation_moves_rows_and_its_randomness_is_the_generators() -> None:
    objective = RscObjective(some_data(), torch.randn(OUT, CLASSES), resolved(dropout=0.3, input_noise=0.5))
    first, again, other = (objective.draw(9, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.keys() == again.keys() == {"input", "hidden", "noise", "partner"}
    assert objective.draw(4000, torch.Generator())["noise"].std().item() == pytest.approx(0.5, rel=0.02)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)
    assert not torch.equal(first["partner"], torch.arange(9))
    small = RscObjective(some_data(), torch.randn(OUT, CLASSES), resolved(**SMALL_FORM))
    assert small.draw(9, torch.Generator()).keys() == {"noise", "partner"}  # nothing is dropped, one layer


@pytest.mark.parametrize(
    "changes", [{"gamma": 0.5}, {"gamma": 1.0}, {"gce": False}, {"class_weight": "balanced"}, {"logit_scale": 5.0}]
)
def test_validation_sees_all_rows_unmixed_at_one_q(changes: dict[str, Any]) -> None:
    torch.manual_seed(8)
    data, settings = some_data(), resolved(**changes, dropout=0.5, input_noise=0.5, precision="bf16")
    stage = RscStage(data, torch.randn(OUT, CLASSES), settings)
    x, y = everything(data.val)  # type: ignore[arg-type]
    z, target, prior = doubled(embed(stage.objective.branch, x), y, stage.objective.prior)
    q = SELECTION_Q if settings.gce else 0.0
    expected = literal_rsc(z, target, prior, q, settings, data.counts)
    for epoch in (0, 9):  # the loss that selects must not move with q
        found = numbers(stage.validate(epoch))
        assert found == pytest.approx({**expected, "score": -expected["loss"]}, rel=1e-4, abs=1e-6)


def test_validation_in_pieces_is_the_mean_over_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xfeat.training.resident.PIECE", 4)
    torch.manual_seed(9)
    data, settings = some_data(val=10), resolved(gce=False)
    stage = RscStage(data, torch.randn(OUT, CLASSES), settings)
    x, y = everything(data.val)  # type: ignore[arg-type]
    z, target, prior = doubled(embed(stage.objective.branch, x), y, stage.objective.prior)
    expected = dict.fromkeys(("loss", "intra", "inter", "mse", "gce"), 0.0)
    for piece in (slice(0, 4), slice(4, 7), slice(7, 10)):
        literal = literal_rsc(z[piece], target[piece], prior, 0.0, settings, data.counts)
        for name, value in literal.items():
            expected[name] += value * len(z[piece]) / 10
    found = numbers(stage.validate(0))
    assert found == pytest.approx({**expected, "score": -expected["loss"]}, rel=1e-4, abs=1e-6)


def test_selecting_the_last_epoch_scores_by_the_epoch() -> None:
    torch.manual_seed(10)
    stage = RscStage(some_data(), torch.randn(OUT, CLASSES), resolved(select="last"))
    assert [stage.validate(epoch)["score"].item() for epoch in range(3)] == [0, 1, 2]
    assert stage.validate(0).keys() == {"score", "loss", "gce", "intra", "inter", "mse"}


def test_without_validation_rows_the_last_epoch_is_kept_and_nothing_is_logged() -> None:
    stage = RscStage(some_data(val=0), torch.randn(OUT, CLASSES), resolved(select="last"))
    assert [numbers(stage.validate(epoch)) for epoch in (0, 7)] == [{"score": 0}, {"score": 7}]


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_the_gradient_of_stage_2_with_respect_to_embeddings(ablation: str) -> None:
    torch.manual_seed(11)
    settings = resolved(**ABLATIONS[ablation])
    objective = RscObjective(some_data(), torch.randn(OUT, CLASSES), settings).double()
    y = everything(some_rows(5))[1].double()
    pi = torch.randperm(5)
    q = torch.tensor(0.6, dtype=torch.float64)

    def loss(z: Tensor) -> Tensor:
        return objective.parts(*mix(z, y, pi, settings.gamma), q)["loss"]

    z = normalize(torch.randn(5, OUT, dtype=torch.float64), dim=1).requires_grad_()
    assert torch.autograd.gradcheck(loss, (z,))


@pytest.mark.parametrize("form", FORMS)
def test_stage_2_lowers_its_validation_loss_and_leaves_the_prior_alone(form: str) -> None:
    torch.manual_seed(13)
    prior = torch.randn(OUT, CLASSES)
    stage = RscStage(some_data(train=64), prior.clone(), resolved(rows=64, **FORMS[form]))
    before = stage.validate(0)["loss"].item()
    descend(stage, 30)
    assert stage.validate(29)["loss"].item() < 0.7 * before
    assert torch.equal(stage.objective.prior, prior)
    assert {name for name, _ in stage.objective.named_buffers()} == {"prior", "mixing", "frame"}
    assert all(name.startswith("branch.") for name, _ in stage.objective.named_parameters())
    torch.testing.assert_close(stage.objective.mixing @ stage.objective.frame, recast_matrix(prior))
    kept = stage.keep()
    assert kept.keys() == stage.objective.branch.state_dict().keys()


def test_a_modality_may_have_its_own_learning_rate() -> None:
    prior, settings = torch.randn(OUT, CLASSES), resolved(modality_lr={"image": 6e-6})
    assert RscStage(some_data(), prior, settings).schedule.lr == 6e-6
    other = replace(some_data(), modality="text")
    assert RscStage(other, prior, settings).schedule.lr == SETTINGS.lr
    assert SplStage(some_data(), settings).schedule.lr == SETTINGS.spl_lr


def test_weight_decay_spares_the_prior() -> None:
    stage = SplStage(some_data(), resolved(weight_decay=0.1))
    spared = {name for name, _ in stage.objective.named_parameters() if not stage.decays(name)}
    assert spared == {"prior"}
    second = RscStage(some_data(), torch.randn(OUT, CLASSES), resolved(weight_decay=0.1))
    assert all(second.decays(name) for name, _ in second.objective.named_parameters())


@pytest.mark.parametrize("form", FORMS)
def test_embedding_drops_nothing_and_goes_in_pieces(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(14)
    branch = make_branch(DIM, resolved(**{**FORMS[form], "dropout": 0.5, "input_dropout": 0.5}))
    features = torch.randn(20, DIM)
    whole = embed(branch, features)
    assert not whole.requires_grad
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(20))
    torch.testing.assert_close(whole, branch(features).detach())
    monkeypatch.setattr("xfeat.methods.drcl.EMBED_ROWS", 7)
    torch.testing.assert_close(embed(branch, features), whole)


def test_a_branch_has_the_sizes_of_its_settings() -> None:
    branch = make_branch(DIM, resolved(dropout=0.5, input_dropout=0.25))
    assert isinstance(branch, Branch)
    assert (branch.input.in_features, branch.input.out_features, branch.output.out_features) == (DIM, 8, OUT)
    assert (branch.dropout, branch.input_dropout) == (0.5, 0.25)
    assert branch.hidden is not None
    assert branch.output.bias is None
    small = make_branch(DIM, resolved(**SMALL_FORM))
    assert small.hidden is None
    assert small.output.bias.norm().item() == pytest.approx(4, rel=1e-6)


def test_open_settings_make_no_branch() -> None:
    with pytest.raises(ValueError, match="not resolved"):
        make_branch(DIM, DrclSettings())
