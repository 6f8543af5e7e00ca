import csv
import io
from pathlib import Path

import numpy as np
import pytest

from tests.compare.building import scored
from xfeat.compare.comparison import Comparison, compared
from xfeat.compare.tables import comparisons_csv, comparisons_path, escaped, latex, scores_csv, write_csv

ROWS = 40


@pytest.fixture(scope="module")
def result() -> Comparison:
    rng, keys = np.random.default_rng(0), [f"i{row}" for row in range(ROWS)]
    runs = []
    for label, level in (("50%_best", 0.8), ("near", 0.8), ("far", 0.2)):
        image = level + 0.01 * rng.normal(size=(2, ROWS))
        text = (0.9 if label == "far" else 0.5) + 0.01 * rng.normal(size=(2, ROWS))
        runs.append(scored(label, {"a_1->b": image, "b->a_1": text}, keys={"a_1": keys, "b": keys}))
    return compared(runs, resamples=300)


def test_scores_are_one_row_for_each_run_and_pair(result: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(scores_csv(result))))
    assert [row["pair"] for row in rows] == ["mean", "a_1->b", "b->a_1"] * 3
    for run, own in zip(result.runs, (rows[:3], rows[3:6], rows[6:]), strict=True):
        assert {row["run"] for row in own} == {run.label}
        assert float(own[0]["value"]) == run.mean
        assert float(own[0]["sd"]) == run.spread
        assert (float(own[0]["low"]), float(own[0]["high"])) == run.interval
        assert float(own[1]["value"]) == run.pairs["a_1->b"].mean
        assert own[1]["low"] == ""
        assert {row["seeds"] for row in own} == {"2"}


def test_numbers_have_their_protocol_and_what_they_divide_by(result: Comparison) -> None:
    for table in (scores_csv(result), comparisons_csv(result)):
        stated = {(row["protocol"], row["split"], row["metric"], row["denominator"]) for row in _read(table)}
        assert stated == {("category", "test", "mAP@all", "")}
    values = {"a->b": [[0.2, 0.4]], "b->a": [[0.3, 0.1]]}
    runs = [scored(label, values, metric="mAP@50", denominator="min") for label in "xy"]
    cut = compared(runs, resamples=20)
    for table in (scores_csv(cut), comparisons_csv(cut)):
        assert {(row["metric"], row["denominator"]) for row in _read(table)} == {("mAP@50", "min")}
    assert "; mAP@50 divides by the relevant items, 50 at most; " in latex(cut)
    assert "divides" not in latex(result)


def _read(table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table)))


def test_comparisons_have_a_file_of_their_own(result: Comparison, tmp_path: Path) -> None:
    second = write_csv(tmp_path / "t.csv", result)
    assert second == comparisons_path(tmp_path / "t.csv") == tmp_path / "t.comparisons.csv"
    assert (tmp_path / "t.csv").read_text() == scores_csv(result)
    assert second.read_text() == comparisons_csv(result)
    rows = list(csv.DictReader(io.StringIO(second.read_text())))
    assert [(row["a"], row["b"]) for row in rows] == [(one.a, one.b) for one in result.comparisons]
    assert [float(row["p_holm"]) for row in rows] == [one.p_holm for one in result.comparisons]
    assert [row["real"] for row in rows] == [str(one.real).lower() for one in result.comparisons]


def test_latex_has_the_best_of_each_column_in_bold_and_real_differences_marked(result: Comparison) -> None:
    text = latex(result)
    best, second, far = result.runs
    assert far.label == "far"
    lines = {line.split(" & ")[0]: line.split(" & ") for line in text.splitlines() if " & " in line}
    assert lines["Method"][1:] == ["Mean", r"a\_1 $\to$ b", r"b $\to$ a\_1 \\"]
    assert r"50\%\_best" in lines
    assert lines["far"][1] == rf"{far.mean:.3f} $\pm$ {far.spread:.3f}$^\dagger$"
    assert lines["far"][3].startswith(r"\textbf{0.9")
    first, other = lines[escaped(best.label)], lines[escaped(second.label)]
    assert first[1].startswith(rf"\textbf{{{best.mean:.3f}}}")
    assert "dagger" not in first[1] + other[1]
    assert text.count("{") == text.count("}")
    assert r"\begin{tabular}{lccc}" in text
    assert f"differs from {escaped(best.label)}" in text


def test_many_pairs_leave_the_mean_alone() -> None:
    names = "abcd"
    pairs = [f"{one}->{other}" for one in names for other in names if one != other]
    runs = [scored(label, {pair: [[level, level]] for pair in pairs}) for label, level in (("x", 0.5), ("y", 0.4))]
    text = latex(compared(runs, resamples=20))
    assert r"\begin{tabular}{lc}" in text
    assert r"x & \textbf{0.500} \\" in text


def test_names_are_escaped() -> None:
    assert escaped("a_b & 50% #1 {x}$") == r"a\_b \& 50\% \#1 \{x\}\$"
    assert escaped("a\\b~c^d<e>f|g\nh") == (
        r"a\textbackslash{}b\textasciitilde{}c\textasciicircum{}d\textless{}e\textgreater{}f\textbar{}g h"
    )
