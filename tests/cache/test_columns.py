import numpy as np
import pytest

from xfeat.cache import Columns
from xfeat.errors import InputError


def test_rows_cut_every_column_and_keep_the_classes() -> None:
    columns = Columns(["a", "b", "c"], ["train"] * 3, ["x", "y"], np.array([0, 1, -1]), pair=["p", "q", "r"])
    part = columns.rows(1, 3)
    assert (part.ids, part.split, part.pair, part.camera) == (["b", "c"], ["train"] * 2, ["q", "r"], None)
    assert part.labels is not None
    assert part.labels.tolist() == [1, -1]
    assert part.classes == ["x", "y"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": ["a", "b", "a"]}, r"duplicate id 'a' in rows 0 and 2"),
        ({"ids": ["a", "", "c"]}, r"row 1 has an empty id"),
        ({"ids": ["a", "b\0", "c"]}, r"row 1"),
        ({"ids": ["a", "b" * 1025, "c"]}, r"row 1"),
        ({"split": ["train"]}, r"split has 1 rows, ids has 3"),
        ({"labels": np.array([0, 2, 1])}, r"row 1 \(id 'b'\) has label 2"),
        ({"labels": np.array([0, -2, 1])}, r"row 1"),
        ({"labels": np.array([0.0, 1.0, 1.0])}, r"labels must be"),
        ({"labels": np.full((3, 3), 1, np.uint8)}, r"3 columns, but there are 2 classes"),
        ({"labels": np.array([[0, 1], [0, 1], [0, 2]], np.uint8)}, r"row 2 \(id 'c'\)"),
        ({"classes": ["x", "x"]}, r"class name 'x' appears twice"),
    ],
)
def test_what_cannot_be_is_refused_by_name(change: dict[str, object], message: str) -> None:
    good = {"ids": ["a", "b", "c"], "split": ["train"] * 3, "classes": ["x", "y"], "labels": np.array([0, 1, 1])}
    Columns(**good)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        Columns(**{**good, **change})  # type: ignore[arg-type]
