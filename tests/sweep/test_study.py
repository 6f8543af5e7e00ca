"""Trials of Optuna's TPE, scored here by a formula."""

import sys
from collections.abc import Generator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.sweep.building import write_config
from xfeat.errors import InputError
from xfeat.sweep.config import SweepConfig, read_sweep
from xfeat.sweep.folder import Record, SweepFolder
from xfeat.sweep.study import check_storage, study_trials

pytest.importorskip("optuna")
FORK = get_context("fork")
TRIALS = 11  # the first ten of TPE are random
SPACE = {
    "lr": {"low": 1e-4, "high": 0.1, "log": True},
    "hidden": {"low": 2, "high": 8, "step": 2, "int": True},
    "prior": ["spl", "orthogonal"],
}


def tpe(folder: Path, trials: int, **changes: Any) -> SweepConfig:
    wanted = {"settings": {}, "space": SPACE, "search": "tpe", "trials": trials, **changes}
    return read_sweep(write_config(folder, **wanted))


def begun(path: Path) -> SweepFolder:
    made = SweepFolder(path)
    made.begin({})
    return made


def finish(folder: SweepFolder, number: int, values: dict[str, Any]) -> None:
    """The nearer to a learning rate of 0.01 the better; one that is far off fails."""
    far = abs(values["lr"] - 0.01)
    folder.save(Record(number, values, {}, None if far > 0.05 else -far, error="too far" if far > 0.05 else None))


def run(trials: Generator[Any, None, None], folder: SweepFolder) -> list[int]:
    ran = []
    for number, values in trials:
        finish(folder, number, values)
        ran.append(number)
    return ran


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The values of trials that one process ran."""
    path = tmp_path_factory.mktemp("whole")
    folder = begun(path / "out")
    assert run(study_trials(tpe(path, TRIALS), folder, "study"), folder) == list(range(TRIALS))
    return [one.values for one in folder.records()]


def test_values_are_of_the_space(whole: list[dict[str, Any]]) -> None:
    for one in whole:
        assert 1e-4 <= one["lr"] <= 0.1
        assert one["hidden"] in (2, 4, 6, 8)
        assert isinstance(one["hidden"], int)
        assert one["prior"] in ("spl", "orthogonal")
    assert len({one["lr"] for one in whole}) == TRIALS


def test_killed_processes_are_gone_on_for_and_change_nothing(tmp_path: Path, whole: list[dict[str, Any]]) -> None:
    folder = begun(tmp_path / "out")
    trials = study_trials(tpe(tmp_path, TRIALS), folder, "study")
    for number, values in trials:
        finish(folder, number, values)
        if number == 3:
            break
    trials.close()  # trial 3 is over, and the study was not told
    trials = study_trials(tpe(tmp_path, TRIALS), folder, "study")
    number, values = next(trials)
    assert number == 4
    trials.close()  # trial 4 was begun
    trials = study_trials(tpe(tmp_path, TRIALS), folder, "study")
    assert next(trials) == (4, values)
    finish(folder, 4, values)
    assert run(trials, folder) == list(range(5, TRIALS))
    assert [one.values for one in folder.records()] == whole


def run_when_told(config: SweepConfig, folder: SweepFolder, go: Connection) -> None:
    go.recv()
    run(study_trials(config, folder, "study"), folder)


def test_processes_share_a_study_and_more_trials_may_be_asked_for(tmp_path: Path) -> None:
    folder = begun(tmp_path / "out")
    told, go = FORK.Pipe()
    other = FORK.Process(target=run_when_told, args=(tpe(tmp_path, 3), folder, told))
    other.start()  # before this process opens the database
    trials = study_trials(tpe(tmp_path, 3), folder, "study")
    number, values = next(trials)
    assert number == 0
    go.send(True)  # the other takes what is left, and waits for the trial that is owned here
    finish(folder, 0, values)
    run(trials, folder)
    other.join()
    assert other.exitcode == 0
    assert [one.number for one in folder.records()] == [0, 1, 2]
    assert run(study_trials(tpe(tmp_path, 4), folder, "study"), folder) == [3]


def test_a_storage_that_cannot_be_opened(tmp_path: Path) -> None:
    for storage in ("nonsense", f"sqlite:///{tmp_path}/no/such/folder.db"):
        trials = study_trials(tpe(tmp_path, 1, storage=storage), begun(tmp_path / "out"), "study")
        with pytest.raises(InputError, match="storage cannot be opened") as caught:
            next(trials)
        assert "\n" not in str(caught.value)
        with pytest.raises(InputError, match="storage cannot be opened"):
            check_storage(tpe(tmp_path, 1, storage=storage))
    check_storage(tpe(tmp_path, 1, storage="sqlite://"))


def test_without_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r'tpe needs Optuna: pip install "xfeat\[sweep\]"'):
        next(study_trials(tpe(tmp_path, 1), begun(tmp_path / "out"), "study"))
