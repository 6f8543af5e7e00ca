"""Work on the rows of a table in parts that fit a core's cache, on all cores."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Result = TypeVar("Result")

CELLS = 1 << 19  # of a table in a part: NumPy's calls are few against its work, and most of it stays in the cache


def by_parts(work: Callable[[slice], Result], rows: int, width: int) -> list[Result]:
    """Results of the parts of (rows, width), in the order of the rows.

    Parts are the same on any number of threads, which is torch's. The work should be NumPy's: it lets other threads run
    while it computes, and torch would start threads of its own in each.

    Args:
        work: takes the rows of a part.
        rows: 0 or more.
        width: of the table.
    """
    step = max(1, CELLS // max(1, width))
    parts = [slice(first, min(first + step, rows)) for first in range(0, rows, step)]
    threads = min(torch.get_num_threads(), len(parts))
    if threads < 2:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))
