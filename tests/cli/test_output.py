import pytest
from rich.cells import cell_len

from xfeat.cli.output import cut, table, width, wrap

WORDS = ["cat", "猫の写真", "고양이", "une été", "🐱🐶", "e\u0301tude"]


def test_columns_line_up_in_every_script() -> None:
    lines = table(["id", "rows"], [[word, "1"] for word in WORDS]).splitlines()
    assert [cell_len(line) for line in lines] == [cell_len(lines[1])] * len(lines)
    words = table(["n", "id"], [["1", word] for word in WORDS]).splitlines()
    assert [cell_len(line) for line in words] == [cell_len(words[1])] * len(words)


@pytest.mark.parametrize("text", ["x" * 40, "猫" * 40, "e\u0301" * 40, "고양이 " * 9, "a🐱" * 20, "👩\u200d💻" * 20])
@pytest.mark.parametrize("end", [0, 3, 6])
def test_long_words_are_cut_by_the_columns_they_take(text: str, end: int) -> None:
    short = cut(text, 12, end=end)
    assert 12 - 3 < cell_len(short) <= 12  # a wide character may miss its place by one, at both ends
    head, tail = short.split("...")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert not tail or width(tail[0]) > 0  # no mark without its character
    assert not head.endswith("\u200d")
    assert cut(text, width(text)) == text


@pytest.mark.parametrize("text", ["猫" * 100, "a" + "猫" * 100, "x y " + "猫の" * 70, "cat " * 50])
@pytest.mark.parametrize("room", [40, 41])
def test_words_longer_than_a_line_are_wrapped(text: str, room: int) -> None:
    lines = wrap(text, room, "  ", "    ")
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert room - 8 < max(map(cell_len, lines)) <= room


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert table(["id"], [["a\x1b[31m\nb"]]).splitlines()[-1] == "  a?[31m?b"
