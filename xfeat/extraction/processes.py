"""What pools of processes need besides: an end to waiting, signals that come while they fork, files enough."""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, wait
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait as ended
from typing import Any

LOOK_SECONDS = 1.0
OPEN_FILES = 65536
# Signals that ask a process to end; SIGUSR2 is what clusters send before they kill, and Windows lacks it.
STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR2", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def signals_wait() -> Iterator[None]:
    """Within it, signals that would end the work wait: what they raise while a process is forked can be lost.

    ``os.fork`` runs hooks of other modules (logging has one), prints what is raised in them, and goes on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before: dict[int, Any] = {}
    try:
        for number in STOPS:
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                signal.signal(number, lambda number, _frame: came.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:  # also where the work failed, which may be because a child of it got the signal too
            before[number](number, None)


def result_of(future: "Future[Any]", pool: Executor | None) -> Any:
    """Wait for a result.

    A process killed while it sends one leaves the executor waiting for the rest, and holds the lock that the others
    need to send theirs: where one is dead and nothing comes, the others are ended too, which the executor notices.
    """
    dead = False
    while not wait([future], LOOK_SECONDS).done:
        if dead and pool is not None:
            kill(pool)
        dead = bool(ended([process.sentinel for process in _processes(pool)], 0))
    return future.result()


def _processes(pool: Executor | None) -> list[Any]:
    return list((getattr(pool, "_processes", None) or {}).values())


def kill(pool: Executor) -> None:
    """End the processes of a pool at once; of threads, nothing."""
    for process in _processes(pool):
        process.kill()
    queue = getattr(pool, "_result_queue", None)
    if queue is not None:  # our copy of the end that they write to: only without it is there an end to what is read
        with suppress(OSError):
            queue._writer.close()


def allow_open_files() -> None:
    """Every tensor that comes from a process is an open file; 1,024, the usual limit, is soon reached with videos."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
