"""Children that write a cache and are killed while they do: forked by one process that has imported everything."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NURSERY = """
import os, sys
from pathlib import Path
from {module} import work
for line in sys.stdin:
    child = os.fork()
    if not child:
        work(Path(line.rstrip("\\n")))
        os._exit(0)
    os.write(1, b"%d\\n" % child)
    os.write(1, b"%d\\n" % os.waitpid(child, 0)[1])
"""


class Nursery:
    """Forks children of a process that waits for their paths."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def killed(self, path: Path, seconds: float) -> bool:
        """Whether the child that works on ``path`` was killed after so many seconds; False where it was done before."""
        ask, tell = self._process.stdin, self._process.stdout
        assert ask is not None
        assert tell is not None
        ask.write(f"{path}\n".encode())
        child = int(tell.readline())
        done = bool(select.select([tell], [], [], seconds)[0])
        if not done:
            with suppress(ProcessLookupError):  # it ended between the two lines
                os.kill(child, signal.SIGKILL)
        status = int(tell.readline())
        assert status in (0, signal.SIGKILL), "the child failed"
        return status != 0


@contextmanager
def nursery(module: str) -> Iterator[Nursery]:
    """A process that calls ``work(path)`` of a module in children of its own."""
    root = Path(__file__).parents[2]
    words = [sys.executable, "-c", NURSERY.format(module=module)]
    with subprocess.Popen(words, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0
