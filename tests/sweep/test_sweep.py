import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.sweep.building import QUICK, write_caches, write_config
from tests.training.building import files
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.settings import read_config
from xfeat.sweep.best import Result
from xfeat.sweep.config import read_sweep
from xfeat.sweep.folder import Record
from xfeat.sweep.sweep import sweep
from xfeat.training.asked import Asked
from xfeat.training.drcl import begin, train
from xfeat.training.evaluating import evaluate_path

CPU = torch.device("cpu")
UNPRIORED = {name: value for name, value in QUICK.items() if name != "prior"}
SCORES = ("score", "deviation", "by_seed", "values", "number", "error")


class StoppedError(Exception):
    """What ends a process."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Caches with a split val, to read only."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("data")
    write_caches(path)
    return path


@pytest.fixture(scope="module")
def done(folder: Path) -> Result:
    """A grid that was run through."""
    return sweep(read_sweep(write_config(folder)), folder / "done", CPU)


def scores(result: Result) -> list[dict[str, Any]]:
    return [{name: getattr(one, name) for name in SCORES} for one in result.records]


class Seen:
    """Which trials were run; after ``most`` of them the process ends."""

    def __init__(self, most: int = 100) -> None:
        self.most, self.over, self.ran_here = most, -1, list[int]()

    def begun(self, over: int) -> None:
        self.over = over

    def ran(self, record: Record) -> None:
        self.ran_here.append(record.number)
        if len(self.ran_here) == self.most:
            raise StoppedError


def test_trials_are_runs_scored_on_val_rows(done: Result) -> None:
    assert [one.number for one in sorted(done.records, key=lambda one: one.number)] == [0, 1, 2, 3]
    assert [one.score for one in done.records] == sorted((one.score for one in done.records), reverse=True)
    for one in done.records:
        answer = evaluate_path(done.path / "trials" / f"{one.number:04d}", Asked(split="val"), CPU)
        assert one.score == answer.document["mean"]["mAP@all"]
        assert one.by_seed == {"0": one.score}
        assert one.protocol == answer.document["protocol"]
    assert done.best.values["lr"] == 0.1  # the other hardly moves


def test_the_winner_trains_again_from_its_config(done: Result, folder: Path, tmp_path: Path) -> None:
    found = read_config(done.path / "best.yaml")
    assert found.settings == {**QUICK, **done.best.values}
    assert found.about["validation"]["score"] == done.best.score
    assert found.about["selection"] == "selected on validation rows only; test rows were not read"
    caches = [FeatureCache(folder / name) for name in ("image", "text")]
    train(caches, tmp_path / "again", DrclSettings(**found.settings))
    trial = done.path / found.about["sweep"]["winner"]
    assert files(tmp_path / "again" / "branches") == files(trial / "branches")
    summary = json.loads((done.path / "sweep.json").read_text())
    assert summary["best"] == done.best.number
    assert [one["score"] for one in summary["trials"]] == [one.score for one in done.records]


def test_test_rows_change_nothing(done: Result, tmp_path: Path) -> None:
    write_caches(tmp_path, spoilt=("test",))
    winner = {"space": {name: [value] for name, value in done.best.values.items()}}
    assert scores(sweep(read_sweep(write_config(tmp_path)), tmp_path / "out", CPU)) == scores(done)
    write_caches(tmp_path / "val", spoilt=("val",))
    (other,) = sweep(read_sweep(write_config(tmp_path / "val", **winner)), tmp_path / "val" / "out", CPU).records
    assert other.score != done.best.score


def test_the_same_call_goes_on(done: Result, folder: Path, tmp_path: Path) -> None:
    config = read_sweep(write_config(folder))
    for _ in range(2):
        with pytest.raises(StoppedError):
            sweep(config, tmp_path / "out", CPU, Seen(1))
    # The third was begun, and its process killed before anything was trained.
    caches = [FeatureCache(path) for path in config.caches]
    trainer = begin(caches, tmp_path / "out" / "trials" / "0002", DrclSettings(**QUICK, lr=0.1, eta=1.0), 0, CPU, False)
    trainer.run.path.mkdir()
    trainer.run.save_config(trainer.config)
    seen = Seen()
    result = sweep(config, tmp_path / "out", CPU, seen)
    assert (seen.over, seen.ran_here) == (2, [2, 3])
    assert scores(result) == scores(done)
    before = files(tmp_path / "out" / "trials")
    assert scores(sweep(config, tmp_path / "out", CPU, Seen(1))) == scores(done)
    assert files(tmp_path / "out" / "trials") == before


def test_another_config_is_refused(done: Result, folder: Path) -> None:
    for changes, words in (
        ({"space": {"lr": [0.0001, 0.2], "eta": [1.0, 0.5]}}, r"space\.lr: \[0.0001, 0.1\] -> \[0.0001, 0.2\]"),
        ({"seeds": [1]}, r"seeds: \[0\] -> \[1\]"),
        ({"metric": "mAP@50"}, "metric: 'mAP@all' -> 'mAP@50'"),
    ):
        with pytest.raises(InputError, match=words):
            sweep(read_sweep(write_config(folder, **changes)), done.path, CPU)
    # What says the same in other words is the same.
    assert scores(sweep(read_sweep(write_config(folder, metric="mAP@all")), done.path, CPU)) == scores(done)


def test_several_seeds_and_trials_that_fail(folder: Path, tmp_path: Path) -> None:
    space = {"lr": [0.1, -1], "prior": ["orthogonal", "candidate:audio"]}
    config = read_sweep(write_config(folder, settings=UNPRIORED, space=space, seeds=[0, 2]))
    result = sweep(config, tmp_path / "out", CPU)
    best, *failed = result.records
    assert set(best.by_seed) == {"0", "2"}
    first, second = best.by_seed.values()
    assert best.score == pytest.approx((first + second) / 2)
    assert best.deviation == pytest.approx(abs(first - second) / 2**0.5)
    assert (result.path / "trials" / "0000" / "seed2" / "branches" / "image.safetensors").is_file()
    assert [one.number for one in failed] == [1, 2, 3]
    assert "audio" in str(failed[0].error)
    assert failed[1].error == "setting lr=-1: input should be greater than 0"
    assert read_config(result.path / "best.yaml").about["sweep"]["failed"] == 3


def test_all_trials_fail(folder: Path, tmp_path: Path) -> None:
    config = read_sweep(write_config(folder, space={"lr": [-1, -2]}))
    with pytest.raises(InputError, match="setting lr=-1: input should be greater than 0"):
        sweep(config, tmp_path / "a", CPU)
    assert not (tmp_path / "a").exists()
    config = read_sweep(
        write_config(folder, settings=UNPRIORED, space={"prior": ["candidate:audio", "candidate:video"]})
    )
    with pytest.raises(InputError, match=r"all 2 trials failed, trial 0 with: .*audio"):
        sweep(config, tmp_path / "b", CPU)
    assert not (tmp_path / "b" / "best.yaml").exists()


def test_a_metric_that_is_none(folder: Path, tmp_path: Path) -> None:
    for metric in ("top-1", "CMC@1", "mAP@100"):
        with pytest.raises(
            InputError, match=f"metric {metric} is none of protocol category: choose mAP@all, .*, MedR$"
        ):
            sweep(read_sweep(write_config(folder, metric=metric, space={"lr": [0.1]})), tmp_path / "out", CPU)
        assert not (tmp_path / "out").exists()


def test_rows_that_training_held_out(tmp_path: Path) -> None:
    write_caches(tmp_path, val=False)
    settings = {**QUICK, "select": "loss"}
    config = read_sweep(write_config(tmp_path, settings=settings, space={"lr": [0.1]}, seeds=[0, 1]))
    result = sweep(config, tmp_path / "out", CPU)
    assert result.best.protocol["held_out"] == {"image": 4, "text": 4}
    about = read_config(result.path / "best.yaml").about
    assert about["validation"]["held out from train"] == {"image": 4, "text": 4}


def test_a_modality_twice(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two caches hold modality 'image'"):
        sweep(read_sweep(write_config(folder, caches=["image", "image"])), tmp_path / "out", CPU)
