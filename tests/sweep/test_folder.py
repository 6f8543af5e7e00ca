import os
import signal
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from xfeat.errors import InputError
from xfeat.sweep.folder import Record, SweepFolder
from xfeat.sweep.sweep import listed_trials

FORK = get_context("fork")  # children that touch files alone
TRIALS = [{"lr": number} for number in range(3)]


def done(folder: SweepFolder, number: int, who: str) -> None:
    folder.save(Record(number, {"by": who}, {}, 0.5))


def run_all(path: Path, who: str) -> None:
    folder = SweepFolder(path)
    for number, _ in listed_trials(TRIALS, folder):
        done(folder, number, who)


def own_one(path: Path, ready: Connection, go: Connection) -> None:
    """Own a trial, say so, and finish it when told to."""
    folder = SweepFolder(path)
    with folder.claimed(0) as mine:
        ready.send(mine)
        go.recv()
        done(folder, 0, "child")


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    made = SweepFolder(tmp_path / "out")
    made.begin({"method": "drcl"})
    return made


def who_ran(folder: SweepFolder) -> list[str]:
    return [one.values["by"] for one in folder.records()]


def test_two_processes_share_the_trials(folder: SweepFolder) -> None:
    trials = listed_trials(TRIALS, folder)
    number, _ = next(trials)
    assert number == 0
    other = FORK.Process(target=run_all, args=(folder.path, "other"))
    other.start()  # takes what is left, then waits for the one that is owned here
    # The other's first trial is owned or over before long; this process takes what it finds.
    done(folder, number, "me")
    for number, _ in trials:
        done(folder, number, "me")
    other.join()
    assert other.exitcode == 0
    assert len(who_ran(folder)) == 3
    assert who_ran(folder)[0] == "me"


def test_a_trial_of_another_process_is_waited_for(folder: SweepFolder) -> None:
    ready, says = FORK.Pipe()
    told, go = FORK.Pipe()
    other = FORK.Process(target=own_one, args=(folder.path, says, told))
    other.start()
    assert ready.recv()
    with folder.claimed(0) as mine:
        assert not mine
    trials = listed_trials(TRIALS, folder)
    for expected in (1, 2):
        number, _ = next(trials)
        assert number == expected
        done(folder, number, "me")
    go.send(True)
    assert list(trials) == []
    other.join()
    assert who_ran(folder) == ["child", "me", "me"]


def test_a_trial_of_a_process_that_died_is_taken_over(folder: SweepFolder) -> None:
    ready, says = FORK.Pipe()
    told, _go = FORK.Pipe()
    other = FORK.Process(target=own_one, args=(folder.path, says, told))
    other.start()
    assert ready.recv()
    assert other.pid is not None
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    run_all(folder.path, "me")
    assert who_ran(folder) == ["me"] * 3


def test_the_folder_is_one_sweeps(folder: SweepFolder, tmp_path: Path) -> None:
    name = folder.begin({"method": "drcl"})
    assert name == folder.begin({"method": "drcl"}) != SweepFolder(tmp_path / "b").begin({"method": "drcl"})
    with pytest.raises(InputError, match=r"asked for otherwise \(method: 'drcl' -> 'ciim'\): choose another --out"):
        folder.begin({"method": "ciim"})
    (folder.path / "sweep.yaml").write_text("[")
    with pytest.raises(InputError, match=r"sweep\.yaml is damaged"):
        folder.begin({"method": "drcl"})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(InputError, match="holds other files"):
        SweepFolder(tmp_path / "mine").begin({})
    with pytest.raises(InputError, match="is a file"):
        SweepFolder(tmp_path / "mine" / "thesis.txt").begin({})


def test_records_come_back(folder: SweepFolder) -> None:
    some = Record(2, {"lr": 0.1}, {"lr": 0.1, "a": [1]}, 0.25, None, {"0": 0.25}, {"name": "category"}, 1.5)
    folder.save(some)
    assert folder.finished(2)
    assert not folder.finished(1)
    assert folder.records() == [some]
    (folder.trial(2) / "trial.json").write_text("{")
    with pytest.raises(InputError, match=r"trial\.json is damaged .* remove it, and the trial is scored again"):
        folder.records()


def test_what_cannot_be_resumed_is_cleared(folder: SweepFolder) -> None:
    path = folder.trial(0)
    path.mkdir(parents=True)
    (path / "group.json.tmp").touch()
    assert folder.ready(0) == path
    assert not path.exists()
    path.mkdir()
    (path / "config.yaml").touch()
    folder.ready(0)
    assert (path / "config.yaml").exists()
