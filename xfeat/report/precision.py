"""The section of precision by recall: a chart for every query modality, a line for every gallery."""

from xfeat.evaluation.curve import STANDARD_LEVELS, precision_recall
from xfeat.progress import progress
from xfeat.report.blocks import COLOURS, Block, Key, Picture, Pictures, Section, Table
from xfeat.report.lines import Line, line_chart
from xfeat.report.pairs import Pair, pairs_of, share_of_relevant
from xfeat.report.subject import Subject

LEVELS = 101
EACH = (LEVELS - 1) // (STANDARD_LEVELS - 1)  # levels of the curve from one of the table to the next


def precision(subject: Subject) -> Section | None:
    """Mean interpolated precision at levels of recall; None under protocols that rank otherwise."""
    pairs = [pair for pair in pairs_of(subject) if pair.result.without_relevant < pair.result.queries]
    if not pairs:
        return None
    colours = {name: place % COLOURS for place, name in enumerate(subject.pictured.items)}
    lines: dict[str, list[tuple[Pair, list[float], float]]] = {}
    with progress("precision", len(pairs)) as advance:
        for pair in pairs:
            lines.setdefault(pair.query, []).append((pair, _curve(pair), share_of_relevant(pair)))
            advance(note=pair.name)
    pictures = [_picture(query, found, colours) for query, found in lines.items()]
    rows = [
        [pair.name, *(f"{value:.3f}" for value in curve[::EACH]), f"{chance:.3f}"]
        for found in lines.values()
        for pair, curve, chance in found
    ]
    header = ["query → gallery", *(f"{level / (STANDARD_LEVELS - 1):g}" for level in range(STANDARD_LEVELS)), "chance"]
    blocks: list[Block] = [
        Pictures(pictures, [Key(colours[name], f"finds {name}") for name in colours]),
        Table(header, rows, title="Precision at eleven levels of recall", folded=True),
    ]
    of = f", {subject.first.path.name}" if subject.several else ""
    lead = (
        f"Rows of split {subject.asked.split}{of}. Recall is the share of the relevant items that were found, "
        "precision the share of what was found that is relevant: the highest at this recall or above, mean over "
        "queries. Tied items are found together. Dashed: chance, the share of the gallery that is relevant."
    )
    return Section("precision", "Precision by recall", [lead], blocks)


def _curve(pair: Pair) -> list[float]:
    """Mean over the queries that have a relevant item, a number for each level."""
    found = precision_recall(*pair.vectors, pair.relevance(), similarity=pair.similarity, levels=LEVELS)
    curve: list[float] = found.nanmean(0).tolist()
    return curve


def _picture(query: str, found: list[tuple[Pair, list[float], float]], colours: dict[str, int]) -> Picture:
    drawn = []
    for pair, curve, chance in found:
        drawn.append(Line(colours[pair.gallery], [(0, chance), (1, chance)], dashed=True))
        points = [(level / (LEVELS - 1), value) for level, value in enumerate(curve)]
        drawn.append(Line(colours[pair.gallery], points))
    ends = ", ".join(
        f"{pair.gallery} {curve[0]:.3f} at recall 0, {curve[LEVELS // 2]:.3f} at 0.5, {curve[-1]:.3f} at 1"
        for pair, curve, _ in found
    )
    return Picture(line_chart(drawn, "recall", shares=True), f"{query} finds", f"Precision of {query} queries: {ends}")
