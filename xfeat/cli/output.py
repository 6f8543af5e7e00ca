"""Tables and times for a terminal of 80 columns."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, rule_before_last: bool = False) -> str:
    """Plain aligned text: the first column to the left, numbers to the right.

    Args:
        header: names of the columns.
        rows: cells, as many as the header has.
        rule_before_last: set the last row (a mean) apart.

    Returns:
        Lines joined by newlines, indented by two.
    """
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = [cells[0].ljust(widths[0])]
        aligned += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return ("  " + "  ".join(aligned)).rstrip()

    rule = "  " + "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [line(header), rule, *map(line, rows)]
    if rule_before_last:
        lines.insert(-1, rule)
    return "\n".join(lines)


def counted(number: int, one: str, many: str = "") -> str:
    """``1 row``, ``2 rows``; ``many`` where it is not ``one`` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
