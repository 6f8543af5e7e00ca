from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.backbones.strokes import MAX_BYTES, MAX_STROKES, read_strokes
from xfeat.errors import SampleError


def read(folder: Path, text: str) -> list[list[list[float]]]:
    (folder / "s.txt").write_text(text, encoding="utf-8")
    return [stroke.tolist() for stroke in read_strokes(folder / "s.txt")]


@pytest.mark.parametrize(
    "text",
    [
        "START\n1.5,-2,0\n3,4,10\nBREAK\n5,6,20\nBREAK\n",
        "1.5,-2\n3,4\n\n5,6\n",
        "\ufeff1.5 -2 0\r\n3\t4\t10\r\nbreak\r\n\r\n5 , 6 , 20",
        "START\n1.5;-2\n3;4\nSTART\nSTART\n5;6\nBREAK\nBREAK\n",
    ],
)
def test_the_forms_of_one_drawing_agree(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == [[[1.5, -2], [3, 4]], [[5, 6]]]


points = st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))


@given(st.lists(st.lists(points, min_size=1, max_size=5), min_size=1, max_size=4))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, strokes: list[list[tuple[float, float]]]
) -> None:
    text = "START\n" + "".join("".join(f"{x!r},{y!r},0\n" for x, y in one) + "BREAK\n" for one in strokes)
    assert read(tmp_path_factory.mktemp("s"), text) == [[list(point) for point in one] for one in strokes]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "file not found"),
        (b"", "empty file"),
        (b"START\nBREAK\n\n", "no stroke in the file"),
        (b"START\n1,2,3\n1,x,3\n", "line 3 is not x,y or x,y,t: '1,x,3'"),
        (b"1,2\n7\n", "line 2 is not x,y or x,y,t: '7'"),
        (b"1,2,3,4\n", "line 1 is not"),
        (b"1,2,\n", "line 1 is not"),
        (b"BREAK\n" * 3 + b"nan,1,0\n", "line 4: non-finite number"),
        (b"1,2,inf\n", "line 1: non-finite number"),
        (b"1e300,1\n", r"line 1: coordinate beyond 1e\+12"),
        (b"\xff\xfe1,2", "stroke file is not UTF-8"),
        (b"1" * (MAX_BYTES + 1), f"stroke file of {MAX_BYTES + 1} bytes is over the limit of {MAX_BYTES}"),
        (b"1,2\n\n" * (MAX_STROKES + 1), f"{MAX_STROKES + 1} strokes are over the limit"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "s.txt").write_bytes(content)
    with pytest.raises(SampleError, match=reason) as caught:
        read_strokes(tmp_path / "s.txt")
    assert len(str(caught.value)) < 120
    assert "\n" not in str(caught.value)
    assert tmp_path.name not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_strokes_or_a_reason(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("s") / "s.txt"
    path.write_bytes(data)
    try:
        strokes = read_strokes(path)
    except SampleError:
        return
    assert all(len(stroke) and stroke.shape[1] == 2 and np.isfinite(stroke).all() for stroke in strokes)
