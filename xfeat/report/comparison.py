"""The section that sets several runs side by side: means over seeds, and which differences are more than chance."""

from collections.abc import Sequence

from xfeat.compare.comparison import Comparison, check_members, compared
from xfeat.compare.scoring import Scored, check_same, scored
from xfeat.errors import InputError
from xfeat.report.blocks import Bar, BarGrid, Bars, Block, Section, Table
from xfeat.report.subject import Subject

MOST_PAIRS = 12  # columns of the table by pair


class SideBySide:
    """Runs and groups on the same rows, taken from the answers that their own pages are made of.

    Their vectors are not kept.
    """

    def __init__(self) -> None:
        self._scored: list[Scored] = []
        self._problem = ""

    def add(self, subject: Subject, name: str) -> None:
        """Put one more beside those that are there.

        Args:
            subject: what was evaluated.
            name: its own, unlike the others'.
        """
        if self._problem:
            return
        try:
            check_members([*(one.path for one in self._scored), subject.path])
            self._scored.append(scored(subject.answer, subject.path, name))
            check_same(self._scored[0], self._scored[-1])
        except InputError as error:
            self._problem = f"These runs are not compared: {error}"

    def section(self) -> Section | None:
        """The comparison; of runs that cannot be compared, why; None where there is one run."""
        if self._problem:
            return Section("comparison", "Comparison", notes=[self._problem])
        return comparison(compared(self._scored)) if len(self._scored) > 1 else None


def comparison(found: Comparison) -> Section:
    """Tables of a comparison: runs, their ordered pairs, and the differences between them."""
    cover = f"{1 - found.alpha:.0%}"
    rows = ", ".join(f"{count:,} of {name}" for name, count in found.rows.items())
    seeds = " and the seeds" if any(len(run.seeds) > 1 for run in found.runs) else ""
    lead = [
        f"{found.metric}, protocol {found.protocol['name']}, on the same rows of split {found.protocol['split']} "
        f"({rows}): mean over ordered pairs of modalities, ± standard deviation over seeds, with {cover} intervals by "
        f"{found.resamples:,} resamples of the {found.unit_words}{seeds}. The best comes first.",
    ]
    if single := found.one_seeded:
        lead.append(f"One seed only, so no word on what another would give: {', '.join(single)}.")
    blocks: list[Block] = []
    if not found.lower_is_better:
        blocks.append(_bars(found))
    blocks.append(_runs(found, cover))
    pairs = list(dict.fromkeys(pair for run in found.runs for pair in run.pairs))
    if 1 < len(pairs) <= MOST_PAIRS:
        blocks.append(_pairs(found, pairs))
    blocks.append(_differences(found, cover))
    return Section("comparison", "Comparison", lead, blocks)


def _bars(found: Comparison) -> BarGrid:
    bars = [Bar(run.label, min(1.0, max(0.0, run.mean)), _number(run.mean, run.spread)) for run in found.runs]
    mark = found.chance or 0.0
    return BarGrid([Bars(found.metric, bars, "0", "1", mark, f"chance, {mark:.3f}")])


def _runs(found: Comparison, cover: str) -> Table:
    rows = []
    for run in found.runs:
        each = "the same for all" if run.deterministic else ", ".join(f"{one:.3f}" for one in run.by_seed)
        seeds = ", ".join(map(str, run.seeds))
        interval = _interval(run.interval)
        rows.append([run.label, run.method, seeds, _number(run.mean, run.spread), interval, each])
    last = [] if found.chance is None else [["chance", "", "", f"{found.chance:.3f}", "", ""]]
    header = ["run", "method", "seeds", found.metric, f"{cover} interval", "by seed"]
    return Table(header, rows, last, words=3, title="Methods and seeds")


def _pairs(found: Comparison, pairs: Sequence[str]) -> Table:
    rows = [
        [pair.replace("->", " → "), *(_number(run.pairs[pair].mean, run.pairs[pair].spread) for run in found.runs)]
        for pair in pairs
    ]
    return Table(["query → gallery", *(run.label for run in found.runs)], rows, title=f"{found.metric} by pair")


def _differences(found: Comparison, cover: str) -> Table:
    rows = [
        [
            f"{one.a} − {one.b}",
            "real" if one.real else "may be chance",
            f"{one.difference:+.3f}",
            _interval(one.interval, sign="+"),
            _p(one.p_holm),
            "–" if one.d_z is None else f"{one.d_z:+.2f}",
            f"{one.won:.0%} / {one.tied:.0%} / {one.lost:.0%}",
        ]
        for one in found.comparisons
    ]
    header = ["difference", "verdict", found.metric, f"{cover} interval", "p", "effect d_z", "better / equal / worse"]
    test = "over all sign patterns" if found.exact else f"over {found.resamples:,} random sign patterns"
    caption = (
        f"p: two-sided randomisation test over {found.units:,} {found.unit_words} {test}, by Holm's method for "
        f"{len(rows)} comparison{'s' if len(rows) != 1 else ''}. Real: p is below {found.alpha:g} and the interval "
        "does not hold 0. Last column: shares of the queries that the first does better, equally or worse by."
    )
    return Table(header, rows, words=2, title="Differences", caption=caption)


def _number(mean: float, spread: float | None) -> str:
    return f"{mean:.3f}" + ("" if spread is None else f" ± {spread:.3f}")


def _interval(ends: tuple[float, float], sign: str = "") -> str:
    return f"{ends[0]:{sign}.3f} to {ends[1]:{sign}.3f}"


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"
