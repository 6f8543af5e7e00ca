"""Runs commands as jobs until each has succeeded; one that dies is submitted again."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfeat.errors import XfeatError
from xfeat.extraction.launch_clusters import Cluster
from xfeat.extraction.processes import signals_wait

BAD_INPUT = 2  # exit code of a command whose input is at fault: it would fail again
CANCEL_SECONDS = 60.0


class LaunchInterrupted(KeyboardInterrupt):
    """Ctrl-C while jobs ran; the message says how far they were."""


@dataclass(frozen=True)
class Failure:
    """A command that did not succeed.

    Attributes:
        number: which one, from 0.
        code: its exit code; None where its job ended without one (killed, lost, out of time).
        line: the last line it wrote to standard error.
        log: the file that holds the others.
    """

    number: int
    code: int | None
    line: str
    log: Path | None


@dataclass(frozen=True)
class Launched:
    """How the jobs went.

    Attributes:
        failures: commands that did not succeed, in order.
        again: how often a job was submitted again.
    """

    failures: tuple[Failure, ...]
    again: int


@dataclass(eq=False)
class _Run:
    number: int
    job: Any
    state: Any
    tries: int = 1


def run_jobs(
    commands: Sequence[Sequence[str]],
    cluster: Cluster,
    *,
    retries: int = 2,
    state: Callable[[int], Any] = lambda _number: None,
    advance: Callable[[int, str], None] = lambda _steps, _note: None,
) -> Launched:
    """Run every command as a job of its own, all at once, and wait for them.

    A job that ends in any other way than its command's exit code 0 is submitted again, except for exit code 2: bad
    input. The others go on in either case. A job that got further before it ended has its retries anew, so that a
    command may take many times the cluster's limit.

    Args:
        commands: program and arguments of each; must go on from where they stopped when they are run again.
        cluster: where they run.
        retries: how often in a row one command is submitted again.
        state: what a command, by its number, has done so far; another value than before: it got further.
        advance: called with the number of commands that have just ended, and a few words.

    Raises:
        XfeatError: the first submission was refused.
        LaunchInterrupted: Ctrl-C; the jobs are cancelled.
    """
    runs: list[_Run] = []
    failures: list[Failure] = []
    again = done = 0
    try:
        with signals_wait():  # a job that nobody knows of could not be cancelled
            runs += [_Run(number, job, state(number)) for number, job in enumerate(cluster.submit(commands))]
        while runs:
            for run in _ended(runs, cluster):
                failure = _failure(run, cluster)
                if failure and _resubmit(run, failure, commands[run.number], cluster, retries, state(run.number)):
                    again += 1
                    advance(0, _note(failures, again))
                    continue
                runs.remove(run)
                failures += [failure] if failure else []
                done += not failure
                advance(1, _note(failures, again))
            if runs:
                time.sleep(cluster.poll)
    except BaseException as error:
        _cancel(runs, cluster)
        if not isinstance(error, KeyboardInterrupt):
            raise
        raise LaunchInterrupted(
            f"interrupted; {done} of {len(commands)} parts are done, the others are cancelled: the same command resumes"
        ) from None
    return Launched(tuple(sorted(failures, key=lambda failure: failure.number)), again)


def _ended(runs: list[_Run], cluster: Cluster) -> list[_Run]:
    ended = cluster.ended([run.job for run in runs])
    return [run for run in runs if run.job in ended]


def _failure(run: _Run, cluster: Cluster) -> Failure | None:
    outcome = cluster.outcome(run.job)
    return None if outcome.code == 0 else Failure(run.number, outcome.code, outcome.line, outcome.log)


def _resubmit(run: _Run, failure: Failure, command: Sequence[str], cluster: Cluster, retries: int, state: Any) -> bool:
    tries = 1 if state != run.state else run.tries + 1
    if failure.code == BAD_INPUT or tries > retries + 1:
        return False
    cluster.cancel([run.job])  # the cluster may have put it back into the queue
    try:
        with signals_wait():
            run.job = cluster.submit([command])[0]
    except XfeatError:
        return False  # a cluster that takes no more jobs fails this part: those that still run are not to be lost
    run.tries, run.state = tries, state
    return True


def _note(failures: list[Failure], again: int) -> str:
    words = [f"{again} submitted again"] * bool(again) + [f"{len(failures)} failed"] * bool(failures)
    return ", ".join(words)


def _cancel(runs: list[_Run], cluster: Cluster) -> None:
    """Cancel jobs and wait until they are gone, so that the same parts can be started at once."""
    jobs = [run.job for run in runs]
    cluster.cancel(jobs)
    until = time.monotonic() + CANCEL_SECONDS
    while len(cluster.ended(jobs)) < len(jobs) and time.monotonic() < until:
        time.sleep(cluster.poll)
