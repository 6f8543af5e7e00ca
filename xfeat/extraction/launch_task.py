"""What a job runs, and whether anything of it is left on this machine."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SET_PARENT_DEATH_SIGNAL = 1  # of Linux's prctl


def make_task(*, local: bool) -> Callable[[list[str]], int]:
    """What a job is handed: it runs a command and returns its exit code.

    Args:
        local: on this machine. submitit kills what it has told to end after one second, when a command may still be
            writing, or has not been told at all on a busy machine. So the end of this process tells it too (on Linux),
            and all that is left of a job holds a lock on its log, for ``in_use``.
    """

    def run(command: list[str]) -> int:
        own, libc = os.getpid(), ctypes.CDLL(None) if local and sys.platform == "linux" else None
        if local:
            import fcntl

            with suppress(OSError):  # a disk without locks
                fcntl.flock(2, fcntl.LOCK_EX)  # of the open file: whoever inherits it holds the lock too

        def begin() -> None:
            assert libc is not None
            libc.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
            if os.getppid() != own:
                os._exit(1)  # it was over before that

        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=begin if libc else None)  # noqa: S603
        try:
            return process.wait()
        except BaseException as stop:  # submitit raises out of signals: the time is nearly over, or Ctrl-C
            process.terminate()
            code = process.wait()  # it writes what it has
            if isinstance(stop, SystemExit):
                raise  # put back into the queue by submitit: this is not the end of the job
            return code or 130  # a code that was fetched as the signal came is lost, and would read 0

    return run  # a function within a function is pickled whole: jobs need not be able to import this package


def in_use(log: Path) -> bool:
    """Whether a process of a job on this machine, or one that it started, is left; ``log`` is its standard error."""
    import fcntl  # Windows lacks it

    try:
        with log.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # not there yet, or a disk without locks
        return False
    return False
