"""The section of the modality gap: its measures at every stage, as bars and as numbers."""

from collections.abc import Mapping
from typing import Any

from xfeat.errors import InputError
from xfeat.report.blocks import Bar, BarGrid, Bars, Block, Section, Table
from xfeat.report.subject import Subject
from xfeat.training.gaps import run_gaps

TITLES = {
    "centroid_distance": "Centroid distance",
    "separability": "Linear separability, accuracy",
    "auc": "Linear separability, AUC",
    "overlap": "Neighbourhood overlap",
}
REACHES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # ends of scales that are not fixed


def gap(subject: Subject) -> Section:
    """How far modalities lie apart, before and after whatever the method does about it."""
    try:
        found = run_gaps(subject.path, subject.asked, subject.answer.found, subject.device, subject.blocks)
    except InputError as error:
        return Section("gap", "Modality gap", notes=[str(error)])
    document = found.to_json()
    stages, stated = document["stages"], document["protocol"]
    pairs = len(next(iter(stages.values()))["pairs"])
    blocks: list[Block] = [BarGrid([_bars(name, stages, stated["no_gap"][name]) for name in TITLES])]
    blocks.append(_table(stages, stated["no_gap"]))
    weighed = ", every class that a pair shares weighs the same" if stated["class_balanced"] else ""
    over = f" Bars are means over {pairs} pairs." if pairs > 1 else ""
    lead = [
        f"Rows of split {subject.asked.split}, at most {stated['rows']:,} of each modality, scaled to unit length"
        f"{weighed}.{over} The dashed line is where nothing tells the modalities apart.",
        "Centroid distance: between the mean vectors, 0 to 2. Linear separability: how well a logistic regression "
        f"tells the modality of a row that it never saw, by {stated['folds']} folds; 0.5 is guessing. Overlap: how "
        f"many of a row's {stated['neighbours']} nearest are of the other modality, as a multiple of what mixing "
        "gives; 0 is apart, and above 1 rows lie nearer to the other modality than to their own, as partners do.",
    ]
    if subject.several:
        lead.append(f"Means over {len(subject.runs)} seeds, ± standard deviation.")
    return Section("gap", "Modality gap", lead, blocks, list(found.notes))


def _bars(measure: str, stages: Mapping[str, Any], none: float) -> Bars:
    values = {name: stage["mean"][measure] for name, stage in stages.items()}
    known = [value for value in values.values() if value is not None]
    if measure in ("separability", "auc"):
        low, high = 0.5, 1.0
    else:
        low, most = 0.0, max([none, *known])
        high = next((reach for reach in REACHES if reach >= most), most)
    bars = []
    for name, value in values.items():
        spread = stages[name].get("spread", {"mean": {}})["mean"].get(measure)
        length = None if value is None else min(1.0, max(0.0, (value - low) / (high - low)))
        bars.append(Bar(name, length, _cell(value, spread)))
    return Bars(TITLES[measure], bars, f"{low:g}", f"{high:g}", (none - low) / (high - low), f"no gap, {none:g}")


def _table(stages: Mapping[str, Any], none: Mapping[str, float]) -> Table:
    rows = []
    for name, stage in stages.items():
        spread = stage.get("spread", {"pairs": {}, "mean": {}})
        for pair, numbers in stage["pairs"].items():
            deviations = spread["pairs"].get(pair, {})
            cells = [_cell(numbers[measure], deviations.get(measure)) for measure in TITLES]
            rows.append([name, pair.replace("|", ", "), *cells, " + ".join(f"{count:,}" for count in numbers["rows"])])
        if len(stage["pairs"]) > 1:
            cells = [_cell(stage["mean"][measure], spread["mean"].get(measure)) for measure in TITLES]
            rows.append([name, "mean", *cells, ""])
    last = [["no gap", "", *(f"{none[measure]:.3f}" for measure in TITLES), ""]]
    return Table(["stage", "modalities", "centroids", "separability", "AUC", "overlap", "rows"], rows, last, 2)


def _cell(value: float | None, spread: float | None) -> str:
    return "–" if value is None else f"{value:.3f}" + ("" if spread is None else f" ± {spread:.3f}")
