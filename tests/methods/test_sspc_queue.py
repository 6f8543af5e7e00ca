"""The ring against a list of everything that was pushed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from xfeat.methods.sspc_queue import Queue

WIDTH = 2


def numbered(start: int, count: int) -> Tensor:
    return torch.arange(start, start + count, dtype=torch.float32)[:, None].repeat(1, WIDTH)


def held(queue: Queue) -> list[float]:
    assert queue.filled().shape[1] == WIDTH
    return sorted(queue.filled()[:, 0].tolist())


@given(size=st.integers(0, 7), pushes=st.lists(st.integers(0, 20), max_size=12))
def test_holds_the_last_rows_in_one_piece_of_memory(size: int, pushes: list[int]) -> None:
    queue, everything = Queue(size, WIDTH), 0
    where = queue.rows.data_ptr()
    assert queue.full == (size == 0)
    for count in pushes:
        queue.push(numbered(everything, count))
        everything += count
        assert held(queue) == list(range(max(0, everything - size), everything))
        assert queue.full == (everything >= size)
        assert queue.size == size
        assert queue.rows.data_ptr() == where


@given(size=st.integers(1, 7), before=st.integers(0, 20), count=st.integers(0, 7))
def test_a_push_writes_over_the_oldest_rows_and_touches_no_other(size: int, before: int, count: int) -> None:
    queue = Queue(size, WIDTH)
    queue.push(numbered(1, before))
    old = queue.rows.clone()
    queue.push(numbered(100, count))
    changed = (queue.rows != old).any(1)
    assert int(changed.sum()) == min(count, size)
    kept = [value for value in old[changed, 0].tolist() if value]
    assert all(value < other for value in kept for other in queue.rows[~changed, 0].tolist() if other)


@given(size=st.integers(0, 7), first=st.integers(0, 20), more=st.lists(st.integers(0, 9), max_size=4))
def test_its_state_travels(size: int, first: int, more: list[int]) -> None:
    queue, other = Queue(size, WIDTH), Queue(size, WIDTH)
    queue.push(numbered(1, first))
    other.push(numbered(500, 3))
    other.load_state_dict({name: value.clone() for name, value in queue.state_dict().items()})
    for count in more:
        assert torch.equal(other.rows, queue.rows)
        assert (other.full, held(other)) == (queue.full, held(queue))
        for one in (queue, other):
            one.push(numbered(1000, count))
    assert torch.equal(other.rows, queue.rows)


def test_what_is_pushed_is_copied_and_keeps_no_graph() -> None:
    queue, rows = Queue(4, WIDTH), torch.ones(2, WIDTH, requires_grad=True)
    queue.push(rows * 3)
    with torch.no_grad():
        rows.zero_()
    assert queue.filled().tolist() == [[3.0] * WIDTH] * 2
    assert not queue.filled().requires_grad


def test_a_state_of_another_size_is_refused() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        Queue(3, WIDTH).load_state_dict(Queue(4, WIDTH).state_dict())
