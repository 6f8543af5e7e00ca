from pathlib import Path

import numpy as np
import pytest

from tests.checking.planting import clean, kinds, read
from xfeat.checking.dimensions import dimension_findings


def test_sound_features_are_quiet(tmp_path: Path) -> None:
    assert list(dimension_findings(read(clean().write(tmp_path)))) == []


def test_dimensions_that_say_nothing(tmp_path: Path) -> None:
    field = clean()
    train = field.of("train")
    field.features[train, 5] = field.features[train, 4]  # test rows do not count
    field.features[:, 6] *= 1e3
    field.features[[2, 4]] = 0
    found = list(dimension_findings(read(field.write(tmp_path))))
    assert kinds(found) == [
        ("warning", "zero-rows"),
        ("note", "repeated-dimensions"),
        ("warning", "dominant-dimension"),
    ]
    assert [example.row.id for example in found[0].examples] == ["image/002", "image/004"]
    assert found[1].counts == {"dimensions": 1, "of": 12}
    assert found[2].counts["dimension"] == 6
    expected = field.features[train].astype(np.float64).var(0)
    assert found[2].counts["share"] == pytest.approx(expected[6] / expected.sum())


def test_constant_dimensions_are_a_note_and_all_of_them_a_warning(tmp_path: Path) -> None:
    field = clean()
    field.features[field.of("train"), 0] = 0
    field.features[:, 1] = 3
    (note,) = dimension_findings(read(field.write(tmp_path / "some")))
    assert kinds([note]) == [("note", "constant-dimensions")]
    assert note.title == "image: 2 of 12 dimensions never change in training rows, 1 of them 0"
    field.features[:] = 1
    assert kinds(list(dimension_findings(read(field.write(tmp_path / "all"))))) == [("warning", "constant-dimensions")]
