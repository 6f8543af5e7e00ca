"""The section of retrieval quality, under the protocol that the run is evaluated by."""

from collections.abc import Mapping, Sequence
from typing import Any

from xfeat.evaluation.meanings import averaged, meanings
from xfeat.report.blocks import Section, Table
from xfeat.report.subject import Subject
from xfeat.training.classes import support_lines

CHANCE = "chance "
LINE = 200  # characters of a note, at most
RANKED = ("MedR", "MeanR")  # metrics that count ranks; all others are shares


def retrieval(subject: Subject) -> Section:
    """Every ordered pair of modalities, their mean, and chance."""
    document, found = subject.answer.document, subject.answer.found
    stated = document["protocol"]
    spread = document.get("spread", {"pairs": {}, "mean": {}})
    metrics = [name for name in document["mean"] if not name.startswith(CHANCE)]
    rows = [
        [
            pair.replace("->", " → "),
            *_cells(metrics, one, spread["pairs"].get(pair, {})),
            f"{averaged(one):,}",
            f"{one['gallery']:,}",
        ]
        for pair, one in document["pairs"].items()
    ]
    chance = {name: document["mean"].get(CHANCE + name) for name in metrics}
    last = [["mean", *_cells(metrics, document["mean"], spread["mean"]), "", ""]]
    last.append(["chance", *_cells(metrics, chance, {}), "", ""])
    caption = f"Query modality first. Chance is a random ranking's mean over the same pairs. {_sentence(stated)}"
    if subject.several:
        caption += f" Means over {len(subject.runs)} seeds, ± standard deviation."
    lead = f"Protocol {stated['name']} (relevant: {stated['relevance']}), compared by {stated['similarity']}, on rows "
    lead += f"of split {stated['split']}."
    notes = [
        *(
            f"{count:,} rows of {name} without a label are left out"
            for name, count in found.unlabelled.items()
            if count
        ),
        *(
            f"{count:,} rows of {name} without a pair key are left out"
            for name, count in found.unkeyed.items()
            if count
        ),
        *(f"{count:,} rows of {name} are of classes that the run does not know" for name, count in _unknown(found)),
        *(
            f"{pair.replace('->', ' → ')}: {one['without_relevant']:,} of {one['queries']:,} queries have no relevant "
            "item and are left out of the means"
            for pair, one in document["pairs"].items()
            if one["without_relevant"]
        ),
        *(line.strip() for line in support_lines(found.untrained, width=LINE)),
        *found.notes,
    ]
    table = Table(["query → gallery", *metrics, "queries", "gallery"], rows, last, caption=caption)
    return Section("retrieval", "Retrieval", [lead], [table], notes)


def _sentence(stated: Mapping[str, Any]) -> str:
    """What the metrics are."""
    return "; ".join(meanings(stated)) + "."


def _cells(names: Sequence[str], values: Mapping[str, Any], spread: Mapping[str, Any]) -> list[str]:
    cells = []
    for name in names:
        value, deviation = values.get(name), spread.get(name)
        if value is None:
            cells.append("–")
            continue
        digits = 1 if name in RANKED else 3
        cells.append(f"{value:,.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}"))
    return cells


def _unknown(found: Any) -> list[tuple[str, int]]:
    return [(name, count) for name, count in found.unknown.items() if count]
