"""Runs that are there already: kept, resumed, and after a kill at any moment the same to the last byte."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.training.building import (
    LONGER,
    MODALITIES,
    TINY,
    files,
    log_rows,
    settings,
    train_error,
)
from xfeat.cache import FeatureCache
from xfeat.training.drcl import train


def test_a_run_that_is_there_is_not_trained_over(caches: dict[str, FeatureCache], together: Path) -> None:
    before = files(together)
    everything = list(caches.values())
    assert "holds a run already: continue it with --resume" in train_error(everything, together)
    for wanted, options, message in (
        (settings(hidden=17), {}, "settings.hidden: 16 -> 17"),
        (TINY, {"seed": 4}, "seed: 0 -> 4"),
    ):
        assert message in train_error(everything, together, wanted, resume=True, **options)
    assert "modalities.audio" in train_error(everything[:2], together, resume=True)
    assert files(together) == before


def test_resuming_a_finished_run_trains_nothing(caches: dict[str, FeatureCache], together: Path) -> None:
    before = files(together)
    outcome = train(list(caches.values()), together, TINY, resume=True)
    assert outcome.fresh == []
    assert set(outcome.branches) == set(MODALITIES)
    assert files(together) == before


def test_a_damaged_branch_is_trained_again_on_resume(
    caches: dict[str, FeatureCache], together: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(together, run)
    path = run / "branches" / "text.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    outcome = train(list(caches.values()), run, TINY, resume=True)
    assert outcome.fresh == ["text"]
    assert files(run / "branches") == files(together / "branches")


def test_what_a_kill_leaves_before_anything_was_trained_is_no_obstacle(
    caches: dict[str, FeatureCache], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").touch()
    (run / "config.yaml.tmp").write_text("method: dr")
    assert train([caches["image"]], run, TINY).fresh == ["image"]


# Trains in children of its own, and kills each after as many more epochs as it is told; the last one may finish.
KILLER = """
import json, os, signal, sys, time
from pathlib import Path
import torch
import torch._dynamo  # an optimizer imports it: once here, not once per child
torch.set_num_threads(1)
from rich import console, progress
from tests.training.building import LONGER
from xfeat.cache import FeatureCache
from xfeat.training.drcl import train

os.fsync = os.fstat  # a kill takes nothing back that was written
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
caches = [FeatureCache(folder / name) for name in sys.argv[3].split(",")]
log = out / "log.jsonl"

def size():
    return log.stat().st_size if log.exists() else 0

killed = 0
for more, delay in json.loads(sys.argv[4]):
    before = size()
    child = os.fork()
    if not child:
        train(caches, out, LONGER, resume=True, checkpoint_seconds=0)
        os._exit(0)
    done = 0
    while not done and size() < before + more:
        done, _ = os.waitpid(child, os.WNOHANG)
        time.sleep(0.001)
    if not done:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
train(caches, out, LONGER, resume=True, checkpoint_seconds=0)
print(killed)
"""


KILLS = 6


@pytest.mark.skipif(sys.platform == "win32", reason="kills children that it forks")
def test_kills_at_random_moments_change_no_byte_of_the_result(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(list(caches.values()), whole, LONGER)
    moments = np.random.default_rng(0)
    # Bytes that the log grows by before the kill (a row has about 150), then seconds: any point between two rows.
    kills = [[int(moments.integers(1, 3000)), float(moments.uniform(0, 0.006))] for _ in range(KILLS)]
    found = subprocess.run(
        [sys.executable, "-c", KILLER, caches["image"].path.parent, run, ",".join(MODALITIES), json.dumps(kills)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) > KILLS // 2, "most children should have been killed while they trained"
    expected, after = files(whole), files(run)
    assert log_rows(run) == log_rows(whole)
    assert set(after) == set(expected)
    assert {name for name in after if after[name] != expected[name]} <= {"log.jsonl"}
    assert sorted(after["log.jsonl"].splitlines()) == sorted(expected["log.jsonl"].splitlines())
