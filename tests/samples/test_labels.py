import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.errors import InputError
from xfeat.samples.labels import class_order, labels_from_matrix, labels_from_names, labels_from_numbers, split_cell

name = st.text(st.characters(codec="utf-8", exclude_characters="|"), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["10", "9", "-1", "9"], ["-1", "9", "10"]),
        (["c10", "c9", "b"], ["b", "c9", "c10"]),
        (["10", "9", "x"], ["9", "10", "x"]),
        (["01", "1"], ["01", "1"]),
        ([], []),
    ],
)
def test_class_order(names: list[str], order: list[str]) -> None:
    assert class_order(names) == order


@given(st.lists(name))
def test_class_order_depends_on_the_set_only(names: list[str]) -> None:
    order = class_order(names)
    assert set(order) == set(names)
    assert len(order) == len(set(names))
    assert class_order(reversed(names)) == order


@given(st.lists(st.lists(name.filter(lambda text: text == text.strip()), max_size=3), min_size=1))
def test_labels_say_what_the_names_said(cells: list[list[str]]) -> None:
    classes, labels = labels_from_names([split_cell("|".join(cell)) for cell in cells])
    if labels is None:
        assert not any(cells)
        return
    for cell, label in zip(cells, labels, strict=True):
        if labels.ndim == 2:
            assert {classes[i] for i in np.flatnonzero(label)} == set(cell)
        else:
            assert ([classes[label]] if label >= 0 else []) == list(dict.fromkeys(cell))


def test_a_name_outside_the_given_classes() -> None:
    with pytest.raises(InputError, match="row 1: class 'cow' is not one of the 2 classes"):
        labels_from_names([["cat"], ["cow"]], classes=["cat", "dog"])


@given(
    base=st.integers(0, 1),
    labels=st.lists(st.integers(-1, 4), min_size=1),
    dtype=st.sampled_from([np.int8, np.int64, np.float64, ">i4"]),
)
def test_the_base_is_found_or_asked_for(base: int, labels: list[int], dtype: np.dtype) -> None:
    wanted = np.array(labels)
    numbers = np.where(wanted >= 0, wanted + base, -1).astype(dtype)
    classes = ["a", "b", "c", "d", "e"]
    np.testing.assert_array_equal(labels_from_numbers(numbers, classes, base)[1], wanted)
    if (base == 0 and 0 in labels) or (base == 1 and 4 in labels) or set(labels) == {-1}:
        np.testing.assert_array_equal(labels_from_numbers(numbers, classes)[1], wanted)
    else:
        with pytest.raises(InputError, match="--label-base"):
            labels_from_numbers(numbers, classes)
    if base == 0 or 4 in labels:
        np.testing.assert_array_equal(labels_from_numbers(numbers, classes, zero_based=True)[1], wanted)


def test_numbers_name_their_classes() -> None:
    classes, labels = labels_from_numbers(np.array([7, -1, 3, 10], np.int16))
    assert classes == ["3", "7", "10"]
    np.testing.assert_array_equal(labels, [1, -1, 0, 2])
    assert labels.dtype == np.int64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([0.0, 1.5]), "row 1: label 1.5 is not an integer"),
        (np.array([0.0, np.nan]), "row 1: label nan is not an integer"),
        (np.array([1, 2**64 - 1], np.uint64), "row 1: label 18446744073709551615 is not an integer"),
        (np.array([0, 1, 2]), "row 2: label 2 is not one of 0 to 1, the 2 classes"),
        (np.array([0, -2]), "row 1: label -2 is not one of 0 to 1"),
    ],
)
def test_bad_numbers(values: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        labels_from_numbers(values, ["a", "b"])


def test_matrix() -> None:
    classes, hot = labels_from_matrix(np.array([[1.0, 0, 1], [0, 0, 0]]))
    assert classes == ["0", "1", "2"]
    assert hot.dtype == np.uint8
    assert hot.tolist() == [[1, 0, 1], [0, 0, 0]]
    with pytest.raises(InputError, match=r"row 1: label matrix \(2, 2\) holds 2"):
        labels_from_matrix(np.array([[1, 0], [0, 2]]))
    with pytest.raises(InputError, match="has 2 columns, but there are 3 classes"):
        labels_from_matrix(np.eye(2), ["a", "b", "c"])
