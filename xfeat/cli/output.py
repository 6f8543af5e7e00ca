"""Tables and times for a terminal of 80 columns, whatever script the user's words are in."""

import re
import textwrap
from collections.abc import Sequence

FILLER = "\ufdd0"  # no character: stands for the second column of a wide one
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def width(text: str) -> int:
    """Columns that a text takes: two for most East Asian characters and emoji, none for a combining mark."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # here: the help needs none of it

    return cell_len(text)


def left(text: str, room: int) -> str:
    """The text at the left of so many columns."""
    return text + " " * (room - width(text))


def right(text: str, room: int) -> str:
    """The text at the right of so many columns."""
    return " " * (room - width(text)) + text


def plain(text: str) -> str:
    """The text without the characters that would move a terminal's cursor or change its colours; ``?`` for each."""
    return CONTROL.sub("?", text)


def cut(text: str, room: int, *, end: int = 0, dots: str = "...") -> str:
    """A text that takes no more than ``room`` columns, with dots for what it loses.

    Args:
        text: on one line.
        room: columns; at least those of the dots and ``end``.
        end: columns of the text's end that are kept behind the dots.
        dots: what stands for the rest.
    """
    if width(text) <= room:
        return text
    return f"{_head(text, room - len(dots) - end)}{dots}{_tail(text, end)}"


def wrap(text: str, room: int, first: str = "", rest: str = "") -> list[str]:
    """Lines of words that take no more than ``room`` columns; ``first`` and ``rest`` begin them."""
    spread = "".join(character + FILLER * (width(character) - 1) for character in text)
    # A word longer than a line may be cut between a wide character and its filler: that takes a column more.
    room -= FILLER in spread
    lines = textwrap.wrap(spread, room, initial_indent=first, subsequent_indent=rest)
    return [line.replace(FILLER, "") for line in lines]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, rule_before_last: bool = False) -> str:
    """Plain aligned text: the first column to the left, numbers to the right.

    Args:
        header: names of the columns.
        rows: cells, as many as the header has; control characters in them are not printed.
        rule_before_last: set the last row (a mean) apart.

    Returns:
        Lines joined by newlines, indented by two.
    """
    shown = [[plain(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(width, column)) for column in zip(*shown, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = [left(cells[0], widths[0])]
        aligned += [right(cell, room) for cell, room in zip(cells[1:], widths[1:], strict=True)]
        return ("  " + "  ".join(aligned)).rstrip()

    rule = "  " + "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [line(shown[0]), rule, *map(line, shown[1:])]
    if rule_before_last:
        lines.insert(-1, rule)
    return "\n".join(lines)


def counted(number: int, one: str, many: str = "") -> str:
    """``1 row``, ``2 rows``; ``many`` where it is not ``one`` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _head(text: str, room: int) -> str:
    """The longest beginning that takes ``room`` columns; it does not end in a mark that joins it to what is cut."""
    end = 0
    while end < len(text) and width(text[: end + 1]) <= room:
        end += 1
    return text[:end].rstrip("\u200d")


def _tail(text: str, room: int) -> str:
    """The longest end that takes ``room`` columns; it does not begin with a mark of a character that is cut."""
    start = len(text)
    while start > 0 and width(text[start - 1 :]) <= room:
        start -= 1
    while start < len(text) and width(text[start]) == 0:
        start += 1
    return text[start:]
