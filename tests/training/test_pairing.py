"""Instances against a dict of sets."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.paired_building import View, views, write_views
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.training.pairing import Pairing, find_classes, pair_rows

CLASSES = ("Latin/a", "Latin/b", "Greek/a")


def view(
    modality: str,
    keys: Sequence[str] | None,
    labels: Sequence[int] | Sequence[Sequence[int]] | None = None,
    classes: Sequence[str] = CLASSES,
    split: Sequence[str] | None = None,
) -> View:
    rows = len(keys) if keys is not None else 3
    features = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    several = labels is not None and isinstance(next(iter(labels), 0), Sequence)
    found = None if labels is None else np.array(labels, np.uint8 if several else np.int64)
    own = tuple(classes) if labels is not None else ()
    return View(modality, features, None if keys is None else list(keys), list(split or ["train"] * rows), own, found)


def join(folder: Path, *made: View, classes: Sequence[str] = ()) -> Pairing:
    caches = write_views(folder, {one.modality: one for one in made})
    return pair_rows(caches, {cache.manifest.modality: cache.load(("train",)) for cache in caches}, classes)


def instances(pairing: Pairing) -> dict[str, dict[str, list[int]]]:
    """Rows by instance and modality."""
    return {
        key: {
            name: members.rows[members.starts[i] : members.starts[i + 1]].tolist()
            for name, members in pairing.members.items()
        }
        for i, key in enumerate(pairing.keys)
    }


def test_rows_of_one_key_are_one_instance_however_many_they_are(tmp_path: Path) -> None:
    image, text = view("image", ["b", "a", "c", "b"]), view("text", ["a", "a", "b", "d", "a"])
    found = join(tmp_path, image, text)
    assert instances(found) == {"a": {"image": [1], "text": [0, 1, 4]}, "b": {"image": [0, 3], "text": [2]}}
    assert (found.alone, found.outside) == ({"image": 1, "text": 1}, {"image": 0, "text": 0})
    assert len(found) == 2
    assert found.members["text"].counts.tolist() == [3, 1]


def test_a_modality_may_lack_an_instance_and_an_empty_key_ties_nothing(tmp_path: Path) -> None:
    made = view("image", ["a", "b", ""]), view("text", ["", "", "a"]), view("audio", ["b", "z", ""])
    found = join(tmp_path, *made)
    assert instances(found) == {
        "a": {"image": [0], "text": [2], "audio": []},
        "b": {"image": [1], "text": [], "audio": [0]},
    }
    assert found.alone == {"image": 1, "text": 2, "audio": 2}


def test_rows_of_other_splits_are_of_no_instance(tmp_path: Path) -> None:
    image = view("image", ["a", "b"], split=["train", "test"])
    assert join(tmp_path, image, view("text", ["a", "b"])).keys == ["a"]


def test_an_instance_with_a_row_of_another_class_is_left_out(tmp_path: Path) -> None:
    image = view("image", ["a", "b", "c", "d", "e", ""], [0, 1, 2, 0, -1, 2])
    text = view("text", ["a", "b", "c", "d", "d", "e"], [0, 1, 2, 0, 2, -1])
    found = join(tmp_path, image, text, classes=["Latin/a", "Latin/b"])
    assert found.keys == ["a", "b"], "c is of another class, d is partly, e is of none"
    assert found.outside == {"image": 3, "text": 4}
    assert found.alone == {"image": 1, "text": 0}


def test_labels_of_one_cache_speak_for_its_partners(tmp_path: Path) -> None:
    image, text = view("image", ["a", "b", "c"], [0, 2, -1]), view("text", ["a", "b", "c"])
    assert join(tmp_path, image, text, classes=["Latin/a"]).keys == ["a"]
    assert join(tmp_path / "all", image, text).keys == ["a", "b", "c"]


def test_an_instance_of_two_classes_needs_both(tmp_path: Path) -> None:
    image = view("image", ["a", "b", "c", "d"], [[1, 0, 0], [1, 1, 0], [1, 0, 1], [0, 0, 0]])
    text = view("text", ["a", "b", "c", "d"])
    assert join(tmp_path / "1", image, text, classes=["Latin/a", "Latin/b"]).keys == ["a", "b"]
    assert join(tmp_path / "2", image, text, classes=["Latin/a"]).keys == ["a"]
    assert join(tmp_path / "3", image, text, classes=CLASSES).keys == ["a", "b", "c"]


def test_classes_count_by_name_whatever_their_order_in_a_cache(tmp_path: Path) -> None:
    image = view("image", ["a", "b"], [0, 2])
    text = view("text", ["a", "b"], [2, 0], classes=CLASSES[::-1])
    assert join(tmp_path, image, text, classes=["Greek/a"]).keys == ["b"]


def caches_of(folder: Path, *made: View) -> list[FeatureCache]:
    return write_views(folder, {one.modality: one for one in made})


def test_patterns_stand_for_class_names(tmp_path: Path) -> None:
    other = view("text", ["a"], [0], classes=("Latin/c", "Latin/a"))
    caches = caches_of(tmp_path, view("image", ["a"], [0]), other, view("audio", ["a"]))
    for patterns, meant in (
        (["Latin/*"], ["Latin/a", "Latin/b", "Latin/c"]),
        (["*/a"], ["Latin/a", "Greek/a"]),
        (["Latin/b", "Latin/b", "Greek/?"], ["Latin/b", "Greek/a"]),
        (["Latin/[ac]"], ["Latin/a", "Latin/c"]),
    ):
        assert find_classes(caches, patterns) == meant
    odd = view("image", ["a"], [0], classes=("[1]", "1"))
    assert find_classes(caches_of(tmp_path / "odd", odd), ["[1]"]) == ["[1]", "1"]


def error(*args: object) -> str:
    with pytest.raises(InputError) as caught:
        find_classes(*args)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_classes_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    image, audio = caches_of(tmp_path, view("image", ["a"], [0]), view("audio", ["a"]))
    found = error([image, audio], ["Latin/*", "latin/a"])
    assert found == "'latin/a' is no class of the caches (there is Latin/a, Latin/b, Greek/a)"
    assert error([audio], ["x"]) == "classes=['x'] is set, but no cache has labels: add a `label` column"


@pytest.mark.parametrize(
    ("image", "text", "classes", "words"),
    [
        (["a"], None, (), ["text has no pair keys", "`--pair` of `xfeat import`"]),
        (["a", "b"], ["c"], (), ["no pair key is in two modalities (first keys: image 'a', text 'c')"]),
        (["", ""], ["", "x"], (), ["no pair key is in two modalities"]),
        (["a"], ["a"], ("Greek/a",), ["no pair key is in two modalities in the chosen classes"]),
    ],
)
def test_rows_that_make_no_instance_are_one_line(
    tmp_path: Path, image: list[str], text: list[str] | None, classes: tuple[str, ...], words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        join(tmp_path, view("image", image, [0] * len(image)), view("text", text), classes=classes)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words)


ROW = st.tuples(st.sampled_from(["a", "b", "c", "d", ""]), st.integers(-1, 2))
TABLE = st.lists(ROW, min_size=1, max_size=7)


def literal(tables: dict[str, list[tuple[str, int]]], wanted: Sequence[str]) -> dict[str, dict[str, list[int]]]:
    found: dict[str, dict[str, list[int]]] = {}
    for key in sorted({key for rows in tables.values() for key, _ in rows} - {""}):
        rows = {name: [i for i, (own, _) in enumerate(table) if own == key] for name, table in tables.items()}
        labels = {table[i][1] for name, table in tables.items() for i in rows[name]} - {-1}
        names = {CLASSES[label] for label in labels}
        if sum(bool(own) for own in rows.values()) > 1 and (not wanted or (names and names <= set(wanted))):
            found[key] = rows
    return found


@settings(max_examples=20)
@given(
    tables=st.lists(TABLE, min_size=2, max_size=3),
    wanted=st.lists(st.sampled_from(CLASSES), unique=True, max_size=2),
    order=st.permutations(range(3)),
)
def test_any_tables_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, tables: list[list[tuple[str, int]]], wanted: list[str], order: list[int]
) -> None:
    named = dict(zip(("image", "text", "audio"), tables, strict=False))
    made = [view(name, [key for key, _ in rows], [label for _, label in rows]) for name, rows in named.items()]
    expected = literal(named, wanted)
    caches = caches_of(tmp_path_factory.mktemp("tables"), *made)
    blocks = {cache.manifest.modality: cache.load(("train",)) for cache in caches}
    for these in (caches, [caches[place] for place in order if place < len(caches)]):
        if not expected:
            with pytest.raises(InputError, match="no pair key is in two modalities"):
                pair_rows(these, blocks, wanted)
            continue
        found = pair_rows(these, blocks, wanted)
        assert found.keys == sorted(found.keys)
        assert instances(found) == expected
        for name, rows in named.items():
            used = sum(len(one[name]) for one in expected.values())
            assert found.alone[name] + found.outside[name] + used == len(rows)
            assert found.outside[name] == 0 or wanted


def test_paired_views_share_their_instances() -> None:
    made = views("image", "text", count=30, captions={"text": 3}, missing={"image": 0.3})
    keys = {name: set(one.keys or ()) for name, one in made.items()}
    assert keys["image"] < keys["text"]
    assert len(made["text"].features) == 90
