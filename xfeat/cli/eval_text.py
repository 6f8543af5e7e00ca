"""What ``xfeat eval`` prints, from the document that it writes as JSON."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xfeat.cli.eval_stated import ARROW, WIDTH, footer, head, left_out, short_pairs, wrapped
from xfeat.cli.output import counted, table, width

if TYPE_CHECKING:
    from xfeat.training.embedding import Embeddings

__all__ = ["WIDTH", "cells", "fitted_table", "notes", "seeds", "short_pairs", "show", "wrapped"]

FEW = 6  # pairs that get a line for their deviations
NAME = 14  # of a pair, at least
CELL = 5  # of a number
EXACT = 1e-9  # a chance of 1, but for rounding
RANKED = ("MedR", "MeanR")  # metrics that count ranks; all others are shares
COLUMNS = {
    "instance": ("R@1", "R@5", "R@10", "MedR"),
    "re-id": ("CMC@1", "CMC@10", "CMC@20", "mAP@all", "mINP"),
    "zero-shot": ("top-1", "top-5", "per-class"),
    "zero-shot-retrieval": ("mAP@all", "mAP@200", "P@100", "P@200"),
}
Numbers = Mapping[str, Any]


def show(document: Mapping[str, Any], untrained: Mapping[str, Sequence[str]]) -> str:
    """The table of an evaluation, with the protocol that gives its numbers a meaning.

    Args:
        document: of one run, or of a group of seeds.
        untrained: classes without training rows, by modality.
    """
    from xfeat.training.classes import support_lines

    stated, pairs = document["protocol"], document["pairs"]
    lines = [
        head(stated),
        _metrics(document),
        *footer(document),
        *_trivial(document),
        *_others(document),
        *_weights(document),
        *seeds(document),
        *left_out(pairs, stated),
        *support_lines(untrained, WIDTH),
    ]
    return "\n".join(lines)


def columns(document: Mapping[str, Any]) -> list[str]:
    """The metrics that the table shows: the more usual ones, as many as fit."""
    stated, mean = document["protocol"], document["mean"]
    cuts = stated.get("cuts", [])
    wanted = COLUMNS.get(stated["name"]) or [
        *(f"mAP@{cut}" for cut in cuts),
        "R@1",
        *(f"{name}@{cuts[-1]}" for name in ("nDCG", "P")),
        *("R@5", "R@10", "MedR"),
    ]
    start = {"instance": "R@", "re-id": "CMC@"}.get(stated["name"])
    if start and not all(name in mean for name in wanted):
        wanted = [*(f"{start}{cut}" for cut in cuts), *(name for name in wanted if not name.startswith(start))]
    room = WIDTH - 2 - NAME - sum(2 + len(name) for name in ("queries", "gallery"))
    shown: list[str] = []
    for name in wanted:
        if name in mean and sum(2 + max(len(one), CELL) for one in (*shown, name)) <= room:
            shown.append(name)
    return [name for name in mean if name in shown]


def _trivial(document: Mapping[str, Any]) -> list[str]:
    """A word on numbers that no ranking could change."""
    by_chance = {name[7:]: value for name, value in document["mean"].items() if name.startswith("chance ")}
    # Precision is below 1 in a gallery smaller than its cut.
    shares = [value for name, value in by_chance.items() if name not in RANKED and not name.startswith("P@")]
    if shares and all(value is not None and value > 1 - EXACT for value in shares):
        return wrapped("any ranking would give these numbers: all that queries rank is relevant")
    return []


def _others(document: Mapping[str, Any]) -> list[str]:
    """Metrics that the table does not show."""
    shown = columns(document)
    rest = [name for name in document["mean"] if name not in shown and not name.startswith("chance ")]
    return wrapped(f"not shown, in --json: {', '.join(rest)}") if rest else []


def _metrics(document: Mapping[str, Any]) -> str:
    """A row a pair; deviations below the means, of single pairs where those are few; chance last."""
    from xfeat.evaluation.meanings import averaged

    name, mean = document["protocol"]["name"], document["mean"]
    names, spread = columns(document), _deviations(document)
    rows = []
    for pair, one in document["pairs"].items():
        rows.append([pair, *cells(names, one), f"{averaged(one):,}", f"{one['gallery']:,}"])
        if spread and len(document["pairs"]) <= FEW:
            rows.append(["  +-", *cells(names, spread["pairs"][pair]), "", ""])
    last = [["mean", *cells(names, mean), "", ""]]
    if spread:
        last.append(["  +-", *cells(names, spread["mean"]), "", ""])
    last.append(["chance", *cells([f"chance {metric}" for metric in names], mean), "", ""])
    header = ["query->gallery", *names, "queries", "classes" if name == "zero-shot" else "gallery"]
    return fitted_table(header, rows, last)


def _deviations(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Over seeds; of a single run over trials; None where there were no two of either."""
    if "spread" in document or "trials spread" not in document:
        return document.get("spread")
    pairs = {pair: one["trials spread"] for pair, one in document["pairs"].items()}
    return {"pairs": pairs, "mean": document["trials spread"]}


def fitted_table(header: Sequence[str], rows: Sequence[Sequence[str]], last: Sequence[Sequence[str]]) -> str:
    """A table by pairs, whose names are cut or numbered where they do not fit, with ``last`` set apart below."""
    numbers = [max(map(width, column)) for column in list(zip(header, *rows, *last, strict=True))[1:]]
    room = max(14, WIDTH - 2 - sum(numbers) - 2 * len(numbers))
    short, legend = short_pairs([name for name, *_ in rows if ARROW in name], room)
    lines = table(header, [*([short.get(name, name), *cells] for name, *cells in rows), *last]).split("\n")
    lines.insert(len(lines) - len(last), lines[1])
    return "\n".join([*lines, *legend])


def cells(names: Sequence[str], values: Numbers) -> list[str]:
    """Metrics as text: shares with three digits, ranks with one; - where there is none."""
    return [_rank(values[name]) if name.split()[-1] in RANKED else _number(values[name]) for name in names]


def seeds(document: Mapping[str, Any]) -> list[str]:
    """Which seeds the numbers are means over; nothing for a single run."""
    if "seeds" not in document:
        return []
    from xfeat.training.classes import listed

    names = [str(seed) for seed in document["seeds"]]
    if len(names) == 1:
        return [f"  a group of one seed ({names[0]})"]
    start = f"  {len(names)} seeds, mean +- standard deviation: "
    return [start + listed(names, WIDTH - len(start))]


def notes(found: "Embeddings") -> list[str]:
    """What was left out of an evaluation, or looks wrong."""
    from xfeat.training.classes import listed

    lines = [f"{counted(n, 'row')} of {name} without a label left out" for name, n in found.unlabelled.items() if n]
    lines += [f"{counted(n, 'row')} of {name} without a pair key left out" for name, n in found.unkeyed.items() if n]
    for name, count in found.unknown.items():
        if count:
            classes = found.unknown_classes[name]
            what = f"of {counted(len(classes), 'class', 'classes')} that the run does not know"
            lines.append(f"{counted(count, 'row')} of {name} left out, {what}: {listed(classes, 60)}")
    return [f"note: {line}" for line in [*lines, *found.notes]]


def _weights(document: Mapping[str, Any]) -> list[str]:
    """Means of the two sets of weights of a run that has two."""
    if "weights" not in document:
        return []
    both, names = document["weights"], columns(document)
    parts = []
    for kind in ("ema", "raw"):
        values = ", ".join(f"{name} {cell}" for name, cell in zip(names, cells(names, both[kind]), strict=True))
        parts.append(f"{kind if kind == 'raw' else 'EMA'} weights: {values}")
    return wrapped("; ".join(parts) + f" (above: {both['kept']})")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _rank(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"
