"""The section of queries and what they find: the hardest ones first, with what is right and what is wrong."""

import torch
from torch import Tensor

from xfeat.evaluation.first_hit import first_hits
from xfeat.evaluation.top import top_items
from xfeat.progress import progress
from xfeat.report.blocks import Examples, Hit, Item, Query, Section
from xfeat.report.pairs import PRECISION, Pair, judged, pairs_of
from xfeat.report.samples import SampleClasses
from xfeat.report.subject import Subject

HITS = 6  # shown of a ranking
OPEN = 6  # pairs that are not folded


def examples(subject: Subject) -> Section | None:
    """Queries of every ordered pair of modalities with the first places of their rankings; None where none are asked.

    Which queries: those with the lowest average precision (under protocols of instances: whose first relevant item has
    the largest rank), as many in the middle as a quarter of the number, and as many of the best.
    """
    pairs = list(pairs_of(subject)) if subject.queries else []
    if not pairs:
        return None
    classes = SampleClasses(subject)
    blocks = []
    with progress("queries", len(pairs)) as advance:
        for place, pair in enumerate(pairs):
            folded = len(pairs) > OPEN and place > 0
            blocks.append(_block(subject, classes, pair, folded))
            advance(note=pair.name)
    of = f" by {subject.first.path.name}" if subject.several else ""
    by = "average precision" if pairs[0].judged_by == PRECISION else "rank of the first right item"
    score = "cosine" if pairs[0].similarity == "cosine" else "inner product, 1 being that of the longest two vectors"
    lead = [
        f"Queries of split {subject.asked.split}{of}, each with the first {HITS} of what it finds, marked right or "
        f"wrong as the protocol has it. Chosen by {by}: the hardest, some about the median, some of the best. "
        f"Numbers of results are their scores ({score})."
    ]
    return Section("examples", "Queries and their results", lead, blocks, _notes(subject))


def choose(badness: Tensor, count: int) -> dict[str, list[int]]:
    """Rows of queries to show, in groups by name: the worst first, some in the middle, the best last.

    Args:
        badness: (Q,) greater for worse, NaN for a query that is not judged; of equals the first row comes first.
        count: to show, in all groups together.
    """
    rows = (~badness.isnan()).nonzero().flatten()
    order = rows[badness[rows].argsort(descending=True, stable=True)].tolist()
    some = min(count, len(order)) // 4
    best = order[len(order) - some :]
    hardest = order[: min(count, len(order)) - 2 * some]
    rest = order[len(hardest) : len(order) - some]
    start = min(max(0, len(order) // 2 - len(hardest) - some // 2), len(rest) - some)
    groups = {"Hardest": hardest, "Typical": rest[start : start + some], "Best": best}
    return {name: chosen for name, chosen in groups.items() if chosen}


def _block(subject: Subject, classes: SampleClasses, pair: Pair, folded: bool) -> Examples:
    groups = choose(judged(pair), subject.queries)
    rows = [row for chosen in groups.values() for row in chosen]
    if not rows:
        return Examples([], pair.name, "No query has a relevant item.", folded)
    found = dict(zip(rows, _queries(subject, classes, pair, rows), strict=True))
    shown = [(name, [found[row] for row in chosen]) for name, chosen in groups.items()]
    return Examples(shown, pair.name, "", folded, printed=not folded)


def _queries(subject: Subject, classes: SampleClasses, pair: Pair, rows: list[int]) -> list[Query]:
    at = torch.tensor(rows, device=pair.vectors[0].device)
    queries, gallery = pair.vectors[0][at], pair.vectors[1]
    relevance = pair.relevance(at)
    top = top_items(queries, gallery, HITS, similarity=pair.similarity)
    scores = top.scores.double()
    if pair.similarity != "cosine":  # they are shares of the longest of these queries, and are to be of all
        scores *= longest(queries) / max(longest(pair.vectors[0]), 1e-300)
    first = first_hits(queries, gallery, relevance, similarity=pair.similarity)
    ranks, relevant = first.rank().tolist(), first.relevant.tolist()
    judgements = pair.result.by_query[pair.judged_by][rows].tolist()

    def item(modality: str, row: int) -> Item:
        name = subject.pictured.ids[modality][row]
        return Item(name, modality, classes.of(modality, name), subject.media.show(modality, name))

    made = []
    for place, row in enumerate(rows):
        truth = relevance(slice(place, place + 1))[0]
        hits = [
            Hit(number, item(pair.gallery, found), f"{score:.2f}", bool(truth[found]))
            for number, (found, score) in enumerate(
                zip(top.items[place].tolist(), scores[place].tolist(), strict=True), 1
            )
        ]
        says = [f"AP {judgements[place]:.3f}"] if pair.judged_by == PRECISION else []
        says.append(f"first right at rank {ranks[place]:,.4g} of {len(gallery):,}")
        says.append(f"{relevant[place]:,} right in all")
        made.append(Query(item(pair.query, row), ", ".join(says), hits))
    return made


def longest(vectors: Tensor) -> float:
    """Euclidean length of the longest row."""
    return float(torch.linalg.vector_norm(vectors.double(), dim=1).max())


def _notes(subject: Subject) -> list[str]:
    media = subject.media
    if not media.given:
        return ["Samples are named, not shown: give the manifests of the samples, `xfeat report ... --manifest FILE`."]
    notes = []
    if media.unknown:
        modality, name = min(media.unknown)
        notes.append(
            f"{len(media.unknown):,} samples are named, not shown: their ids are in no manifest, or their files cannot "
            f"be read ({modality} {name}, for example)."
        )
    if media.crowded:
        notes.append(f"{len(media.crowded):,} samples are named, not shown: the page would grow too large.")
    return notes
