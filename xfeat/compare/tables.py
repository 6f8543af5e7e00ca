"""A comparison as tables for other programs: CSV and LaTeX."""

import csv
import io
from pathlib import Path

from xfeat.cache.files import write_text
from xfeat.compare.outcome import Comparison, RunScore
from xfeat.evaluation.meanings import divided

MEAN = "mean"  # in the place of a pair
_STATED = ("protocol", "split", "metric", "denominator")
COLUMNS = 6  # pairs of a LaTeX table; with more, it has the mean alone
_SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
}


def scores_csv(result: Comparison) -> str:
    """One row for each run and pair, and for each run's mean over pairs; an unknown number is empty."""
    rows: list[list[object]] = [
        ["run", "method", "path", "seeds", *_STATED, "pair", "value", "sd", "low", "high", "chance"]
    ]
    for run in result.runs:
        start = [run.label, run.method, run.path, len(run.seeds), *_stated(result)]
        rows.append([*start, MEAN, run.mean, run.spread, *run.interval, result.chance])
        rows += [[*start, pair, one.mean, one.spread, None, None, one.chance] for pair, one in run.pairs.items()]
    return _csv(rows)


def comparisons_csv(result: Comparison) -> str:
    """One row for each comparison that was made."""
    names = ["a", "b", *_STATED, "difference", "low", "high", "p", "p_holm", "d_z", "won", "tied", "lost", "real"]
    rows: list[list[object]] = [list(names)]
    for one in result.comparisons:
        start = [one.a, one.b, *_stated(result), one.difference, *one.interval, one.p, one.p_holm, one.d_z]
        rows.append([*start, one.won, one.tied, one.lost, str(one.real).lower()])
    return _csv(rows)


def _stated(result: Comparison) -> list[object]:
    """What a number is nothing without; a denominator where the metric has one."""
    denominator = result.protocol["denominator"] if _divided(result) else None
    return [result.protocol["name"], result.protocol["split"], result.metric, denominator]


def _divided(result: Comparison) -> str:
    """What average precision at a cut divides by; empty of other metrics."""
    clauses = divided(result.protocol) if "denominator" in result.protocol else []
    return next((clause for clause in clauses if clause.split()[0] == result.metric), "")


def comparisons_path(scores: Path) -> Path:
    """Where the comparisons go, beside the scores: ``table.csv`` has ``table.comparisons.csv``."""
    return scores.with_name(f"{scores.stem}.comparisons{scores.suffix}")


def write_csv(path: Path, result: Comparison) -> Path:
    """Write both tables, each whole; gives the second one's path."""
    second = comparisons_path(path)
    write_text(path, scores_csv(result))
    write_text(second, comparisons_csv(result))
    return second


def latex(result: Comparison) -> str:
    r"""A ``booktabs`` table of methods and pairs, the best of each column in bold.

    A dagger marks means whose difference from the reference is real: from the run that all were compared with, or else
    from the best.
    """
    pairs = list(result.best.pairs)
    names = [MEAN, *pairs] if 1 < len(pairs) <= COLUMNS else [MEAN]
    reference = result.against or result.best.label
    lines = [
        rf"% {result.metric}; needs \usepackage{{booktabs}}",
        rf"\begin{{tabular}}{{l{'c' * len(names)}}}",
        r"\toprule",
        _row(["Method", *map(_heading, names)]),
        r"\midrule",
        *(_row([escaped(run.label), *(_cell(result, run, name, reference) for name in names)]) for run in result.runs),
        r"\bottomrule",
        r"\end{tabular}",
        f"% {_caption(result, reference)}",
    ]
    return "\n".join(lines) + "\n"


def _caption(result: Comparison, reference: str) -> str:
    stated, clause = result.protocol, _divided(result)
    return (
        rf"{escaped(result.metric)}, protocol {escaped(str(stated['name']))}, split {escaped(str(stated['split']))}; "
        rf"{escaped(clause) + '; ' if clause else ''}"
        r"mean $\pm$ standard deviation over seeds; best in bold; "
        rf"$^\dagger$ differs from {escaped(reference)} (randomisation test over {result.units:,} {result.unit_words}, "
        rf"Holm-corrected $p < {result.alpha:g}$, and a {100 * (1 - result.alpha):g}\% bootstrap interval without 0)."
    )


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _heading(name: str) -> str:
    return "Mean" if name == MEAN else r" $\to$ ".join(escaped(part) for part in name.split("->"))


def _cell(result: Comparison, run: RunScore, name: str, reference: str) -> str:
    value, spread = _score(run, name)
    pick = min if result.lower_is_better else max
    digits = 1 if result.lower_is_better else 3
    text = f"{value:.{digits}f}"
    if value == pick(_score(other, name)[0] for other in result.runs):
        text = rf"\textbf{{{text}}}"
    if spread is not None:
        text += rf" $\pm$ {spread:.{digits}f}"
    versus = result.versus(run.label, reference) if name == MEAN else None
    return text + (r"$^\dagger$" if versus is not None and versus.real else "")


def _score(run: RunScore, name: str) -> tuple[float, float | None]:
    one = run if name == MEAN else run.pairs[name]
    return one.mean, one.spread


def escaped(text: str) -> str:
    """A name as LaTeX text."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))


def _csv(rows: list[list[object]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
