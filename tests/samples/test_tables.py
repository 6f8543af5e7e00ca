from pathlib import Path

import pytest

from xfeat.errors import InputError
from xfeat.samples.tables import read_table


def write(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def test_lines_are_counted_over_blank_lines_and_long_cells(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.csv", '\ufeffid, text\r\na,"two\r\nlines"\r\n\r\nb,z\r\n'))
    assert table.columns == ["id", "text"]
    assert table.rows == [{"id": "a", "text": "two\r\nlines"}, {"id": "b", "text": "z"}]
    assert table.lines == [2, 5]
    assert table.where(1).endswith("a.csv, line 5")


def test_a_cell_longer_than_the_csv_modules_default(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.csv", "text\n" + "x" * 200_000 + "\n"))
    assert len(table.column("text")[0]) == 200_000


@pytest.mark.parametrize(
    ("data", "second"),
    [("a b\t1\nc d\t2\n", ["1", "2"]), ("a  1\n\nb 2\n", ["1", "2"])],
)
def test_lists_without_header(tmp_path: Path, data: str, second: list[str]) -> None:
    assert read_table(write(tmp_path, "a.list", data)).column("2") == second


def test_columns_by_name_first_then_by_number(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.tsv", "x\t1\nfirst\tsecond\n"))
    assert table.column("1") == ["second"]
    assert table.column("2") == ["second"]
    for name in ("3", "0", "y"):
        with pytest.raises(InputError, match=f"no column '{name}'; it has: x, 1"):
            table.column(name)


def test_json_lines_keep_values_and_line_separators_of_unicode(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.jsonl", '{"a": "x\u2028y"}\n\n{"b": [1]}\n'))
    assert table.columns == ["a", "b"]
    assert table.column("a") == ["x\u2028y", None]
    assert table.column("b") == [None, [1]]
    assert table.lines == [1, 3]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", "", "a.csv is empty"),
        ("a.csv", "id,x\n", "a.csv is empty: it has no rows"),
        ("a.csv", "id,x\n1,2\n3\n", "line 3: 1 cells where there are 2 columns"),
        ("a.csv", "id,x\n1,2,3\n", "line 2: 3 cells where there are 2 columns"),
        ("a.csv", "id,id\n1,2\n", "line 1: column 'id' appears twice"),
        ("a.csv", 'id\n1\n"open\n', "line 3: not a CSV row"),
        ("a.csv", b"id\nok\n\xff\n", "line 3: not UTF-8"),
        ("a.jsonl", "", "a.jsonl is empty"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "line 2: not JSON"),
        ("a.jsonl", '{"a": ' + "[" * 100_000 + "\n", "line 1: not JSON"),
        ("a.jsonl", "[1]\n", "line 1: a line must be a JSON object"),
        ("a.list", "\n \n", "a.list is empty"),
        ("a.list", "1 2\n3\n", "line 2: 1 cells where there are 2 columns"),
    ],
)
def test_malformed(tmp_path: Path, name: str, data: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_table(write(tmp_path, name, data))
    assert "\n" not in str(error.value)


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"b\.csv cannot be read: No such file"):
        read_table(tmp_path / "b.csv")
