"""Many seeds as one batched computation are the trainings that each seed would have had alone."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.building import TINY, blobs, files, settings, write_blobs
from xfeat.errors import InputError
from xfeat.methods.base import BranchData
from xfeat.methods.drcl import orthogonal_columns
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.drcl_stages import RscStage, SplStage
from xfeat.training.batched import StackedRows, fit_many, members_that_fit
from xfeat.training.data import ModalityRows
from xfeat.training.drcl import train
from xfeat.training.drcl_group import train_group
from xfeat.training.group import member_path, write_group
from xfeat.training.loop import Place, fit
from xfeat.training.store import load_branch, load_prior

CPU = torch.device("cpu")
SEEDS = [0, 1, 4]
RICH = settings(dropout=0.3, input_noise=0.2, gamma=0.8, weight_decay=0.01)


def data_of(tmp_path: Path, config: DrclSettings) -> list[BranchData]:
    rows = ModalityRows(blobs("image").write(tmp_path / "image"), ("ant", "bee", "cow"), CPU, 1 << 30)
    return [rows.branch_data(standardize=True, val_fraction=config.val_fraction, seed=seed)[0] for seed in SEEDS]


def place(seed: int, **options: Any) -> Place:
    return Place(CPU, seed, ("image", "stage"), **options)


@pytest.mark.parametrize(
    "variant", [{}, {"class_weight": "balanced"}, {"precision": "bf16"}, {"lr_schedule": "cosine"}]
)
def test_every_member_of_stage_2_ends_where_it_would_have_ended_alone(tmp_path: Path, variant: dict[str, Any]) -> None:
    config = RICH.model_copy(update=variant)
    data = data_of(tmp_path, config)
    resolved = config.resolved(len(data[0].train), 3)
    torch.manual_seed(0)
    priors = [orthogonal_columns(resolved.out or 1, 3) for _ in SEEDS]
    makes = [lambda d=d, w=w: RscStage(d, w, resolved) for d, w in zip(data, priors, strict=True)]
    logs: list[list[dict[str, Any]]] = [[] for _ in SEEDS]
    found = fit_many(makes, [place(seed, log=log.append) for seed, log in zip(SEEDS, logs, strict=True)])
    tolerance = 2e-2 if config.precision == "bf16" else 2e-5
    for seed, make, best, log in zip(SEEDS, makes, found, logs, strict=True):
        own: list[dict[str, Any]] = []
        alone = fit(make, place(seed, log=own.append))
        assert [row["epoch"] for row in log] == [row["epoch"] for row in own]
        for one, other in zip(log, own, strict=True):
            assert one == pytest.approx(other, rel=5 * tolerance, abs=tolerance)
        if config.precision == "float32":
            assert best.epoch == alone.epoch
            for name, tensor in alone.tensors.items():
                torch.testing.assert_close(best.tensors[name], tensor, rtol=1e-3, atol=1e-4)


def test_stage_1_too(tmp_path: Path) -> None:
    data = data_of(tmp_path, RICH)
    resolved = RICH.resolved(len(data[0].train), 3)
    makes = [lambda d=d: SplStage(d, resolved) for d in data]
    for best, make, seed in zip(fit_many(makes, [place(s) for s in SEEDS]), makes, SEEDS, strict=True):
        alone = fit(make, place(seed))
        assert best.score == pytest.approx(alone.score, abs=1e-5)
        torch.testing.assert_close(best.tensors["W"], alone.tensors["W"], rtol=1e-3, atol=1e-4)


def test_members_differ_from_each_other(tmp_path: Path) -> None:
    data = data_of(tmp_path, RICH)
    resolved = RICH.resolved(len(data[0].train), 3)
    found = fit_many([lambda d=d: SplStage(d, resolved) for d in data], [place(seed) for seed in SEEDS])
    assert not torch.allclose(found[0].tensors["W"], found[1].tensors["W"], atol=1e-2)


def test_stages_of_different_schedules_are_not_stacked(tmp_path: Path) -> None:
    data = data_of(tmp_path, TINY)
    long = TINY.model_copy(update={"spl_epochs": 9}).resolved(len(data[0].train), 3)
    short = TINY.resolved(len(data[0].train), 3)
    with pytest.raises(ValueError, match="schedules"):
        fit_many([lambda: SplStage(data[0], long), lambda: SplStage(data[1], short)], [place(0), place(1)])


def test_rows_of_different_tables_are_not_stacked(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="one table"):
        StackedRows([data_of(tmp_path, TINY)[0].train, data_of(tmp_path / "other", TINY)[0].train])


def test_a_diverging_member_is_named(tmp_path: Path) -> None:
    data = data_of(tmp_path, TINY)
    wild = TINY.model_copy(update={"spl_lr": 1e30}).resolved(len(data[0].train), 3)
    with pytest.raises(InputError, match="not finite"):
        fit_many([lambda d=d: SplStage(d, wild) for d in data], [place(seed) for seed in SEEDS])


def test_more_memory_takes_more_members_and_never_none(tmp_path: Path) -> None:
    data = data_of(tmp_path, TINY)
    stage = SplStage(data[0], TINY.resolved(len(data[0].train), 3))
    assert members_that_fit(stage, 1) == 1
    assert members_that_fit(stage, 1 << 30) > members_that_fit(stage, 1 << 22) >= 1


@pytest.mark.parametrize("stacked", [True, False])
def test_a_group_is_the_runs_of_its_seeds(tmp_path: Path, stacked: bool) -> None:
    caches = write_blobs(tmp_path, "image", "text")
    seeds = [0, 3]
    outcomes = train_group(caches, tmp_path / "group", RICH, seeds, stacked=stacked, processes=1)
    assert list(outcomes) == seeds
    for seed in seeds:
        alone = train(caches, tmp_path / f"alone{seed}", RICH, seed=seed)
        member = member_path(tmp_path / "group", seed)
        assert outcomes[seed].prior["chosen"] == alone.prior["chosen"]
        mine, own = (load_prior(run / "prior.safetensors").weight for run in (member, tmp_path / f"alone{seed}"))
        torch.testing.assert_close(mine, own, rtol=1e-3, atol=1e-4)
        for name in ("image", "text"):
            file = f"branches/{name}.safetensors"
            heads = [load_branch(run / file).head.state_dict() for run in (member, tmp_path / f"alone{seed}")]
            for key, tensor in heads[1].items():
                torch.testing.assert_close(heads[0][key], tensor, rtol=5e-3, atol=1e-3)


def test_a_group_resumes_and_keeps_what_is_finished(tmp_path: Path) -> None:
    caches = write_blobs(tmp_path, "image", "text")
    out = tmp_path / "group"
    train_group(caches, out, TINY, [0, 1], stacked=True)
    before = files(out, "*.safetensors")
    (member_path(out, 1) / "branches" / "text.json").unlink()
    outcomes = train_group(caches, out, TINY, [0, 1], stacked=True, resume=True)
    assert files(out, "*.safetensors").keys() == before.keys()
    assert {name for name, content in files(out, "*.safetensors").items() if content != before[name]} <= {
        "seed1/branches/text.safetensors"
    }
    assert outcomes[0].fresh == []


def test_a_group_is_claimed_once(tmp_path: Path) -> None:
    caches = write_blobs(tmp_path, "image", "text")
    out = tmp_path / "group"
    train_group(caches, out, TINY, [0, 1], stacked=True)
    with pytest.raises(InputError, match="holds a group already"):
        train_group(caches, out, TINY, [0, 1], stacked=True)
    with pytest.raises(InputError, match="seeds"):
        train_group(caches, out, TINY, [0, 2], stacked=True, resume=True)
    with pytest.raises(InputError, match="other files"):
        train_group(caches, tmp_path / "image", TINY, [0, 1], stacked=True)


def test_bad_input_leaves_no_group(tmp_path: Path) -> None:
    caches = write_blobs(tmp_path, "image")
    with pytest.raises(InputError, match="two caches"):
        train_group([*caches, *caches], tmp_path / "group", TINY, [0, 1], stacked=True)
    assert not (tmp_path / "group").exists()


def test_streamed_features_are_trained_side_by_side(tmp_path: Path) -> None:
    caches = write_blobs(tmp_path, "image")
    # A finished run of the group leaves a single one to train, which takes no process of its own.
    write_group(tmp_path / "group", [0, 1], "drcl")
    train(caches, member_path(tmp_path / "group", 0), settings(memory="1K"))
    outcomes = train_group(caches, tmp_path / "group", settings(memory="1K"), [0, 1], resume=True)
    alone = train(caches, tmp_path / "alone", settings(memory="1K"), seed=1)
    assert outcomes[1].branches["image"]["epoch"] == alone.branches["image"]["epoch"]
    with pytest.raises(ValueError, match="one table in memory"):
        train_group(caches, tmp_path / "other", settings(memory="1K"), [0, 1], stacked=True)
