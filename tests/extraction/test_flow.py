"""What tests/extraction/test_pipeline.py cannot time: Ctrl-C while the last shards are being written."""

import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from xfeat.extraction.flow import _end


def test_the_end_of_writing_is_waited_for_when_ctrl_c_comes() -> None:
    main, again = threading.get_ident(), threading.Event()
    written: list[str] = []
    waits: list[int] = []

    class Interrupted(ThreadPoolExecutor):
        def submit(self, work: Callable[[], None]) -> Future[None]:  # type: ignore[override]
            def write() -> None:
                if not written:
                    signal.pthread_kill(main, signal.SIGINT)
                    again.wait(60)
                    written.append("a shard")
                work()

            waits.append(1)
            if len(waits) > 1:
                again.set()
            return super().submit(write)

    disk = Interrupted(1)
    ThreadPoolExecutor.submit(disk, int).result()  # its thread is there
    _end(disk)
    assert written == ["a shard"]
    assert len(waits) == 2
