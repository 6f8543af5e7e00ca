from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.building import blobs
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.training.classes import (
    class_columns,
    class_indices,
    listed,
    multi_hot,
    places,
    similar_names,
    similarity_notes,
    support_lines,
    union_of_classes,
    unsupported_pairs,
)

NAMES = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True)


@pytest.fixture
def with_classes(tmp_path: Path):
    def write(modality: str, *classes: str) -> FeatureCache:
        return replace(blobs(modality), classes=classes).write(tmp_path / modality)

    return write


def test_the_union_does_not_depend_on_the_order_of_caches(with_classes) -> None:
    caches = [with_classes("a", "10", "2", "3"), with_classes("b", "3", "4", "5"), with_classes("c", "5", "7", "8")]
    for order in ((0, 1, 2), (2, 0, 1), (0, 2, 1)):
        assert union_of_classes([caches[i] for i in order]) == ["2", "3", "4", "5", "7", "8", "10"]


def test_groups_of_caches_without_a_common_class(with_classes) -> None:
    linked = [with_classes("a", "ant", "bee", "cow"), with_classes("b", "cow", "dog", "emu")]
    with pytest.raises(InputError) as caught:
        union_of_classes([*linked, with_classes("c", "Ant", "Bee", "fox", "gnu")])
    message = str(caught.value)
    assert f"{linked[0].path} and " in message
    assert "c share no class ('ant', 'bee', 'cow'; 'Ant', 'Bee', 'fox' and 1 more)" in message
    assert message.endswith("the same everywhere (is 'ant' the same as 'Ant'?)")


def test_a_cache_without_labels(tmp_path: Path) -> None:
    bare = replace(blobs("text"), labels=None).write(tmp_path / "bare")
    with pytest.raises(InputError, match="bare has no labels"):
        union_of_classes([blobs("image").write(tmp_path / "image"), bare])


def test_columns_of_a_cache_that_lacks_classes() -> None:
    assert class_columns(["a", "b", "c"], ["c", "a", "b"], "x") == [2, 0, 1]
    assert class_columns(["c", "a"], ["a", "b", "c"], "x") == [1, -1, 0]


def test_columns_of_a_cache_with_other_classes() -> None:
    with pytest.raises(InputError, match=r"^x: the run does not know 'c', 'd': `xfeat add-class` makes room"):
        class_columns(["c", "a", "d"], ["a", "b"], "x")
    with pytest.raises(InputError, match=r"know 'B ': is 'B ' the run's 'b'\? .*add-class"):
        class_columns(["a", "B "], ["a", "b"], "x")
    with pytest.raises(InputError, match=r"^x has classes 'c', 'd', none of the run's 'a', 'b': class names must be"):
        class_columns(["c", "d"], ["a", "b"], "x")


@given(have=NAMES, want=NAMES, data=st.data())
def test_labels_keep_their_names(have: list[str], want: list[str], data: st.DataObject) -> None:
    columns = places(have, want)
    labels = np.array(data.draw(st.lists(st.integers(-1, len(have) - 1), max_size=9)), np.int64)
    indices = class_indices(labels, columns)
    assert indices.dtype == np.int64
    named = [have[label] if label >= 0 else None for label in labels]
    assert indices.tolist() == [want.index(name) if name in want else -1 for name in named]
    expected = [[name == other for other in want] for name in named]
    np.testing.assert_array_equal(multi_hot(labels, columns), np.array(expected, np.float32).reshape(-1, len(want)))


@given(have=NAMES, want=NAMES, seed=st.integers(0, 999))
def test_multi_hot_labels_keep_their_names(have: list[str], want: list[str], seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 2, (5, len(have)), np.uint8)
    hot = multi_hot(labels, places(have, want))
    assert hot.dtype == np.float32
    for row, expected in zip(hot, labels, strict=True):
        named = {name for name, has in zip(have, expected, strict=True) if has}
        assert [bool(x) for x in row] == [name in named for name in want]


def test_a_pair_is_unsupported_where_either_side_never_trained() -> None:
    found = unsupported_pairs({"image": [], "text": ["cow"], "audio": ["ant"], "video": []})
    both = {"text": ["cow"], "audio": ["ant"]}
    assert {(query, gallery): classes for query, gallery, classes in found} == {
        (a, b): sorted(both.get(a, []) + both.get(b, []))
        for a in ("image", "text", "audio", "video")
        for b in ("image", "text", "audio", "video")
        if a != b and {a, b} & both.keys()
    }
    assert unsupported_pairs({"image": [], "text": []}) == []


def test_support_in_two_lines() -> None:
    assert support_lines({"image": [], "text": []}) == []
    assert support_lines({"image": ["cow"], "text": []}) == [
        "  image has no training rows of 1 class: cow",
        "  so retrieval from or to image is unsupported for it",
    ]
    assert support_lines({"image": ["ant", "cow"], "text": ["bee"]})[0] == (
        "  classes without training rows: image 2 (ant, cow); text 1 (bee)"
    )


def test_support_shows_as_many_names_as_fit() -> None:
    many = {name: [f"class {number}" for number in range(1200)] for name in ("image", "text")}
    assert support_lines(many)[0] == "  classes without training rows: image 1,200; text 1,200"
    assert support_lines({**many, "image": ["ant", "bee"], "text": ["cow", "dog", "elk", "fox", "gnu"]})[0] == (
        "  classes without training rows: image 2 (ant, bee); text 5 (cow, dog, 3 more)"
    )


@given(counts=st.lists(st.integers(0, 300), min_size=1, max_size=9))
def test_support_fits_the_terminal(counts: list[int]) -> None:
    untrained = {f"modality{i}": [f"class {c}" for c in range(count)] for i, count in enumerate(counts)}
    lines = support_lines(untrained)
    assert len(lines) == (2 if any(counts) else 0)
    assert all(len(line) <= 80 for line in lines)


def test_lists_are_cut_with_a_count() -> None:
    words = ["ant", "bee", "cow", "dog"]
    assert listed(words, 18) == "ant, bee, cow, dog"
    assert listed(words, 17) == "ant, bee, 2 more"
    assert listed(["a" * 30, "b"], 20) == "aaaaaaaaa..., 1 more"
    assert listed([], 5) == ""


def test_names_that_differ_by_case_or_spaces() -> None:
    assert similar_names(["Cat", "dog", "fox"], ["cat ", "dog", "Dog", "ant"]) == [("Cat", "cat ")]
    assert similar_names(["a  b"], ["A B"]) == [("a  b", "A B")]
    assert similar_names(["cat", "Cat"], ["cat", "Cat"]) == []


def test_a_note_for_names_written_in_two_ways(with_classes) -> None:
    caches = [with_classes("a", "ant", "bee", "cow"), with_classes("b", "ant", "Bee", "COW")]
    assert similarity_notes(caches) == ["class 'bee' of a and 'Bee' of b count as two classes (1 more like this)"]
    assert similarity_notes(caches[:1]) == []
