"""The rankings behind a run's numbers: who is asked, what is ranked, and what is relevant, pair by pair."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from xfeat.evaluation.embedded import checked_vectors, common_similarity, key_codes
from xfeat.evaluation.instance import INSTANCE
from xfeat.evaluation.protocols import MULTI_LABEL, PROTOCOLS
from xfeat.evaluation.relevance import MakeRelevance, Relevance, relevance_rule, same_class
from xfeat.evaluation.results import PairResult
from xfeat.evaluation.similarity import Similarity
from xfeat.report.subject import Subject

RANK = "rank"  # by which queries are judged where there is no average precision
PRECISION = "mAP@all"
BY_CLASS = tuple(PROTOCOLS)  # protocols whose relevant items are of the query's class


@dataclass(frozen=True, eq=False)
class Pair:
    """One direction of retrieval.

    Attributes:
        query: modality of the queries.
        gallery: modality of what is ranked.
        vectors: (Q, d) queries and (N, d) items.
        marks: classes or instances of the queries and of the items, by which they are relevant.
        rule: makes relevance of marks.
        similarity: what ranks.
        result: the numbers.
    """

    query: str
    gallery: str
    vectors: tuple[Tensor, Tensor]
    marks: tuple[Tensor, Tensor]
    rule: MakeRelevance
    similarity: Similarity
    result: PairResult

    @property
    def name(self) -> str:
        """For a reader."""
        return f"{self.query} → {self.gallery}"

    @property
    def judged_by(self) -> str:
        """The metric that says how well a query does: average precision, or the rank of the first relevant item."""
        return PRECISION if PRECISION in self.result.by_query else RANK

    def relevance(self, rows: Tensor | None = None) -> Relevance:
        """Of all queries, or of some rows of them."""
        own, other = self.marks
        return self.rule(own if rows is None else own[rows], other)


def pairs_of(subject: Subject) -> Iterator[Pair]:
    """Every ordered pair of modalities, by the run that pictures are of; none under protocols that rank otherwise."""
    found = subject.pictured
    if found.protocol not in (*BY_CLASS, INSTANCE) or subject.asked.gallery is not None:
        return
    vectors = checked_vectors(found.items, subject.device)
    if found.protocol == INSTANCE:
        marks = key_codes(found.items, subject.device)
    else:
        marks = {name: PROTOCOLS[found.protocol](name, item, subject.device) for name, item in found.items.items()}
    rule: MakeRelevance = same_class
    if found.protocol == MULTI_LABEL:
        rule = relevance_rule(subject.asked.relevance or found.relevance).relevant
    similarity = common_similarity(found.items)
    results = subject.answer.results[next(iter(subject.runs))].pairs
    for name, result in results.items():
        query, _, gallery = name.partition("->")
        yield Pair(
            query,
            gallery,
            (vectors[query], vectors[gallery]),
            (marks[query], marks[gallery]),
            rule,
            similarity,
            result,
        )


def judged(pair: Pair) -> Tensor:
    """(Q,) float64 on the CPU, greater for a query that does worse; NaN for one without a relevant item."""
    values = pair.result.by_query[pair.judged_by]
    return -values if pair.judged_by == PRECISION else values


def share_of_relevant(pair: Pair, step: int = 1024) -> float:
    """Mean share of the gallery that is relevant, over queries with any; NaN where there are none."""
    relevance, queries = pair.relevance(), len(pair.vectors[0])
    blocks = [relevance(slice(start, min(start + step, queries))).sum(1) for start in range(0, queries, step)]
    counts = torch.cat(blocks).double()
    return float(counts[counts > 0].mean()) / len(pair.vectors[1])
