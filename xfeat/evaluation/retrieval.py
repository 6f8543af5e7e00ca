"""All measures of retrieval by class, of one pair of modalities, in one pass over its scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from xfeat.evaluation.blocks import score_blocks
from xfeat.evaluation.first_hit import FirstHit, tie_counts_of_block
from xfeat.evaluation.first_hit import chance as first_chance
from xfeat.evaluation.gain import BYTES_PER_SCORE, CumulatedGain, gain_of_block, gain_of_places
from xfeat.evaluation.instance import median
from xfeat.evaluation.places import find_places
from xfeat.evaluation.ranking import bytes_per_score, precision_of_places
from xfeat.evaluation.relevance import Relevance
from xfeat.evaluation.results import PairResult
from xfeat.evaluation.similarity import Similarity
from xfeat.evaluation.ties import Cut, Denominator, chance_average_precision

RECALL_CUTS = (1, 5, 10)
PRECISION = "relevant items within K over K, however small the gallery"
"""What P@K is, to be printed with the numbers."""

Gains: TypeAlias = Callable[[slice], Tensor]
"""Takes a slice of q queries, gives a (q, N) tensor of numbers of 0 or more, what finding each item is worth."""

_GAINS_BYTES = 16  # a score, of gains that are not relevance


@dataclass(frozen=True)
class Measures:
    """What is measured, and how scores are computed, see `evaluate`."""

    cuts: Sequence[Cut]
    denominator: Denominator
    similarity: Similarity
    dtype: torch.dtype
    memory: int


@torch.no_grad()
def retrieve(
    queries: Tensor,
    gallery: Tensor,
    relevance: Relevance,
    measures: Measures,
    *,
    gains: Gains | None = None,
    exclude_self: bool = False,
) -> PairResult:
    """Measure the rankings of a gallery for all queries.

    Args:
        queries: (Q, d) finite embeddings.
        gallery: (N, d) finite embeddings on the same device, N >= 1 (>= 2 with ``exclude_self``).
        relevance: which gallery items are relevant, on the same device.
        measures: which cuts, and how.
        gains: what items are worth to nDCG; None: 1 where relevant. A relevant item is worth more than 0.
        exclude_self: leave gallery item i out for query i.

    Returns:
        Of the cuts K, "all" included: mAP@K and nDCG@K, and P@K of numbers; R@1, R@5, R@10; MedR.
    """
    cuts, ranked = list(measures.cuts), len(gallery) - exclude_self
    values, hits, expected, ideal = torch.empty(
        4, len(queries), len(cuts), dtype=torch.float64, device=queries.device
    ).unbind()
    counts = torch.empty(4, len(queries), dtype=torch.int64, device=queries.device)
    total = torch.empty(len(queries), dtype=torch.float64, device=queries.device)
    cost = bytes_per_score(measures.dtype, queries.device)
    if gains is not None:
        cost = max(cost, BYTES_PER_SCORE[measures.dtype] + _GAINS_BYTES)
    for rows, block, truth in score_blocks(
        queries,
        gallery,
        relevance,
        similarity=measures.similarity,
        exclude_self=exclude_self,
        dtype=measures.dtype,
        bytes_per_score=cost,
        memory=measures.memory,
    ):
        counts[:, rows] = tie_counts_of_block(block, truth, False)
        gained = None
        if gains is not None:
            # Whatever its classes, an item that is left out is worth nothing.
            gained = gain_of_block(block, gains(rows).masked_fill_(block < -1.25, 0), cuts)
        places = find_places(block, truth, cuts)  # the last: it takes the scores
        del block, truth
        gained = gained or gain_of_places(places, cuts)
        precision = precision_of_places(places, cuts, measures.denominator)
        expected[rows], ideal[rows], total[rows] = gained.expected, gained.ideal, gained.total
        values[rows], hits[rows] = precision.values, precision.hits
    first, gained = FirstHit(*counts), CumulatedGain(expected, ideal, total)
    by_query = _by_query(values, first, hits, gained.ndcg(), cuts)
    asked = first.relevant > 0
    relevant = first.relevant[asked]
    by_chance = _by_query(
        torch.stack([chance_average_precision(relevant, ranked, cut, measures.denominator) for cut in cuts], 1),
        first_chance(relevant, ranked),
        torch.stack([relevant.double() * (ranked if cut is None else min(cut, ranked)) / ranked for cut in cuts], 1),
        CumulatedGain(expected[asked], ideal[asked], total[asked]).chance(ranked, cuts),
        cuts,
    )
    return PairResult(
        _statistics({name: one[asked] for name, one in by_query.items()}),
        _statistics(by_chance),
        len(queries),
        ranked,
        len(queries) - len(relevant),
        by_query={name: one.where(asked, torch.nan).cpu() for name, one in by_query.items()},
    )


def _by_query(precision: Tensor, first: FirstHit, hits: Tensor, ndcg: Tensor, cuts: Sequence[Cut]) -> dict[str, Tensor]:
    """Metrics by name, each (n,) float64, in the order that they are reported in."""
    columns = list(enumerate(cuts))
    return {
        **{f"mAP@{_named(cut)}": precision[:, column] for column, cut in columns},
        **{f"R@{cut}": first.within(cut) for cut in RECALL_CUTS},
        **{f"P@{cut}": hits[:, column] / cut for column, cut in columns if cut is not None},
        **{f"nDCG@{_named(cut)}": ndcg[:, column] for column, cut in columns},
        "rank": first.rank(),
    }


def _statistics(by_query: dict[str, Tensor]) -> dict[str, float]:
    # Means over no query are NaN.
    ranks = by_query["rank"]
    means = {name: float(values.mean()) for name, values in by_query.items() if name != "rank"}
    return {**means, "MedR": median(ranks) if len(ranks) else float("nan")}


def _named(cut: Cut) -> str:
    return "all" if cut is None else str(cut)
