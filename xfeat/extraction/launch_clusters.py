"""Where jobs run: processes of this machine, or a SLURM cluster; both through submitit (the extra ``slurm``)."""

import io
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from xfeat.errors import InputError, XfeatError
from xfeat.extraction.launch_task import in_use, make_task

LOCAL_MINUTES = 60 * 24 * 365  # submitit stops local jobs after a time; these have none
SLURM_MINUTES = 240  # a part that needs longer is submitted again and goes on
ASK_SECONDS = 5.0
# squeue may miss a job for a moment, and a shared disk shows a result late.
ABSENT = 3
SHARED = ("mem_gb", "cpus_per_task", "gpus_per_node")  # submitit's own names; the others are sbatch's


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        code: exit code of its command; None where the job ended without one.
        line: the last line of its standard error that says something.
        log: its standard error.
    """

    code: int | None
    line: str
    log: Path


class Cluster(Protocol):
    """Takes commands as jobs and tells when they have ended.

    Attributes:
        poll: seconds between two looks at the jobs.
    """

    poll: float

    def submit(self, commands: Sequence[Sequence[str]], /) -> list[Any]:
        """Submit all, as one array where the cluster has arrays; one job each.

        Raises:
            XfeatError: the cluster refuses them.
        """

    def ended(self, jobs: Sequence[Any], /) -> list[Any]:
        """Those of some jobs that have ended."""

    def cancel(self, jobs: Sequence[Any], /) -> None:
        """Stop jobs."""

    def outcome(self, job: Any, /) -> Outcome:
        """How an ended job went."""


class _Submitit:
    poll: float
    local = False

    def __init__(self, logs: Path) -> None:
        submitit = _import_submitit()
        if "%" in str(logs):
            raise InputError(f"{logs}: '%' has a meaning in names of log files: choose another --out")
        self._executor = self._open(submitit, logs)
        self._failed = (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedSubmissionError)

    def _open(self, submitit: Any, logs: Path) -> Any:
        raise NotImplementedError

    def submit(self, commands: Sequence[Sequence[str]]) -> list[Any]:
        """Submit all, as ``Cluster`` says."""
        try:
            return list(self._executor.map_array(make_task(local=self.local), [list(command) for command in commands]))
        except self._failed as error:
            raise XfeatError(f"the jobs were refused: {_last_line(str(error))}") from None

    def outcome(self, job: Any) -> Outcome:
        """How an ended job went; what submitit keeps beside its log is removed."""
        code = None
        if job.paths.result_pickle.exists():
            try:
                code = int(job.result())
            except self._failed:
                code = None
        log = job.paths.stderr
        line = _last_line(log.read_text(encoding="utf-8", errors="replace")) if log.exists() else ""
        for left in (job.paths.submitted_pickle, job.paths.result_pickle):
            left.unlink(missing_ok=True)
        return Outcome(code, line, log)


class Local(_Submitit):
    """Processes of this machine, all at the same time.

    Args:
        logs: folder for what they print.

    Raises:
        InputError: submitit is not installed.
    """

    poll = 0.2
    local = True

    def _open(self, submitit: Any, logs: Path) -> Any:
        class Quiet(submitit.LocalExecutor):  # type: ignore[misc]  # any: imported late
            """One whose processes do not print to our terminal: Ctrl-C reaches them too, and each has a traceback."""

            def _submit_command(self, command: str) -> Any:
                with _stderr_to(logs / "submitit.err"):
                    return super()._submit_command(command)

        executor = Quiet(folder=logs)
        executor.update_parameters(timeout_min=LOCAL_MINUTES)
        return executor

    def ended(self, jobs: Sequence[Any]) -> list[Any]:
        """Those whose processes have all ended."""
        return [job for job in jobs if job.done() and not in_use(job.paths.stderr)]

    def cancel(self, jobs: Sequence[Any]) -> None:
        """Interrupt them."""
        for job in jobs:
            if not job.done():
                job.cancel()


class Slurm(_Submitit):
    """A SLURM cluster; the folder of the logs must be on a disk that its nodes share.

    Only ``sbatch``, ``squeue`` and ``scancel`` are used: clusters without accounting have no ``sacct``.

    Args:
        logs: folder for what the jobs print.
        settings: as ``slurm_settings`` gives them.

    Raises:
        InputError: submitit or SLURM's commands are not installed.
    """

    poll = 1.0

    def __init__(self, logs: Path, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        super().__init__(logs)
        self._absent: dict[str, int] = {}
        self._asked = time.monotonic()

    def _open(self, submitit: Any, logs: Path) -> Any:
        try:
            executor = submitit.AutoExecutor(folder=logs, cluster="slurm")
        except RuntimeError:
            raise InputError("no SLURM here (srun is not found): run it where SLURM's commands are") from None
        settings = self._settings
        shared = {key: value for key, value in settings.items() if key in SHARED}
        own = {f"slurm_{key}": value for key, value in settings.items() if key not in SHARED}
        if "cpus_per_task" in settings:
            # Since SLURM 22.05 the step does not take it from the job.
            own["slurm_srun_args"] = [f"--cpus-per-task={settings['cpus_per_task']}"]
        executor.update_parameters(**{"slurm_job_name": "xfeat", "slurm_time": SLURM_MINUTES, **shared, **own})
        return executor

    def submit(self, commands: Sequence[Sequence[str]]) -> list[Any]:
        """Submit all as one array."""
        with redirect_stderr(io.StringIO()):  # submitit prints what sbatch says and raises it too
            return super().submit(commands)

    def ended(self, jobs: Sequence[Any]) -> list[Any]:
        """Those that left a result, and those that SLURM knows no more."""
        waiting = [job for job in jobs if not job.paths.result_pickle.exists()]
        if waiting and time.monotonic() >= self._asked + ASK_SECONDS:
            self._ask(waiting)
        return [job for job in jobs if job not in waiting or self._absent.get(job.job_id, 0) >= ABSENT]

    def cancel(self, jobs: Sequence[Any]) -> None:
        """Cancel them, waiting or running."""
        if jobs:
            words = ["scancel", *(str(job.job_id) for job in jobs)]
            subprocess.run(words, capture_output=True, check=False)  # noqa: S603

    def _ask(self, waiting: Sequence[Any]) -> None:
        words = ["squeue", "--me", "--array", "--noheader", "--format=%i"]
        found = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
        self._asked = time.monotonic()
        if found.returncode:
            return  # the controller is busy or restarts: nothing is known
        there = set(found.stdout.split())
        for job in waiting:
            self._absent[job.job_id] = 0 if job.job_id in there else self._absent.get(job.job_id, 0) + 1


def _import_submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise InputError('--on needs submitit: pip install "xfeat[slurm]"') from None
    return submitit


@contextmanager
def _stderr_to(path: Path) -> Iterator[None]:
    """Processes started within it write their standard error to a file."""
    kept = os.dup(2)
    try:
        with path.open("ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    own = [line for line in lines if line.startswith("xfeat: ")]
    return (own or lines or [""])[-1]
