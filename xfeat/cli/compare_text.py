"""What ``xfeat compare`` prints: methods best first, then their differences."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xfeat.cli.eval_stated import WIDTH, footer, head, short_pairs, wrapped
from xfeat.cli.output import counted, cut, table, width

if TYPE_CHECKING:
    from xfeat.compare.outcome import Comparison, Versus

NAME = 19  # characters of a label in the table of differences


def show(result: "Comparison") -> str:
    """Both tables, and what their numbers rest on."""
    return "\n".join([_head(result), *_methods(result), "", *_differences(result), *_footer(result)])


def _footer(result: "Comparison") -> list[str]:
    """What the one metric means, not what all of the protocol's do."""
    stem = re.split("[@-]", result.metric)[0]
    own = (result.metric, f"{stem}@K", f"{stem}-K", stem)

    def about(clause: str) -> bool:
        return clause.startswith(("ties", "missing=")) or re.split("[ :]", clause)[0] in own

    return footer({"protocol": result.protocol}, about)


def _head(result: "Comparison") -> str:
    stated = {"similarity": "each by its own similarity", **result.protocol}
    over = counted(len(result.best.pairs), "ordered pair")
    chance = "" if result.chance is None else f"; chance {_value(result, result.chance)}"
    better = ", lower is better" if result.lower_is_better else ""
    return f"{head(stated)}\nmetric {result.metric}{better}, mean over {over}{chance}"


def _methods(result: "Comparison") -> list[str]:
    """As many columns as fit: pairs with deviations, pairs, or the mean alone."""
    for spreads, pairs in ((True, True), (False, True)):
        lines = _scores(result, pairs=pairs, spreads=spreads)
        if max(map(width, lines)) <= WIDTH:
            break
    else:
        lines = _scores(result, pairs=False, spreads=False)
        lines += wrapped(f"means of the {counted(len(result.best.pairs), 'pair')}: with --json or --csv")
    notes = ["* the best mean"]
    if any(run.spread is not None for run in result.runs):
        notes.append("+- standard deviation over seeds")
    lines += wrapped("; ".join(notes))
    if same := [run.label for run in result.runs if run.deterministic]:
        lines += wrapped(f"all seeds give the same numbers: {', '.join(same)}")
    return lines


def _scores(result: "Comparison", *, pairs: bool, spreads: bool) -> list[str]:
    names = list(result.best.pairs) if pairs else []
    short, legend = short_pairs(names, 24)
    rows = []
    for place, run in enumerate(result.runs):
        cells = [_spread(result, run.mean, run.spread)]
        for name in names:
            one = run.pairs[name]
            cells.append(_spread(result, one.mean, one.spread if spreads else None))
        rows.append([_cut(run.label, 40) + (" *" if place == 0 else ""), *cells, str(len(run.seeds))])
    header = ["method", f"mean {result.metric}", *(short[name] for name in names), "seeds"]
    return [*table(header, rows).split("\n"), *legend]


def _differences(result: "Comparison") -> list[str]:
    header = ["difference", "mean", f"{100 * (1 - result.alpha):g}% interval", "p (Holm)", "d_z", "won/lost", "real"]
    rows, before = [], None
    for one in result.comparisons:
        if result.against is None and one.a != before:
            rows.append([_cut(one.a, NAME), *[""] * 6])
            before = one.a
        other = _cut(one.a, NAME) if result.against is not None else f"  - {_cut(one.b, NAME - 4)}"
        rows.append([other, *_difference(result, one)])
    start = "" if result.against is None else f"less {result.against}:\n"
    tests = counted(len(result.comparisons), "comparison")
    units = f"{result.units:,} {result.unit if result.units == 1 else result.unit_words}"
    patterns = "all sign patterns" if result.exact else f"{result.resamples:,} random sign patterns"
    seeds = " and seeds" if any(len(run.seeds) > 1 for run in result.runs) else ""
    return [
        start + table(header, rows),
        *wrapped(f"real: p below {result.alpha:g} after Holm's correction for {tests}, and an interval without 0"),
        *_undecidable(result),
        *wrapped(
            f"p: randomisation test, {patterns} of {units}; interval: bootstrap of {result.unit_words}{seeds}, "
            f"{result.resamples:,} samples; d_z: mean over {result.unit_words} by standard deviation; won/lost: "
            "% of queries, rounded; others tied"
        ),
        *_few_seeds(result.one_seeded),
    ]


def _undecidable(result: "Comparison") -> list[str]:
    if result.decidable:
        return []
    remedy = "compare on more rows" if result.exact else "raise --resamples"
    return wrapped(f"nothing can be real: not even the least p could be below {result.alpha:g} here; {remedy}")


def _few_seeds(single: Sequence[str]) -> list[str]:
    return wrapped(f"one seed only, so no word on what another would give: {', '.join(single)}") if single else []


def _difference(result: "Comparison", one: "Versus") -> list[str]:
    low, high = one.interval
    return [
        _signed(result, one.difference),
        f"{_signed(result, low)} {_signed(result, high)}",
        f"{one.p_holm:.4f}",
        "-" if one.d_z is None else f"{one.d_z:+.2f}",
        f"{100 * one.won:.0f}/{100 * one.lost:.0f}",
        "yes" if one.real else "no",
    ]


def _value(result: "Comparison", value: float) -> str:
    return f"{value:,.1f}" if result.lower_is_better else f"{value:.3f}"


def _signed(result: "Comparison", value: float) -> str:
    return f"{value:+,.1f}" if result.lower_is_better else f"{value:+.3f}"


def _spread(result: "Comparison", value: float, spread: float | None) -> str:
    return _value(result, value) + ("" if spread is None else f" +- {_value(result, spread)}")


def _cut(name: str, room: int) -> str:
    """The name's beginning and its end, which tells relatives apart."""
    return cut(name, room, end=6)
