"""What ``xfeat search`` prints, from the document that it writes as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from xfeat.cli.eval_stated import WIDTH
from xfeat.cli.output import cut as cut_off
from xfeat.cli.output import left, plain, table, width, wrap

NUMBERS = 19  # width of rank and score, of the blanks before each of them and before the id
MOST = {"modality": 10, "class": 14, "split": 8}  # of the other columns, so that ids keep a dozen characters
ITSELF, PAIR, CLASS, NOTHING, UNKNOWN = "itself", "pair", "class", "no", "-"


def show(found: Mapping[str, Any]) -> str:
    """The hits of every query as a table, with what was searched and what the scores are.

    Args:
        found: of `xfeat.search.document.document`.
    """
    lines = stated(found["similarity"], found["gallery"], found["splits"] or [], found["classes"] or [])
    for answer in found["queries"]:
        lines += ["", asked(answer["query"])]
        if answer["hits"]:
            lines += [_table(answer["hits"], many=len(found["gallery"]) > 1), *_tally(answer["hits"])]
        else:
            lines.append("  no other row is left to be found")
    return "\n".join(lines)


def stated(similarity: str, gallery: Mapping[str, int], splits: Sequence[str], classes: Sequence[str]) -> list[str]:
    """What is searched, and what the scores are."""
    rows = ", ".join(f"{name} {count:,}" for name, count in gallery.items())
    of = f"; split {', '.join(splits)}" if splits else "; all splits"
    only = f"; class {', '.join(classes)}" if classes else ""
    return [
        *wrap(plain(f"gallery   {rows} rows{of}{only}"), WIDTH, rest=" " * 10),
        f"score     {similarity} of embeddings, the same measure in every modality",
    ]


def asked(query: Mapping[str, Any]) -> str:
    """What was asked, in a line."""
    form = next((word for word in ("text", "file") if word in query), "")
    if form:
        what = repr(query[form]) if form == "text" else query[form]
        return f"{form} {cut(what, 50)}, as {cut(query['modality'], 18)}"
    about = [f"class {cut('|'.join(query['label']), 16)}"] if query["label"] else []
    words = f" ({', '.join([*about, 'split ' + cut(query['split'], 10)])})"
    modality = cut(query["modality"], 14)
    return f"{modality} {cut(query['id'], WIDTH - width(modality) - 1 - width(words))}{words}"


def cut(text: str, room: int) -> str:
    """A text on one line, with dots in its middle where it takes more columns than ``room``."""
    return cut_off(plain(" ".join(text.split())), room, end=(room - 1) // 2, dots="..")


def shares(hit: Mapping[str, Any]) -> str:
    """What a hit has in common with the query: ``pair`` goes before ``class``; ``-`` where nothing is known."""
    if hit["itself"]:
        return ITSELF
    if hit["same_pair"] or hit["same_class"]:
        return PAIR if hit["same_pair"] else CLASS
    return UNKNOWN if hit["same_pair"] is None and hit["same_class"] is None else NOTHING


def _table(hits: Sequence[Mapping[str, Any]], *, many: bool) -> str:
    columns = {"split": [cut(hit["split"], MOST["split"]) for hit in hits]}
    if any(hit["label"] for hit in hits):
        labels = ["|".join(hit["label"] or ()) or UNKNOWN for hit in hits]
        columns = {"class": [cut(label, MOST["class"]) for label in labels], **columns}
    if any(shares(hit) != UNKNOWN for hit in hits):
        columns["shares"] = [shares(hit) for hit in hits]
    before = {"modality": [cut(hit["modality"], MOST["modality"]) for hit in hits]} if many else {}
    taken = sum(2 + max(width(name), *map(width, cells)) for name, cells in {**before, **columns}.items())
    ids = [cut(hit["id"], WIDTH - NUMBERS - taken) for hit in hits]
    shown = {**before, "id": ids, **columns}
    widths = [max(width(name), *map(width, cells)) for name, cells in shown.items()]
    header = ["rank", "score", *(left(name, room) for name, room in zip(shown, widths, strict=True))]
    rows = [
        [
            f"{hit['rank']:4}",
            f"{hit['score']:.4f}" if abs(hit["score"]) < 100 else f"{hit['score']:.4g}",
            *(left(cell, room) for cell, room in zip(cells, widths, strict=True)),
        ]
        for hit, cells in zip(hits, zip(*shown.values(), strict=True), strict=True)
    ]
    return table(header, rows)


def _tally(hits: Sequence[Mapping[str, Any]]) -> list[str]:
    """How many of the hits are right."""
    parts = []
    others = [hit for hit in hits if not hit["itself"]]
    for key, what in (("same_pair", "its pair key"), ("same_class", "a class with the query")):
        known = [hit[key] for hit in others if hit[key] is not None]
        if known:
            parts.append(f"{sum(known)} of {len(known)} share {what}")
    return [f"  {'; '.join(parts)}"] if parts else []
