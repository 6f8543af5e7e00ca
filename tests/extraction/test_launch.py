"""Commands as real processes of this machine; tests/slurm has those on a real cluster."""

import os
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from xfeat.errors import InputError, XfeatError
from xfeat.extraction.launch import LaunchInterrupted, run_jobs
from xfeat.extraction.launch_clusters import Local

Advanced = list[tuple[int, str]]


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def wait_for_end(pid: int) -> None:
    """Fails where a process has not ended within a minute."""
    with suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        ended = select.select([process], [], [], 60)[0]
        os.close(process)
        assert ended


def test_a_job_that_is_killed_runs_again_and_bad_input_does_not(tmp_path: Path) -> None:
    advanced: Advanced = []
    commands = [
        shell(f"echo one; touch {tmp_path}/one"),
        shell(f"if mkdir {tmp_path}/killed; then kill -9 $$; fi; touch {tmp_path}/two"),
        shell(f"echo x >> {tmp_path}/bad; echo 'xfeat: no such file' >&2; echo later >&2; exit 2"),
        shell(f"echo x >> {tmp_path}/dies; echo 'out of luck' >&2; exit 7"),
    ]
    found = run_jobs(
        commands, Local(tmp_path / "logs"), retries=2, advance=lambda step, note: advanced.append((step, note))
    )
    assert (tmp_path / "one").exists()
    assert (tmp_path / "two").exists()
    assert [(failure.number, failure.code, failure.line) for failure in found.failures] == [
        (2, 2, "xfeat: no such file"),
        (3, 7, "out of luck"),
    ]
    assert (tmp_path / "bad").read_text() == "x\n"
    assert (tmp_path / "dies").read_text() == "x\n" * 3
    assert found.again == 3
    assert sum(step for step, _ in advanced) == 4
    assert advanced[-1] == (1, "3 submitted again, 2 failed")
    assert found.failures[1].log is not None
    assert "out of luck" in found.failures[1].log.read_text()
    logs = {path.suffix for path in (tmp_path / "logs").iterdir()}
    assert logs == {".out", ".err"}


def test_a_job_that_gets_further_every_time_is_not_given_up(tmp_path: Path) -> None:
    def steps(number: int) -> int:
        return len(list(tmp_path.glob(f"{number}-*")))

    # Number 0 needs four runs, number 1 stops getting further after two.
    further = f"touch {tmp_path}/0-$(ls {tmp_path} | grep -c 0-); [ -e {tmp_path}/0-3 ] || kill -9 $$"
    stuck = f"echo x >> {tmp_path}/tries; mkdir {tmp_path}/1-1 || mkdir {tmp_path}/1-2; kill -9 $$"
    found = run_jobs([shell(further), shell(stuck)], Local(tmp_path / "logs"), retries=1, state=steps)
    assert [failure.number for failure in found.failures] == [1]
    assert steps(0) == 4
    assert (tmp_path / "tries").read_text() == "x\n" * 4
    assert found.again == 6


def test_no_retries(tmp_path: Path) -> None:
    found = run_jobs([shell("kill -9 $$")], Local(tmp_path), retries=0)
    assert [(failure.code, failure.line) for failure in found.failures] == [(-9, "")]
    assert found.again == 0


@pytest.mark.parametrize("busy", ["", "kill -STOP $PPID; "], ids=["", "what starts it is killed before it can tell"])
def test_ctrl_c_leaves_no_process(tmp_path: Path, busy: str) -> None:
    def interrupt(_steps: int, _note: str) -> None:
        raise KeyboardInterrupt

    waits = (
        f"trap 'touch {tmp_path}/ended; exit' TERM; {busy}echo $$ > {tmp_path}/pid; "
        f"mv {tmp_path}/pid {tmp_path}/ready; while :; do sleep 0.05; done"
    )
    ends = f"while ! [ -e {tmp_path}/ready ]; do sleep 0.05; done"
    with pytest.raises(
        LaunchInterrupted,
        match="interrupted; 1 of 2 parts are done, the others are cancelled: the same command resumes",
    ):
        run_jobs([shell(waits), shell(ends)], Local(tmp_path / "logs"), advance=interrupt)
    assert (tmp_path / "ended").exists()
    wait_for_end(int((tmp_path / "ready").read_text()))


def test_ctrl_c_while_jobs_are_submitted_leaves_no_process(tmp_path: Path) -> None:
    class Interrupted(Local):
        def submit(self, commands):  # type: ignore[no-untyped-def]
            jobs = super().submit(commands)
            os.kill(os.getpid(), signal.SIGINT)
            self.jobs = jobs
            return jobs

    cluster = Interrupted(tmp_path / "logs")
    with pytest.raises(LaunchInterrupted, match="0 of 2 parts are done"):
        run_jobs([shell("exec sleep 600")] * 2, cluster)
    assert cluster.ended(cluster.jobs) == cluster.jobs


def test_ctrl_c_that_ends_the_submission_too(tmp_path: Path) -> None:
    """As sbatch, which gets the signal as well."""

    class Interrupted(Local):
        def submit(self, commands):  # type: ignore[no-untyped-def]
            os.kill(os.getpid(), signal.SIGINT)
            raise XfeatError("refused")

    with pytest.raises(LaunchInterrupted, match="0 of 2 parts are done"):
        run_jobs([shell("exit 0")] * 2, Interrupted(tmp_path))


def test_jobs_that_cannot_be_submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="'%' has a meaning"):
        Local(tmp_path / "100%")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r"pip install \"xfeat\[slurm\]\""):
        Local(tmp_path)


def test_a_cluster_that_takes_no_more_jobs_fails_the_part_alone(tmp_path: Path) -> None:
    class Full(Local):
        taken = 0

        def submit(self, commands):  # type: ignore[no-untyped-def]
            self.taken += len(commands)
            if self.taken > 2:
                raise XfeatError("the queue is full")
            return super().submit(commands)

    found = run_jobs([shell("exit 1"), shell("exit 0")], Full(tmp_path), retries=2)
    assert [(failure.number, failure.code) for failure in found.failures] == [(0, 1)]
    assert found.again == 0
