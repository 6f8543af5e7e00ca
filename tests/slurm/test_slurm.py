"""Parts as jobs of a real SLURM cluster; ``tests/slurm/start.sh`` makes one on this machine."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Xfeat, xfeat  # noqa: F401
from tests.cli.parts import before_part, pictures, same, texts

pytestmark = pytest.mark.slurm

TEXT = ("--modality", "text", "--backbone", "filters:hashing", "--device", "cpu", "--workers", "0")
IMAGE = ("--modality", "image", "--backbone", "filters:hog", "--device", "cpu")
SLURM = ("--on", "slurm", "--parts", "3", "--slurm", "time=5")


@pytest.fixture(autouse=True)
def cluster() -> None:
    """A cluster that answers, or a skip that says so."""
    if shutil.which("sinfo") is None or subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
        pytest.skip("no SLURM cluster answers: run tests/slurm/start.sh")


def test_parts_on_slurm_make_the_same_cache(xfeat: Xfeat, tmp_path: Path) -> None:  # noqa: F811
    manifest, out = pictures(tmp_path), tmp_path / "c"
    words = ("extract", manifest, *IMAGE, *SLURM, "--out", out)
    code, said, err = xfeat(*words, "--slurm", "partition=main", "--slurm", "cpus_per_task=1")
    assert (code, err) == (0, "")
    assert "6 of 7 samples ok, 1 failed" in said
    assert "parts     3 on slurm\n" in said
    assert xfeat("extract", manifest, *IMAGE, "--workers", "0", "--out", tmp_path / "whole")[0] == 0
    same(out, tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("c")) == ["c", "c.logs"]
    logs = "".join(path.read_text() for path in (tmp_path / "c.logs").glob("*.out"))
    assert logs.count("image by filters:hog") == 3
    assert "nothing to do" in xfeat(*words)[1]


@pytest.mark.parametrize(
    "script",
    [
        "scancel ${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}; exec sleep 600",
        "scancel --signal=USR2 ${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}; exec sleep 600",  # as before a time limit
        "kill -9 $$",
        "kill -9 $PPID; exec sleep 600",  # the job ends without a result
    ],
    ids=["cancelled", "out of time", "killed", "lost"],
)
def test_a_job_that_dies_is_submitted_again(
    xfeat: Xfeat,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
) -> None:
    manifest, out = texts(tmp_path), tmp_path / "c"
    before_part(tmp_path, monkeypatch, "1/3", script)
    code, said, err = xfeat("extract", manifest, *TEXT, *SLURM, "--out", out)
    assert (code, err) == (0, "")
    assert "11 of 11 samples ok, 0 failed" in said
    assert "parts     3 on slurm, 1 submitted again" in said
    assert xfeat("extract", manifest, *TEXT, "--out", tmp_path / "whole")[0] == 0
    same(out, tmp_path / "whole")


def test_bad_input_is_not_submitted_again(xfeat: Xfeat, tmp_path: Path) -> None:  # noqa: F811
    words = ("extract", pictures(tmp_path), *IMAGE, *SLURM, "--out", tmp_path / "c", "--on-error", "fail")
    code, _, err = xfeat(*words)
    assert code == 2
    assert "part 0 of 3: sample '1.png' (row 1)" in err
    assert len(list((tmp_path / "c.logs").glob("*_0_log.err"))) == 3


def test_ctrl_c_cancels_the_jobs(xfeat: Xfeat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    before_part(tmp_path, monkeypatch, "2/3", f"kill -INT {os.getpid()}; exec sleep 600")
    words = ("extract", texts(tmp_path), *TEXT, *SLURM, "--out", tmp_path / "c")
    code, _, err = xfeat(*words)
    assert code == 130
    assert "the same command resumes" in err
    queue = subprocess.run(["squeue", "--noheader", "--states=PENDING,RUNNING"], capture_output=True, check=True)
    assert queue.stdout == b""
    assert xfeat(*words)[0] == 0


def test_what_sbatch_refuses_is_one_line(xfeat: Xfeat, tmp_path: Path) -> None:  # noqa: F811
    words = ("extract", texts(tmp_path), *TEXT, *SLURM, "--out", tmp_path / "c", "--slurm", "partition=absent")
    code, _, err = xfeat(*words)
    assert code == 2
    assert err.startswith("xfeat: the jobs were refused: ")
    assert "partition" in err
    assert err.count("\n") == 1
