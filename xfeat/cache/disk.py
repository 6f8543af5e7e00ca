"""Puts shard files on disk, one at a time, while the next is composed."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from xfeat.cache.shard import Composed, put_shard


class Disk:
    """A thread that writes and syncs; an error is raised by whoever waits for it next."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "shard")
        self._flight: tuple[Future[None], Callable[[], None]] | None = None

    def put(self, path: Path, shard: Composed, then: Callable[[], None]) -> None:
        """Write a shard whole, when the one before is there.

        Args:
            path: of the file.
            shard: what is in it.
            then: called by ``settle`` when it is there.

        Raises:
            InputError: as of ``settle``.
        """
        self.settle()
        self._flight = self._pool.submit(put_shard, path, shard), then

    def settle(self) -> None:
        """Wait until everything is there.

        Raises:
            InputError: the disk is full, or takes the file for another reason not.
        """
        if self._flight is None:
            return
        future, then = self._flight
        wait([future])  # Ctrl-C in here leaves it as it is
        self._flight = None
        future.result()
        then()

    def close(self) -> None:
        """End the thread; what it is writing is finished first."""
        self._pool.shutdown(wait=True)
