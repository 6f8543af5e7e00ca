"""What ``xfeat eval --gap`` prints, from the document that it writes as JSON."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xfeat.cli.eval_text import WIDTH, cells, wrapped
from xfeat.cli.output import cut, table, width

if TYPE_CHECKING:
    from pathlib import Path

    from torch import device

    from xfeat.training.embedding import Blocks
    from xfeat.training.evaluating import Answer, Asked

COLUMNS = {"centroid_distance": "centroid distance", "separability": "separability", "auc": "AUC", "overlap": "overlap"}
NUMBER = 5  # signs of a number
FEW = 3  # pairs that get a line each


def add_gap(
    paths: "list[Path]", raw: bool, asked: "Asked", answer: "Answer", where: "device", blocks: "Blocks | None" = None
) -> None:
    """Measure the gap on the rows of an answer, and write it into the answer's document under ``gap``.

    Args:
        paths: as the command got them.
        raw: whether they are caches.
        asked: what was evaluated.
        answer: the answer.
        where: to compute.
        blocks: rows that were read.
    """
    from xfeat.cache import FeatureCache
    from xfeat.training.gaps import raw_gaps, run_gaps

    if raw:
        gaps = raw_gaps([FeatureCache(path) for path in paths], asked, answer.found)
    else:
        gaps = run_gaps(paths[0], asked, answer.found, where, blocks)
    answer.document["gap"] = gaps.to_json()


def show_gap(document: Mapping[str, Any]) -> str:
    """The table of a gap by stage, with what it would be if there were none."""
    stages, stated = document["stages"], document["protocol"]
    pairs = list(next(iter(stages.values()))["pairs"])
    rows = []
    for name, stage in stages.items():
        rows.append([_cut(name), *cells(list(COLUMNS), stage["mean"])])
        if "spread" in stage:
            rows.append(["  +-", *cells(list(COLUMNS), stage["spread"]["mean"])])
        if 1 < len(pairs) <= FEW:
            rows += [[f"  {_between(pair)}", *cells(list(COLUMNS), stage["pairs"][pair])] for pair in pairs]
    rows.append(["no gap", *cells(list(COLUMNS), stated["no_gap"])])
    where = f", split {stated['split']}"
    over = f"mean over {len(pairs)} pairs" if len(pairs) > 1 else _between(pairs[0], WIDTH - 14 - len(where))
    weighed = ", every class weighs the same" if stated["class_balanced"] else ""
    return "\n".join(
        [
            f"modality gap, {over}{where}",
            table(["stage", *COLUMNS.values()], rows, rule_before_last=True),
            *wrapped(
                f"unit rows, at most {stated['rows']:,} of a modality{weighed}; separability: accuracy of telling the "
                f"modality by logistic regression, {stated['folds']} folds; overlap: how many of the "
                f"{stated['neighbours']} nearest are of the other modality, 1 as if mixed, 0 apart"
            ),
            *(line for note in document["notes"] for line in wrapped(note)),
        ]
    )


def _between(pair: str, room: int = 26) -> str:
    text = ", ".join(pair.split("|"))
    if width(text) <= room:
        return text
    each = (room - 2) // 2
    return ", ".join(cut(name, each) for name in pair.split("|"))


def _cut(name: str) -> str:
    room = WIDTH - 2 - sum(max(len(word), NUMBER) + 2 for word in COLUMNS.values())
    return cut(name, room)
