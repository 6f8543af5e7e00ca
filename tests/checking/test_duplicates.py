from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checking.planting import CLASSES, Field, clean, keys, kinds, read
from xfeat.checking.duplicates import conflicts, duplicates

NAMES = ("train", "val", "test")


def found(*fields: Field, folder: Path):
    caches = [read(field.write(folder)) for field in fields]
    return list(duplicates(caches))


def test_rows_of_their_own_have_no_equals(tmp_path: Path) -> None:
    caches = [read(clean(name).write(tmp_path)) for name in ("image", "text")]
    assert list(duplicates(caches)) == []
    assert list(conflicts(caches)) == []


def test_a_copy_in_test_is_a_leak_and_names_its_twin(tmp_path: Path) -> None:
    field = clean()
    train, test, val = field.of("train"), field.of("test"), field.of("val")
    field.features[test[3]] = field.features[train[7]]
    field.features[val[1]] = field.features[train[5]]
    field.labels[[test[3], val[1]]] = [0, field.labels[train[5]]]
    field.labels[train[7]] = 2
    (leak,) = found(field, folder=tmp_path)
    assert kinds([leak]) == [("leak", "duplicates")]
    assert leak.title == "image: 1 of 20 test and 1 of 10 val rows equal a train row"
    pairs = {(e.row.id, e.other.id) for e in leak.examples if e.other}
    assert pairs == {(field.ids[test[3]], field.ids[train[7]]), (field.ids[val[1]], field.ids[train[5]])}
    assert leak.counts == {"rows": 2, "test": 1, "val": 1, "other_label": 1, "usual_share": 0.0}
    assert leak.lines[-1] == "Of them, 1 has another label there."


def test_a_val_row_in_test_is_a_leak_and_other_splits_are_a_note(tmp_path: Path) -> None:
    field = clean()
    test, val, train = field.of("test"), field.of("val"), field.of("train")
    field.features[test[0]] = field.features[val[0]]
    field.features[test[5]] = field.features[train[0]]
    field.split[test[5]] = "spare"
    assert [(f.severity, f.title) for f in found(field, folder=tmp_path)] == [
        ("leak", "image: 1 of 19 test rows equals a val row"),
        ("note", "image: 1 of 1 'spare' rows equals a train row"),
    ]


def test_the_same_bytes_are_a_leak_and_the_same_features_of_other_bytes_a_warning(tmp_path: Path) -> None:
    field = clean()
    test, train = field.of("test"), field.of("train")
    field.content = keys(60)
    field.content[test[0]] = field.content[train[0]]
    field.features[test[1]] = field.features[train[1]]
    field.content[[test[2], train[2]]] = 0  # unknown: no reason to call them equal
    assert kinds(found(field, folder=tmp_path)) == [("leak", "duplicates"), ("warning", "equal-features")]


def test_modalities_of_one_width_are_compared_and_what_was_found_is_not_told_twice(tmp_path: Path) -> None:
    image, text, wide = clean("image"), clean("text"), clean("wide", dim=13)
    test, train = image.of("test"), image.of("train")
    text.features[test[0]] = image.features[train[0]]
    wide.features[test[1], :12] = image.features[train[1]]
    image.features[test[2]] = image.features[train[2]]
    text.features[train[3]] = image.features[train[2]]
    titles = [finding.title for finding in found(image, text, wide, folder=tmp_path)]
    assert titles == [
        "image: 1 of 20 test rows equals a train row",
        "text: 1 of 20 test rows equals a train row of image",
    ]


def test_rows_of_zeros_and_failed_rows_have_no_equals_and_minus_zero_is_zero(tmp_path: Path) -> None:
    field = clean()
    test, train = field.of("test"), field.of("train")
    field.features[[test[0], train[0]]] = 0
    field.features[test[1]] = field.features[train[1]]
    field.status = ["ok"] * 60
    field.status[test[1]] = "unreadable"
    field.features[test[2]] = field.features[train[2]]
    field.features[test[2], 0], field.features[train[2], 0] = 0.0, -0.0
    (leak,) = found(field, folder=tmp_path)
    assert [example.row.id for example in leak.examples] == [field.ids[test[2]]]


def test_what_is_usual_among_training_rows_is_no_leak(tmp_path: Path) -> None:
    field = clean(dim=2)
    field.features = np.round(field.features / 3) + 1  # few different rows
    (finding,) = [one for one in found(field, folder=tmp_path) if one.counts.get("test")][:1]
    assert finding.severity == "warning"
    assert finding.counts["usual_share"] > 0.05
    assert f"Among training rows {finding.counts['usual_share']:.0%} have such a twin too" in finding.lines[0]


def test_equal_rows_with_different_labels(tmp_path: Path) -> None:
    field = clean()
    field.features[[1, 2, 40]] = field.features[0]
    field.labels[[0, 1, 2, 40]] = [0, 0, -1, 1]
    (torn,) = conflicts([read(field.write(tmp_path))])
    assert kinds([torn]) == [("warning", "conflicting-labels")]
    assert torn.counts == {"rows": 3}
    told = [(e.row.id, e.row.label, e.other.id, e.other.label) for e in torn.examples if e.other]
    assert told[0] == ("image/000", "ant", "image/040", "bee")
    assert told[2] == ("image/040", "bee", "image/000", "ant")


@given(seed=st.integers(0, 2**16), values=st.integers(1, 3), multi=st.booleans())
@settings(max_examples=10)
def test_equals_the_literal_comparison(
    tmp_path_factory: pytest.TempPathFactory, seed: int, values: int, multi: bool
) -> None:
    rng = np.random.default_rng(seed)
    n = 18
    features = rng.integers(-values, values + 1, (n, 2)).astype(np.float32)
    labels = rng.integers(0, 2, (n, 3), dtype=np.uint8) if multi else rng.integers(-1, 3, n)
    split = [NAMES[number] for number in rng.integers(0, 3, n)]
    field = Field("image", features, split, labels, [f"{row:02d}" for row in range(n)])
    cache = read(field.write(tmp_path_factory.mktemp("cache")))

    def label(row: int) -> tuple[str, ...]:
        return tuple(CLASSES[c] for c in (np.flatnonzero(labels[row]) if multi else [labels[row]]) if c >= 0)

    def equals(row: int, wanted: str) -> list[int]:
        return [
            o for o in range(n) if split[o] == wanted and features[row].any() and (features[o] == features[row]).all()
        ]

    expected: dict[str, int] = {}
    other_label: dict[str, int] = {}
    for row in range(n):
        for against in {"test": ("train", "val"), "val": ("train",)}.get(split[row], ()):
            twins = equals(row, against)
            expected[against] = expected.get(against, 0) + bool(twins)
            known = [label(o) for o in twins if label(o)]
            other_label[against] = other_label.get(against, 0) + bool(label(row) and known and label(row) not in known)
    told = {finding.title.rstrip().split()[-2]: finding.counts for finding in duplicates([cache])}
    assert {name: counts["rows"] for name, counts in told.items()} == {k: v for k, v in expected.items() if v}
    for name, counts in told.items():
        assert counts["other_label"] == other_label[name]

    torn = 0
    for row in range(n):
        twins = [o for name in NAMES for o in equals(row, name) if label(o) and label(row)]
        torn += any(label(o) != label(row) for o in twins)
    assert sum(finding.counts["rows"] for finding in conflicts([cache])) == torn
