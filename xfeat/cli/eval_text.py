"""What ``xfeat eval`` prints, from the document that it writes as JSON."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xfeat.cli.output import counted, table

if TYPE_CHECKING:
    from xfeat.training.embedding import Embeddings

WIDTH = 80
Numbers = Mapping[str, Any]


def show(document: Mapping[str, Any], untrained: Mapping[str, Sequence[str]]) -> str:
    """The table of an evaluation, with the protocol that gives its numbers a meaning.

    Args:
        document: of one run, or of a group of seeds.
        untrained: classes without training rows, by modality.
    """
    from xfeat.training.classes import support_lines

    stated, pairs = document["protocol"], document["pairs"]
    spread = document.get("spread", {"pairs": {}, "mean": {}})
    names = [f"mAP@{cut}" for cut in stated["cuts"]]
    rows = [
        [
            pair,
            *_cells(names, one, spread["pairs"].get(pair, {})),
            _number(one["chance mAP@all"]),
            f"{one['queries']:,}",
            f"{one['gallery']:,}",
        ]
        for pair, one in pairs.items()
    ]
    mean = document["mean"]
    rows.append(["mean", *_cells(names, mean, spread["mean"]), _number(mean["chance mAP@all"]), "", ""])
    lines = [
        _head(stated),
        table(["query->gallery", *names, "chance@all", "queries", "gallery"], rows, rule_before_last=True),
        f"  mAP@50 divides by the {stated['denominator']} within 50; ties count with their expected value",
        *_seeds(document),
        *_left_out(pairs),
        *support_lines(untrained, WIDTH),
    ]
    return "\n".join(lines)


def _head(stated: Numbers) -> str:
    what = f"protocol {stated['name']} (relevant: {stated['relevance']}),"
    how = f"{stated['similarity']}, split {stated['split']}"
    return f"{what} {how}" if len(what) + 1 + len(how) <= WIDTH else f"{what}\n  {how}"


def notes(found: "Embeddings") -> list[str]:
    """What was left out of an evaluation, or looks wrong."""
    from xfeat.training.classes import listed

    lines = [f"{counted(n, 'row')} of {name} without a label left out" for name, n in found.unlabelled.items() if n]
    for name, count in found.unknown.items():
        if count:
            classes = found.unknown_classes[name]
            what = f"of {counted(len(classes), 'class', 'classes')} that the run does not know"
            lines.append(f"{counted(count, 'row')} of {name} left out, {what}: {listed(classes, 60)}")
    return [f"note: {line}" for line in [*lines, *found.notes]]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _cells(names: Sequence[str], values: Numbers, spread: Numbers) -> list[str]:
    return [
        _number(values[name]) + (f" +- {spread[name]:.3f}" if spread.get(name) is not None else "") for name in names
    ]


def _seeds(document: Mapping[str, Any]) -> list[str]:
    if "seeds" not in document:
        return []
    from xfeat.training.classes import listed

    seeds = [str(seed) for seed in document["seeds"]]
    if len(seeds) == 1:
        return [f"  a group of one seed ({seeds[0]})"]
    start = f"  {len(seeds)} seeds, mean +- standard deviation: "
    return [start + listed(seeds, WIDTH - len(start))]


def _left_out(pairs: Mapping[str, Numbers]) -> list[str]:
    """Queries that no gallery item answers, by pair."""
    from xfeat.training.classes import listed

    parts = [
        f"{pair} {one['without_relevant']:,} of {one['queries']:,}"
        for pair, one in pairs.items()
        if one["without_relevant"]
    ]
    if not parts:
        return []
    total = sum(one["without_relevant"] for one in pairs.values())
    return [
        f"  {counted(total, 'query', 'queries')} without a relevant item left out of the means:",
        f"    {listed(parts, WIDTH - 4)}",
    ]
