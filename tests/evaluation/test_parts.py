from collections.abc import Iterator

import pytest
import torch

from xfeat.evaluation.parts import CELLS, by_parts


@pytest.fixture(params=[1, 2, 5])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("width", [CELLS // 3, CELLS * 2])
def test_parts_cover_the_rows_in_order_whatever_the_threads(threads: int, width: int) -> None:
    parts = by_parts(lambda part: list(range(part.start, part.stop)), 11, width)
    assert [row for part in parts for row in part] == list(range(11))
    assert {len(part) for part in parts[:-1]} == {max(1, CELLS // width)}


def test_no_rows_have_no_parts() -> None:
    assert by_parts(lambda part: part, 0, 5) == []


def test_an_error_in_a_part_is_raised(threads: int) -> None:
    def fail(part: slice) -> None:
        raise KeyError(part.start)

    with pytest.raises(KeyError):
        by_parts(fail, 4, CELLS)
