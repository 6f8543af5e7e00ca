import io
import json
import shlex
import sys
from pathlib import Path

import pytest
import torch

from tests.cli.asking import refused
from tests.cli.conftest import Xfeat
from tests.sweep.building import write_caches, write_config
from tests.training.building import files
from xfeat.cli.output import table
from xfeat.cli.sweep_text import show, trial_line
from xfeat.sweep.best import Result
from xfeat.sweep.config import read_sweep
from xfeat.sweep.folder import Record


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("sweeps")
    write_caches(path)
    return path


def test_from_a_config_to_the_winners_test_numbers(xfeat: Xfeat, folder: Path) -> None:
    file, out = write_config(folder, space={"lr": [0.0001, 0.1, -1]}, out="grid"), folder / "grid"
    code, said, told = xfeat("sweep", file)
    assert code == 0
    lines = said.splitlines()
    assert lines[0] == "drcl: 3 trials, highest mAP@all first (grid)"
    assert "split val" in said
    assert "  selected on validation rows only; test rows were not read" in lines
    records = {one["number"]: one for one in json.loads((out / "sweep.json").read_text())["trials"]}
    rows = [line.split() for line in lines if line.startswith("  000")]
    assert sorted(rows) == [[f"{n:04d}", lr, f"{records[n]['score']:.3f}"] for n, lr in ((0, "0.0001"), (1, "0.1"))]
    assert rows[0][2] >= rows[1][2]
    assert "    0002 (lr=-1): setting lr=-1: input should be greater than 0" in lines
    assert told.splitlines()[0] == "drcl: 3 trials (grid, seed 0), mAP@all on val rows"
    assert [line.split(":")[0] for line in told.splitlines()[1:]] == ["trial 0000", "trial 0001", "trial 0002"]

    again, told = xfeat("sweep", file)[1:]
    assert again == said
    assert told == "drcl: 3 trials (grid, seed 0), mAP@all on val rows; 3 over already, going on\n"

    for start in ("Next: ", "then: "):
        (command,) = [line.removeprefix(start) for line in lines if line.startswith(start)]
        assert xfeat(*shlex.split(command)[1:])[0] == 0
    trial = out / "trials" / rows[0][0]
    assert files(out / "best" / "branches") == files(trial / "branches")
    assert "drcl" in xfeat("methods", "drcl", "--config", out / "best.yaml")[1]

    refused(xfeat("sweep", file, "--trials", 3), "a grid tries every combination")
    refused(xfeat("sweep", write_config(folder, out="grid")), "space.eta: '(absent)' -> [1.0, 0.5]", "another --out")


class Interrupting(io.StringIO):
    """Standard error whose reader presses Ctrl-C when the first trial is over."""

    pressed = False

    def write(self, text: str) -> int:
        if text.startswith("trial 0000") and not self.pressed:
            self.pressed = True
            raise KeyboardInterrupt
        return super().write(text)


def test_ctrl_c_and_on(xfeat: Xfeat, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("sweep", write_config(folder), "--out", folder / "stopped")
    stream = Interrupting()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stream)
        code, out, _ = xfeat(*words)
    assert (code, out) == (130, "")
    assert stream.getvalue().splitlines()[1:] == [
        "xfeat: interrupted; what was finished is kept, run it again (train: with --resume)"
    ]
    code, out, told = xfeat(*words)
    assert code == 0
    assert "1 over already, going on" in told
    assert [line[:10] for line in told.splitlines()[1:]] == ["trial 0001", "trial 0002", "trial 0003"]


def test_what_is_refused(xfeat: Xfeat, folder: Path) -> None:
    refused(xfeat("sweep", write_config(folder)), "names no `out`: add it, or --out DIR")
    refused(xfeat("sweep", write_config(folder, split="test", out="no")), "test rows are for `xfeat eval`")
    refused(xfeat("sweep", write_config(folder, out="."), "--device", "cpu"), "holds other files")
    assert not (folder / "no").exists()


def test_a_wide_table_and_many_trials(folder: Path) -> None:
    """Settings that do not fit beside the scores stand below them; all lines but the commands fit 80 columns."""
    names = [f"modality_lr.number{number}" for number in range(8)]
    config = read_sweep(write_config(folder, space={name: [0.1] for name in names}, seeds=[0, 1], metric="MedR"))
    protocol = {"name": "category", "relevance": "same class", "similarity": "cosine", "held_out": {"image": 3}}
    records = [
        Record(number, dict.fromkeys(names, 0.123456), {}, number / 9, 0.01, {}, protocol, 2.0) for number in range(25)
    ]
    failed = [Record(number, dict.fromkeys(names, True), {}, error="bad " * 30) for number in range(25, 30)]
    lines = show(Result(config, Path("out"), [*records, *failed])).splitlines()
    assert max(len(line) for line in lines if not line.startswith(("Next", "then"))) <= 80
    assert lines[0] == "drcl: 30 trials, lowest MedR first (grid)"
    assert lines[1:3] == [
        "protocol category (relevant: same class),",
        "  cosine, split val: rows that training held out from train",
    ]
    top = table(["trial", "val MedR"], [["0000", "0.000 +- 0.010"]]).splitlines()
    assert lines[3:6] == top
    assert lines[6].startswith("    modality_lr.number0=0.1235, modality_lr.number1=0.1235,")
    assert "  and 5 more in out/sweep.json" in lines
    assert "  5 trials failed:" in lines
    assert "    and 2 more" in lines
    assert "modality_lr.number0=true" in trial_line(config, failed[0])
