"""Real processes decode real files here; some of them are killed by what they read."""

import multiprocessing
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from xfeat.cache import OK, Columns
from xfeat.errors import InputError, SampleError
from xfeat.extraction.decode import Decoder
from xfeat.extraction.feed import CRASHED, Batch, Feed
from xfeat.samples.manifest import Samples


def load(source: Path | str) -> Any:
    text = Path(source).read_text()
    if text == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "torn":
        send_half_a_result()
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "frames":
        return [torch.full((2,), float(number)) for number in range(300)]
    if text == "bad":
        raise SampleError("bad")
    return text, os.getpid()


def send_half_a_result() -> None:
    """What is left in the pipe by a process that is killed while it sends; it also holds the lock on it."""
    frame = sys._getframe()
    while "result_queue" not in frame.f_locals:
        assert frame.f_back is not None
        frame = frame.f_back
    queue = frame.f_locals["result_queue"]
    queue._wlock.acquire()
    os.write(queue._writer.fileno(), struct.pack("!i", 1000) + b"half")


def decoder(root: Path, contents: Sequence[str]) -> Decoder:
    names = [str(row) for row in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        (root / name).write_text(content)
    return Decoder(Samples(Columns(names, ["train"] * len(names)), names, root, 0, "image"), load)


def chunks(count: int, size: int) -> list[list[int]]:
    return [list(range(start, min(count, start + size))) for start in range(0, count, size)]


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [1, 4, 20])
def test_batches_come_in_order_with_what_was_read(tmp_path: Path, workers: int, size: int) -> None:
    contents = ["bad" if row % 5 == 3 else f"text {row}" for row in range(13)]
    with Feed(decoder(tmp_path, contents), None, workers) as feed:
        batches = list(feed.batches(chunks(13, size)))
    samples = [sample for batch in batches for sample in batch.samples]
    assert [sample.row for sample in samples] == list(range(13))
    assert [sample.status for sample in samples] == ["bad" if text == "bad" else OK for text in contents]
    assert all(sample.item is None for sample in samples)
    assert [item[0] for batch in batches for item in batch.items or []] == [text for text in contents if text != "bad"]
    assert all(len(batch.good) == len(batch.items or []) for batch in batches)
    elsewhere = {item[1] for batch in batches for item in batch.items or []} - {os.getpid()}
    assert 1 <= len(elsewhere) <= workers if workers else not elsewhere


@pytest.mark.parametrize("workers", [0, 2])
def test_items_are_collated_where_they_are_decoded(tmp_path: Path, workers: int) -> None:
    with Feed(decoder(tmp_path, ["a", "bad", "b"]), lambda items: "".join(text for text, _ in items), workers) as feed:
        assert next(feed.batches([[0, 1, 2]])).items == "ab"


def test_a_batch_of_failures_has_no_items(tmp_path: Path) -> None:
    with Feed(decoder(tmp_path, ["bad", "bad"]), None, 1) as feed:
        batch = next(feed.batches([[0, 1]]))
    assert (batch.items, batch.good) == (None, [])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("deadly", [{0}, {7}, {4, 5, 11}])
def test_a_sample_that_kills_its_process_has_failed_and_no_other(
    tmp_path: Path, workers: int, deadly: set[int]
) -> None:
    contents = ["kill" if row in deadly else str(row) for row in range(12)]
    with Feed(decoder(tmp_path, contents), None, workers) as feed:
        batches = list(feed.batches(chunks(12, 3)))
    status = [sample.status for batch in batches for sample in batch.samples]
    assert status == [CRASHED if row in deadly else OK for row in range(12)]
    assert [item[0] for batch in batches for item in batch.items or []] == [x for x in contents if x != "kill"]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_process_that_is_killed_while_it_sends_does_not_hold_up_the_others(tmp_path: Path, workers: int) -> None:
    contents = ["torn" if row == 5 else str(row) for row in range(12)]
    with Feed(decoder(tmp_path, contents), None, workers) as feed:
        batches = list(feed.batches(chunks(12, 3)))
    status = [sample.status for batch in batches for sample in batch.samples]
    assert status == [CRASHED if row == 5 else OK for row in range(12)]


def test_more_tensors_than_files_may_be_open(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with Feed(decoder(tmp_path, ["frames"] * 3), None, 1) as feed:
            batches = list(feed.batches([[0, 1], [2]]))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [float(tensor[0]) for batch in batches for item in batch.items for tensor in item] == [*range(300)] * 3


def test_what_is_being_decoded_is_not_waited_for_after_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # to read it waits for ever
    feed = Feed(decoder(tmp_path, ["0", "1"]), None, 1)
    feed._decode._load = lambda source: load(source) if source.name == "0" else (tmp_path / "pipe").read_text()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt), feed:
        raise KeyboardInterrupt(next(feed.batches([[0], [1]])))


class Fragile(Feed):
    """Its processes are killed from outside, as the kernel does when memory runs out."""

    def _one_by_one(self, rows: Sequence[int], *, last: bool) -> Batch:
        batch = super()._one_by_one(rows, last=last)
        if last and self._pool is not None:
            self._pool.submit(os.kill, os.getpid(), 0).result()
            for process in self._pool._processes.values():  # type: ignore[attr-defined]
                process.kill()
        return batch


def test_processes_that_keep_dying_without_a_sample_to_blame_end_it(tmp_path: Path) -> None:
    contents = ["kill"] + [str(row) for row in range(30)]
    with Fragile(decoder(tmp_path, contents), None, 1) as feed, pytest.raises(InputError, match="--workers 0"):
        list(feed.batches(chunks(31, 1)))


WATCHED = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_feed import decoder
from xfeat.extraction.feed import Feed

feed = Feed(decoder(Path({root!r}), ["a", "b"]), None, 2).__enter__()
print(*{{item[1] for batch in feed.batches([[0], [1]]) for item in batch.items}}, flush=True)
sys.stdin.read()
"""


def test_processes_end_with_the_main_process_even_if_it_was_killed(tmp_path: Path) -> None:
    code = WATCHED.format(tests=str(Path(__file__).parent), root=str(tmp_path))
    main = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert main.stdout is not None
    pids = [int(word) for word in main.stdout.readline().split()]
    assert main.pid not in pids
    main.kill()
    main.communicate(timeout=60)  # ends when the last process that inherited standard output has ended


AT_FORK = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_feed import decoder
from xfeat.extraction.feed import Feed

os.register_at_fork(before=lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    with Feed(decoder(Path({root!r}), ["a", "b"]), None, 1) as feed:
        list(feed.batches([[0], [1]]))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_while_processes_are_started_is_not_lost(tmp_path: Path) -> None:
    code = AT_FORK.format(tests=str(Path(__file__).parent), root=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_processes_can_be_ended_whatever_the_main_one_does_with_signals(tmp_path: Path) -> None:
    # A pool that lost one process ends the others by SIGTERM, and waits for them.
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    try:
        with Feed(decoder(tmp_path, ["a", "b"]), None, 1) as feed:
            pid = next(feed.batches([[0]])).items[0][1]
            process = next(child for child in multiprocessing.active_children() if child.pid == pid)
            process.terminate()
            process.join(60)
        assert process.exitcode == -signal.SIGTERM  # the pool, which waits for it too, has ended: nobody is just asking
    finally:
        signal.signal(signal.SIGTERM, before)
