from pathlib import Path

import numpy as np

from tests.checking.planting import clean, read
from xfeat.checking.balance import class_findings, overview


def found(*fields, folder: Path) -> dict[str, str]:
    return {finding.kind: finding.title for finding in class_findings([read(f.write(folder)) for f in fields])}


def test_even_classes_are_quiet_and_counted(tmp_path: Path) -> None:
    cache = read(clean().write(tmp_path))
    assert list(class_findings([cache])) == []
    seen = overview(cache)
    assert list(seen.splits.items()) == [("train", 30), ("val", 10), ("test", 20)]
    assert (seen.classes, seen.least, seen.most, seen.unlabelled, seen.failed) == (3, 9, 12, 0, 0)


def test_what_is_odd_about_classes_is_told(tmp_path: Path) -> None:
    image, text = clean("image"), clean("text")
    classes = ("ant", "bee", "cow", "dodo", "eel")
    image.classes = text.classes = classes
    train, test = image.of("train"), image.of("test")
    image.labels[:] = 0
    image.labels[train[0]] = 1
    image.labels[test[0]] = 3
    image.labels[test[1]] = 3
    image.labels[train[1]] = -1
    text.labels[test[4]] = 4
    text.labels[train[4]] = 4
    titles = found(image, folder=tmp_path / "one")
    assert titles == {
        "untrained-classes": "image: 1 class of test has no training row: dodo",
        "single-rows": "image: 1 class has one training row: bee",
        "imbalance": "image: training rows by class from bee 1 to ant 28, 1 to 28",
        "unlabelled": "image: 1 of 30 train rows has no label",
    }
    both = found(image, text, folder=tmp_path / "two")
    assert both["missing-classes"] == "text: no row of 1 class that other caches are tested on: dodo"


def test_a_row_of_several_classes_counts_for_each(tmp_path: Path) -> None:
    field = clean()
    field.labels = np.ones((60, 3), np.uint8)
    field.labels[:, 2] = 0
    field.labels[field.of("train")[0], 2] = 1
    assert found(field, folder=tmp_path) == {
        "single-rows": "image: 1 class has one training row: cow",
        "imbalance": "image: training rows by class from cow 1 to ant 30, 1 to 30",
    }
    field.labels[:] = 0
    cache = read(field.write(tmp_path / "bare"))
    assert overview(cache).unlabelled == 60
    assert [finding.kind for finding in class_findings([cache])] == ["unlabelled"]


def test_without_labels_nothing_is_said(tmp_path: Path) -> None:
    field = clean()
    field.labels = None
    cache = read(field.write(tmp_path))
    assert list(class_findings([cache])) == []
    assert (overview(cache).classes, overview(cache).least, overview(cache).unlabelled) == (0, 0, 60)
