import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.cache.columns import Columns
from xfeat.errors import InputError
from xfeat.samples import Samples, read_manifest


def read(folder: Path, text: str, modality: str = "image", name: str = "m.csv", **options: Any) -> Samples:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_manifest(path, modality, **options)


def test_all_columns(tmp_path: Path) -> None:
    samples = read(
        tmp_path,
        "id,split,label,pair,camera,image,text\n1,train,cat,p,c1,a.png,hello\n2,odd,ant,p,c2,x/../b.png,world\n",
    )
    columns = samples.columns
    assert columns.ids == ["1", "2"]
    assert columns.split == ["train", "odd"]
    assert columns.classes == ["ant", "cat"]
    np.testing.assert_array_equal(columns.labels, [1, 0])
    assert columns.pair == ["p", "p"]
    assert columns.camera == ["c1", "c2"]
    assert samples.sources == ["a.png", "b.png"]
    assert samples.root == tmp_path.resolve()
    assert samples.left_out == 0
    assert len(samples) == 2


def test_defaults(tmp_path: Path) -> None:
    samples = read(tmp_path, "image\na.png\n./b//c.png\n")
    assert samples.columns.ids == ["a.png", "b/c.png"]
    assert samples.columns.split == ["train", "train"]
    assert samples.columns.labels is None
    assert samples.columns.pair is samples.columns.camera is None


def test_text_is_literal_unless_it_names_files(tmp_path: Path) -> None:
    table = "caption\n /etc/passwd ../x \n"
    samples = read(tmp_path, table, "text", column="caption", kind="text")
    assert samples.sources == [" /etc/passwd ../x "]
    assert samples.columns.ids == ["text:1"]
    with pytest.raises(InputError, match="is absolute"):
        read(tmp_path, table, "text", column="caption", kind="text", text_files=True)
    assert read(tmp_path, "text\nt/1.txt\n", "text", kind="text", text_files=True).columns.ids == ["t/1.txt"]


def test_empty_cells(tmp_path: Path) -> None:
    table = "id,image,text\na,1.png,\nb,,hi\nc,,\nd, ,  \n"
    images = read(tmp_path, table)
    assert (images.columns.ids, images.sources, images.left_out) == (["a", "c", "d"], ["1.png", "", ""], 1)
    texts = read(tmp_path, table, "text", kind="text")
    assert (texts.columns.ids, texts.left_out) == (["b", "c", "d"], 1)
    # The index column that some tools write has no name and is no modality.
    assert read(tmp_path, ",image\n0,a.png\n1,\n").columns.ids == ["a.png", "image:2"]


def test_a_column_that_nobody_filled_is_one_left_out(tmp_path: Path) -> None:
    columns = read(tmp_path, "id,split,label,pair,camera,image\n1,,,,,a.png\n2,, ,,,b.png\n").columns
    assert (columns.split, columns.labels, columns.pair, columns.camera) == (["train", "train"], None, None, None)
    # One that only other modalities fill is there.
    with pytest.raises(InputError, match=r"^[^:]*, line 2: 'pair' is empty"):
        read(tmp_path, "id,pair,image,text\n1,,a.png,\n2,k,,hello\n")


def test_json_lines_tell_an_absent_text_from_an_empty_one(tmp_path: Path) -> None:
    rows = [{"id": 1, "image": "a", "text": ""}, {"id": 2, "image": "b", "text": None}, {"id": 3, "image": "c"}]
    samples = read(tmp_path, "\n".join(map(json.dumps, rows)), "text", "m.jsonl", kind="text")
    assert (samples.columns.ids, samples.sources, samples.left_out) == (["1"], [""], 2)


def test_row_numbers_of_texts_do_not_depend_on_rows_left_out(tmp_path: Path) -> None:
    samples = read(tmp_path, "image,text\na.png,\n,hi\n", "text", kind="text")
    assert samples.columns.ids == ["text:2"]


def test_labels(tmp_path: Path) -> None:
    single = read(tmp_path, "image,label\na,10\nb,\nc,9\n").columns
    assert single.classes == ["9", "10"]
    np.testing.assert_array_equal(single.labels, [1, -1, 0])
    multi = read(tmp_path, "image,label\na,x | y\nb,\nc,x\n").columns
    assert multi.classes == ["x", "y"]
    np.testing.assert_array_equal(multi.labels, [[1, 1], [0, 0], [1, 0]])
    lists = read(tmp_path, '{"image": "a", "label": ["x"]}\n{"image": "b", "label": null}\n', name="m.jsonl").columns
    np.testing.assert_array_equal(lists.labels, [[1], [0]])
    bars = read(tmp_path, '{"image": "a", "label": "x|y"}\n{"image": "b", "label": 3}\n', name="m.jsonl").columns
    assert bars.classes == ["3", "x|y"]
    assert read(tmp_path, "image,label\na,\n").columns.labels is None


def test_root(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert read(tmp_path, "image\na\n", root=tmp_path / "data").root == (tmp_path / "data").resolve()
    with pytest.raises(InputError, match="absent is not a folder"):
        read(tmp_path, "image\na\n", root=tmp_path / "absent")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("id,picture\n1,a\n", "has no column 'image'; it has: id, picture"),
        ("id,image,split\n1,a,train\n2,b,\n", "line 3: 'split' is empty"),
        ("id,image,pair\n1,a,\n2,b,x\n", "line 2: 'pair' is empty"),
        ("id,image\n1,a\n2,b\n1,c\n", "duplicate id '1' on lines 2 and 4: ids must be unique"),
        ("image\na\nb/../a\n", "duplicate id 'a' on lines 2 and 3: add an id column"),
        ("id,image\n,a\n", "line 2: the id is empty"),
        ("id,image\n1,a\nx2,../b\n", r"line 3 \(id 'x2'\): path '../b' leaves the root"),
        ("image\n/a\n", "line 2: path '/a' is absolute"),
        ("image,text\n,hi\n", "no row has anything in column 'image'"),
        ("image,id\na," + "x" * 2000 + "\n", "longer than 1024 bytes"),
        ("", "is empty"),
    ],
)
def test_refusals(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, table)
    assert "m.csv" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"image": 3}', "'image' must be a string, not 3"),
        ('{"image": "a", "id": true}', "'id' must be a string, not True"),
        ('{"image": "a", "label": {"x": 1}}', "'label' must be a class name or a list"),
        ('{"image": "a", "label": [1.5]}', "'label' must be a class name or a list"),
        ('{"image": "\\ud800"}', "'image' holds half of a surrogate pair"),
        ('{"image": "a", "label": "\\ud800"}', "'label' holds half of a surrogate pair"),
    ],
)
def test_json_values_of_the_wrong_kind(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InputError, match=f"line 1: {message}"):
        read(tmp_path, line, name="m.jsonl")


def test_other_suffix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a manifest is a \.csv, \.tsv or \.jsonl file"):
        read(tmp_path, "image\na\n", name="m.txt")


text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@given(st.lists(st.tuples(text, st.sampled_from(["train", "val", "test"])), min_size=1, max_size=8))
def test_csv_and_json_lines_say_the_same(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("m")
    with (folder / "m.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "text", "split"), *((f"s{i}", *row) for i, row in enumerate(rows))])
    documents = [{"id": f"s{i}", "text": words, "split": split} for i, (words, split) in enumerate(rows)]
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents), encoding="utf-8")
    first, second = (read_manifest(folder / name, "text", kind="text") for name in ("m.csv", "m.jsonl"))
    assert first.sources == second.sources == [words for words, _ in rows]
    assert first.columns == second.columns
    assert first.columns.split == [split for _, split in rows]


def test_all_modalities_of_a_manifest_agree_on_its_classes(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("id,label,image,text\n1,cat,a.png,\n2,fish,b.png,\n3,cat,,purrs\n4,dog|cat,,both\n")
    image, text = (read_manifest(path, name, kind=name) for name in ("image", "text"))
    assert list(image.columns.classes) == list(text.columns.classes) == ["cat", "dog", "fish"]
    assert image.columns.labels is not None
    assert text.columns.labels is not None
    np.testing.assert_array_equal(image.columns.labels, [[1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(text.columns.labels, [[1, 0, 0], [1, 1, 0]])


def test_rows_with_several_modalities_tie_them(tmp_path: Path) -> None:
    table = "id,image,text\na,1.png,one\nb,2.png,\nc,,three\nd,4.png,four\n"
    assert read(tmp_path, table).columns.pair == ["a", "b", "d"]
    assert read(tmp_path, table, "text", kind="text").columns.pair == ["a", "c", "d"]
    unnamed = "image,text\n1.png,one\n,two\n3.png,three\n"
    images, texts = read(tmp_path, unnamed), read(tmp_path, unnamed, "text", kind="text")
    assert (images.columns.ids, images.columns.pair) == (["1.png", "3.png"], ["row:1", "row:3"])
    assert (texts.columns.ids, texts.columns.pair) == (["text:1", "text:2", "text:3"], ["row:1", "row:2", "row:3"])
    lines = '{"id": 7, "image": "a", "text": "x"}\n{"id": 8, "image": "b", "text": null}\n'
    assert read(tmp_path, lines, name="m.jsonl").columns.pair == ["7", "8"]


def test_rows_of_one_modality_each_are_not_paired(tmp_path: Path) -> None:
    table = "id,label,split,image,text\na,x,train,1.png,\nb,x,test,,two\nc,y,train,3.png, \n"
    assert read(tmp_path, table).columns.pair is None
    assert read(tmp_path, table, "text", kind="text").columns.pair is None


def test_a_pair_column_counts_before_the_rows(tmp_path: Path) -> None:
    table = "id,pair,image,text\na,p,1.png,one\nb,p,2.png,two\n"
    assert read(tmp_path, table).columns.pair == ["p", "p"]


@given(st.integers(1, 12), st.integers(1, 12), st.booleans())
def test_parts_follow_each_other_and_share_the_classes(rows: int, parts: int, multi: bool) -> None:
    ids = [f"s{row}" for row in range(rows)]
    labels = np.eye(3, dtype=np.uint8)[np.arange(rows) % 3] if multi else np.arange(rows) % 3
    columns = Columns(ids, ["train"] * rows, ["a", "b", "c"], labels, ids[::-1])
    whole = Samples(columns, [f"{name}.png" for name in ids], Path("/data"), 4, "image")
    if parts > rows:
        with pytest.raises(InputError, match=f"{rows} samples cannot be divided into {parts} parts"):
            whole.part(0, parts)
        return
    found = [whole.part(part, parts) for part in range(parts)]
    assert [name for part in found for name in part.columns.ids] == ids
    assert [source for part in found for source in part.sources] == whole.sources
    assert [name for part in found for name in part.columns.pair or ()] == ids[::-1]
    np.testing.assert_array_equal(np.concatenate([part.columns.labels for part in found]), labels)
    assert {tuple(part.columns.classes) for part in found} == {("a", "b", "c")}
    assert {(part.root, part.left_out, part.kind) for part in found} == {(Path("/data"), 4, "image")}
    assert max(map(len, found)) - min(map(len, found)) <= 1
    for part in (-1, parts):
        with pytest.raises(InputError, match="counted from 0"):
            whole.part(part, parts)
