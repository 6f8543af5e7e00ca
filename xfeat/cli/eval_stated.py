"""What the numbers of ``xfeat eval`` rest on, in lines above and below the table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xfeat.cli.output import counted, cut, width, wrap

WIDTH = 80
ARROW = "->"
PAIR_WIDTH = 32  # of its name in a sentence
Numbers = Mapping[str, Any]


def head(stated: Numbers) -> str:
    """The protocol, what it calls relevant, the similarity and the rows."""
    what = f"protocol {stated['name']} (relevant: {stated['relevance']}),"
    how = f"{stated['similarity']}, split {stated['split']}"
    return f"{what} {how}" if len(what) + 1 + len(how) <= WIDTH else f"{what}\n  {how}"


def footer(document: Mapping[str, Any], about: Callable[[str], bool] = bool) -> list[str]:
    """What the numbers of a protocol mean, and which rows, caches and weights they are on.

    Args:
        document: of an evaluation.
        about: which clauses on metrics to print.
    """
    from xfeat.evaluation.meanings import meanings

    stated = document["protocol"]
    means = {"re-id": _reid, "zero-shot": _zero_shot, "zero-shot-retrieval": _unseen}
    lines = means[stated["name"]](document) if stated["name"] in means else []
    return [*lines, *wrapped("; ".join(filter(about, meanings(stated)))), *_circumstances(stated)]


def _zero_shot(document: Mapping[str, Any]) -> list[str]:
    return wrapped(f"prototypes: {document['protocol']['prototypes']}")


def _reid(document: Mapping[str, Any]) -> list[str]:
    stated = document["protocol"]
    excluded = f" ({counted(stated['excluded'], 'pair')} of query and item)" if stated["camera_exclusion"] else ""
    lines = wrapped(f"cameras: {stated['cameras']}{excluded}")
    if "trials" in stated:
        shots, trials = counted(stated["gallery_shots"], "random row"), counted(stated["trials"], "time")
        spread = ", +- standard deviation" if "trials spread" in document and "spread" not in document else ""
        mean = f"; means over these trials{spread}" if stated["trials"] > 1 else ""
        lines += wrapped(f"gallery: {shots} of each {stated['shots_of']}, drawn {trials}{mean}")
    return lines


def _unseen(document: Mapping[str, Any]) -> list[str]:
    from xfeat.training.classes import listed

    stated = document["protocol"]
    start = f"  queries of {counted(len(stated['unseen_classes']), 'unseen class', 'unseen classes')}: "
    return [
        start + listed(stated["unseen_classes"], WIDTH - len(start)),
        *wrapped(f"gallery: {stated['gallery_means']}"),
    ]


def _circumstances(stated: Numbers) -> list[str]:
    """Which classes, caches and weights were evaluated, where a choice was made."""
    from xfeat.training.classes import listed

    lines = [f"  scores in {stated['dtype']}"] if stated["dtype"] != "float32" else []
    if "classes" in stated:
        word = f"{stated['classes_asked']} " if stated["classes_asked"] in ("seen", "unseen") else ""
        start = f"  {counted(len(stated['classes']), word + 'class', word + 'classes')}: "
        lines.append(start + listed(stated["classes"], WIDTH - len(start)))
    if "on" in stated:
        lines += [f"  on {path}" for path in stated["on"]]
    if "sampled_instances" in stated:
        lines.append(f"  {stated['sampled_instances']:,} instances sampled with a fixed seed")
    return lines


def left_out(pairs: Mapping[str, Numbers], stated: Numbers) -> list[str]:
    """Queries that no gallery item answers, by pair."""
    from xfeat.training.classes import listed

    misses = stated.get("missing") == "miss"
    word = "missed" if misses else "without_relevant"
    short = short_pairs(list(pairs), PAIR_WIDTH)[0]
    parts = [f"{short[pair]} {one[word]:,} of {_asked(one):,}" for pair, one in pairs.items() if one[word]]
    if not parts:
        return []
    total = sum(one[word] for one in pairs.values())
    said = "count as misses" if misses else "without a relevant item left out of the means"
    return [f"  {counted(total, 'query', 'queries')} {said}:", f"    {listed(parts, WIDTH - 4)}"]


def _asked(one: Numbers) -> int:
    """Queries of a pair, with the missed ones that have no row."""
    return int(one["queries"] + max(0, one.get("missed", 0) - one["without_relevant"]))


def short_pairs(pairs: Sequence[str], room: int) -> tuple[dict[str, str], list[str]]:
    """Names of pairs in ``room`` columns, and lines that say what they stand for.

    Where one is too long, the modalities of all are cut; where cut names would be the same, they are numbered.
    """
    if all(width(pair) <= room for pair in pairs):
        return {pair: pair for pair in pairs}, []
    names = list(dict.fromkeys(name for pair in pairs for name in pair.split(ARROW)))
    each = (room - len(ARROW)) // 2
    short, legend = {name: cut(name, each) for name in names}, []
    if len(set(short.values())) < len(names):
        short = {name: str(number) for number, name in enumerate(names, 1)}
        legend = [f"  {number}: {name}" for name, number in short.items()]
    return {pair: ARROW.join(short[name] for name in pair.split(ARROW)) for pair in pairs}, legend


def wrapped(text: str) -> list[str]:
    """A remark below a table, in lines that fit."""
    return wrap(text, WIDTH, "  ", "    ")
