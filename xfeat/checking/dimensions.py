"""Features that say nothing: dimensions that never change or repeat another, rows of zeros, one scale over all."""

from collections.abc import Iterator

import numpy as np

from xfeat.checking.report import EXAMPLES, Example, Finding
from xfeat.checking.rows import Rows

DOMINANT = 0.99  # share of the variance that one dimension may carry


def dimension_findings(rows: Rows) -> Iterator[Finding]:
    """What is odd about the features of a cache.

    Args:
        rows: read with features.
    """
    found = rows.dimensions
    if found is None or rows.features is None:
        return
    yield from _zero_rows(rows)
    if found.rows < 2:
        return
    still = found.low == found.high
    if still.any():
        empty = int((still & (found.low == 0)).sum())
        zeros = f", {empty:,} of them 0" if empty else ""
        yield Finding(
            "constant-dimensions",
            "warning" if still.all() else "note",
            f"{rows.name}: {int(still.sum()):,} of {rows.dim:,} dimensions never change in training rows{zeros}",
            ("They carry nothing: harmless, unless you expected them to.",),
            counts={"dimensions": int(still.sum()), "zero": empty, "of": rows.dim},
        )
    moving = [key for key, constant in zip(found.keys, still.tolist(), strict=True) if not constant]
    copies = len(moving) - len(set(moving))
    if copies:
        yield Finding(
            "repeated-dimensions",
            "note",
            f"{rows.name}: {copies:,} of {rows.dim:,} dimensions repeat another in every training row",
            ("What is repeated counts twice in every similarity. Were features joined twice?",),
            counts={"dimensions": copies, "of": rows.dim},
        )
    total = float(found.variance.sum())
    largest = int(found.variance.argmax())
    part = float(found.variance[largest]) / total if total else 0.0
    if rows.dim > 1 and part > DOMINANT:
        yield Finding(
            "dominant-dimension",
            "warning",
            f"{rows.name}: dimension {largest} carries {_percent(part)} of the variance",
            ("Cosines of these features see little else (eval --raw, baselines); standardise them before import.",),
            counts={"dimension": largest, "share": part},
        )


def _zero_rows(rows: Rows) -> Iterator[Finding]:
    zero = np.flatnonzero(rows.features == 0).tolist()
    if zero:
        yield Finding(
            "zero-rows",
            "warning",
            f"{rows.name}: {len(zero):,} of {len(rows):,} rows are all zeros",
            ("Zeros are as similar to one row as to any other. Empty samples, or an extraction that went wrong?",),
            tuple(Example(rows.place(row)) for row in sorted(zero, key=rows.ids.__getitem__)[:EXAMPLES]),
            {"rows": len(zero)},
        )


def _percent(part: float) -> str:
    return f"{100 * part:.1f}%" if part < 0.9995 else "over 99.9%"
