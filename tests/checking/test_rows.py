from pathlib import Path

import numpy as np

from tests.checking.planting import CLASSES, clean, keys
from xfeat.checking.rows import label_of, read_rows


def test_samples_are_the_rows_of_their_splits_across_shards(tmp_path: Path) -> None:
    field = clean()
    field.status = ["ok"] * 60
    field.status[20] = "unreadable"
    field.content = keys(60)
    rows = read_rows(field.write(tmp_path, shard_rows=7), "image", 12, 5)
    ok = [row for row in range(60) if row != 20]
    assert rows.ids == [field.ids[row] for row in ok]
    assert rows.failed == 1
    for sample, names, count, of in ((rows.train, ("train",), 12, 29), (rows.others, ("val", "test"), 5, 30)):
        assert (len(sample.rows), sample.of) == (count, of)
        assert len(set(sample.rows.tolist())) == count
        assert all(rows.split[row] in names for row in sample.rows)
        np.testing.assert_array_equal(sample.features, field.features[[ok[row] for row in sample.rows]])
    assert rows.features is not None
    assert len(set(rows.features.tolist())) == len(set(rows.content.tolist())) == 59
    assert rows.dimensions is not None
    assert rows.dimensions.rows == 29


def test_a_sample_holds_the_same_rows_in_whatever_order(tmp_path: Path) -> None:
    field = clean()
    chosen = [
        [one.ids[row] for row in one.train.rows]
        for order in (np.arange(60), np.random.default_rng(0).permutation(60))
        for one in [read_rows(field.shuffled(order).write(tmp_path / str(order[0])), "image", 12, 5)]
    ]
    assert chosen[0] == chosen[1]


def test_without_features(tmp_path: Path) -> None:
    rows = read_rows(clean().write(tmp_path), "image", 12, 5, with_features=False)
    assert (rows.features, rows.dimensions) == (None, None)
    assert (len(rows.train.rows), rows.train.of) == (0, 30)


def test_labels_have_keys_of_their_names(tmp_path: Path) -> None:
    single, multi = clean("single"), clean("multi")
    single.classes = CLASSES[::-1]
    single.labels[:3] = [2, 1, -1]
    multi.labels = np.zeros((60, 3), np.uint8)
    multi.labels[[0, 1, 1, 2], [0, 0, 1, 2]] = 1
    one, two = (read_rows(field.write(tmp_path), "x", 9, 9) for field in (single, multi))
    assert [label_of(two.labels, two.classes, row) for row in range(4)] == ["ant", "ant|bee", "cow", None]
    assert one.label_keys[0] == two.label_keys[0] != 0
    assert one.label_keys[2] == two.label_keys[3] == 0
    assert len(set(two.label_keys[:4].tolist())) == 4
