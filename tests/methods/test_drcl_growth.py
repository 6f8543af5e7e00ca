"""New columns against their definition in float64; the short training moves what it may and nothing else."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import one_hot

from xfeat.heads import Branch
from xfeat.methods.base import BranchData
from xfeat.methods.drcl import make_branch, orthogonal_columns, recast_matrix
from xfeat.methods.drcl_growth import RATES, SHARE, TINY, GrowthStage, Tune, growth_settings, new_columns
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.drcl_stages import RscStage
from xfeat.training.loop import Place, fit
from xfeat.training.resident import InputScale, ResidentRows, Table

CPU = torch.device("cpu")
OUT, OLD, DIM = 12, 3, 5


def a_prior(rows: int, columns: int, seed: int) -> Tensor:
    """Columns of different lengths that are not orthogonal, as training leaves them."""
    torch.manual_seed(seed)
    frame = orthogonal_columns(rows, columns).double()
    return frame @ (torch.eye(columns).double() + 0.3 * torch.rand(columns, columns).double())


@given(seed=st.integers(0, 10**6), columns=st.integers(1, 6), new=st.integers(1, 3), spare=st.integers(0, 5))
def test_old_classes_are_recast_as_they_were(seed: int, columns: int, new: int, spare: int) -> None:
    prior = a_prior(columns + new + spare, columns, seed)
    means, random = torch.randn(2, len(prior), new, dtype=torch.float64)
    found = new_columns(prior, means, random)
    inverse = np.linalg.pinv(torch.cat([prior, found], dim=1).numpy())
    np.testing.assert_allclose(inverse[:columns], np.linalg.pinv(prior.numpy()), atol=1e-10)
    np.testing.assert_allclose(inverse[columns:], (found / found.square().sum(0)).T.numpy(), atol=1e-10)


@given(seed=st.integers(0, 10**6), new=st.integers(1, 4))
def test_old_classes_are_recast_as_they_were_in_the_precision_that_is_stored(seed: int, new: int) -> None:
    prior = a_prior(OUT, OLD, seed).float()
    grown = torch.cat([prior, new_columns(prior, torch.randn(OUT, new), torch.randn(OUT, new))], dim=1)
    torch.testing.assert_close(recast_matrix(grown)[:OLD], recast_matrix(prior), atol=1e-6, rtol=0)


@given(seed=st.integers(0, 10**6), new=st.integers(1, 4))
def test_new_columns_are_apart_from_all_others_and_as_long_as_the_old_on_average(seed: int, new: int) -> None:
    prior = a_prior(OUT, OLD, seed)
    found = new_columns(prior, torch.randn(OUT, new).double(), torch.randn(OUT, new).double())
    length = float(np.mean([np.linalg.norm(column) for column in prior.numpy().T]))
    torch.testing.assert_close(prior.T @ found, torch.zeros(OLD, new).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(found.T @ found, torch.eye(new).double() * length**2, atol=1e-12, rtol=0)


def test_a_new_column_points_where_the_rest_does_not_explain_the_class() -> None:
    prior, (means, random) = a_prior(OUT, OLD, 1), torch.randn(2, OUT, 3, dtype=torch.float64)
    found = new_columns(prior, means, random).numpy()
    taken = prior.numpy()
    for column, mean in zip(found.T, means.numpy().T, strict=True):
        rest = mean - taken @ np.linalg.lstsq(taken, mean, rcond=None)[0]
        np.testing.assert_allclose(column / np.linalg.norm(column), rest / np.linalg.norm(rest), atol=1e-9)
        taken = np.column_stack([taken, column])


def test_a_class_whose_mean_says_nothing_new_gets_a_random_direction() -> None:
    prior, random = a_prior(OUT, OLD, 2), torch.randn(OUT, 2, dtype=torch.float64)
    twice = torch.randn(OUT, dtype=torch.float64)
    twice /= twice.norm()
    barely = prior[:, 0] + 0.5 * TINY * random[:, 0] / random[:, 0].norm()
    for means in (torch.stack([twice, twice], dim=1), torch.stack([twice, barely], dim=1)):
        found = new_columns(prior, means, random).numpy()
        taken = np.column_stack([prior.numpy(), found[:, 0]])
        spare = random[:, 1].numpy()
        rest = spare - taken @ np.linalg.lstsq(taken, spare, rcond=None)[0]
        np.testing.assert_allclose(found[:, 1] / np.linalg.norm(found[:, 1]), rest / np.linalg.norm(rest), atol=1e-9)


def test_a_prior_of_lower_rank_grows_too() -> None:
    prior = a_prior(OUT, OLD, 3)
    prior[:, 2] = prior[:, 0] + prior[:, 1]
    found = new_columns(prior, torch.randn(OUT, 2).double(), torch.randn(OUT, 2).double())
    inverse = np.linalg.pinv(torch.cat([prior, found], dim=1).numpy())
    np.testing.assert_allclose(inverse[:OLD], np.linalg.pinv(prior.numpy()), atol=1e-10)


def test_more_classes_than_dimensions_have_no_room() -> None:
    with pytest.raises(ValueError, match=r"3 \+ 2 classes need as many dimensions, there are 4"):
        new_columns(torch.randn(4, 3), torch.randn(4, 2), torch.randn(4, 2))


@pytest.mark.parametrize("tune", ["output", "all"])
def test_the_short_training_is_a_share_of_stage_2(tune: Tune) -> None:
    settings = DrclSettings(epochs=100, lr=0.3, modality_lr={"text": 0.6}, lr_schedule="constant", alpha=0.7, gamma=0.8)
    found = growth_settings(settings.resolved(50, 4), tune)
    assert found.epochs == round(SHARE * 100)
    assert found.lr == pytest.approx(0.3 * RATES[tune])
    assert found.modality_lr == {"text": pytest.approx(0.6 * RATES[tune])}
    assert (found.alpha, found.gamma) == (0.7, 0.8)
    with pytest.raises(ValueError, match="not resolved"):
        growth_settings(DrclSettings(), tune)


def some_stage(tune: Tune, **changes: Any) -> tuple[GrowthStage, Branch]:
    settings = DrclSettings(hidden=8, out=OUT, batch_size=16, epochs=6, lr=0.05, **changes).resolved(40, OLD + 1)
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % (OLD + 1)
    features = one_hot(labels, DIM).float() + 0.1 * torch.randn(40, DIM, generator=g)
    rows = ResidentRows(
        Table(features, labels, OLD + 1), torch.arange(40), InputScale(torch.zeros(DIM), torch.ones(DIM))
    )
    data = BranchData("image", rows, rows, torch.full((OLD + 1,), 10.0))
    torch.manual_seed(4)
    head = make_branch(DIM, settings)
    prior = orthogonal_columns(OUT, OLD + 1)
    return GrowthStage(data, prior, settings, head.state_dict(), tune), head


@pytest.mark.parametrize(("tune", "frozen"), [("output", {"input", "hidden"}), ("all", set())])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_only_what_is_tuned_moves(tune: Tune, frozen: set[str], decay: float) -> None:
    stage, head = some_stage(tune, weight_decay=decay)
    start = stage.validate(0)["loss"]
    best = fit(lambda: stage, Place(CPU, 0, ("image", "add-class")))
    assert set(best.tensors) == set(head.state_dict())
    for name, old in head.state_dict().items():
        assert torch.equal(best.tensors[name], old) is (name.split(".")[0] in frozen), name
    assert -best.score < float(start)


def test_the_loss_is_that_of_stage_2_at_the_weights_that_are_there() -> None:
    stage, head = some_stage("output", dropout=0.0)
    plain = RscStage(
        BranchData("image", stage.train, stage.val, torch.ones(OLD + 1)), stage.objective.prior, stage.settings
    )
    assert not torch.equal(plain.validate(0)["loss"], stage.validate(0)["loss"])
    plain.objective.branch.load_state_dict(head.state_dict())
    for name, value in plain.validate(0).items():
        assert torch.equal(stage.validate(0)[name], value), name
