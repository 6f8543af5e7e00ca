"""The re-identification protocol: find the query's identity as another camera saw it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xfeat.errors import InputError
from xfeat.evaluation.blocks import score_blocks
from xfeat.evaluation.embedded import Embedded, camera_codes, checked_classes, checked_vectors, common_similarity
from xfeat.evaluation.exclusion import Excluded, excluded_counts, same_identity_and_camera
from xfeat.evaluation.first_hit import FirstHit, tie_counts_of_block
from xfeat.evaluation.first_hit import chance as first_chance
from xfeat.evaluation.instance import RECALL
from xfeat.evaluation.last_hit import LastHit
from xfeat.evaluation.last_hit import chance as last_chance
from xfeat.evaluation.ranking import bytes_per_score, precision_of_block
from xfeat.evaluation.relevance import same_class
from xfeat.evaluation.results import Evaluation, PairResult
from xfeat.evaluation.similarity import Similarity
from xfeat.evaluation.ties import chance_average_precision
from xfeat.evaluation.trials import DRAWS, draw, over_trials

RE_ID = "re-id"
CUTS = (1, 5, 10, 20)
INVERSE_PENALTY = "relevant items over the rank of the last one"
"""What mINP is the mean of, to be printed with the numbers."""
TRIALS = 10
CAMERAS: Mapping[bool, str] = {
    True: "gallery items of the query's own identity and camera are left out of its ranking",
    False: "none are named in queries and gallery, so nothing is left out",
}
"""What becomes of the query's own camera, to be printed with the numbers."""


@dataclass(frozen=True, eq=False)
class _Side:
    """Queries or gallery of a pair: (N, d) vectors, (N,) identities, (N,) cameras (-1 for none), and names of rows."""

    vectors: Tensor
    identities: Tensor
    cameras: Tensor
    ids: Sequence[str] | None

    def drawn(self, shots: int, trial: int) -> "_Side":
        """So many rows of every identity and camera (a row without a camera: of its identity's other such rows)."""
        rows = draw(self.ids or (), torch.stack([self.identities, self.cameras], 1), shots, trial)
        return _Side(self.vectors[rows], self.identities[rows], self.cameras[rows], None)


@dataclass(frozen=True)
class _Ranking:
    """How scores are computed, see `score_blocks`."""

    similarity: Similarity
    dtype: torch.dtype
    memory: int


def evaluate_reid(
    embeddings: Mapping[str, Embedded],
    cuts: Sequence[int] = CUTS,
    *,
    shots: int | None = None,
    trials: int | None = None,
    dtype: torch.dtype = torch.float32,
    memory: int = 256 << 20,
    device: torch.device | str | None = None,
) -> Evaluation:
    """Cumulative matching and precision of retrieval by identity, from every modality to every other one.

    Relevant to a query are the gallery items of the same label, its identity. Items of the same identity and the same
    camera are left out of its ranking (Zheng et al., "Scalable Person Re-identification", ICCV 2015); without cameras
    nothing is. By query, the expected value over uniformly random orders of equally scored items:

    - ``CMC@K``: the probability that a relevant item is among the first K (see `xfeat.evaluation.first_hit`);
    - ``mAP@all``: average precision over the whole ranking (see `xfeat.evaluation.ties`);
    - ``mINP``: relevant items over the rank of the last one (Ye et al., TPAMI 2022; see `xfeat.evaluation.last_hit`).

    A pair's numbers are means over the queries with a relevant item left; chance levels are those of a random ranking
    of what is left for each query, exactly.

    Args:
        embeddings: two modalities or more in one common space, by name, with labels (N,), perhaps with cameras.
        cuts: the K of CMC, different whole numbers of 1 or more.
        shots: None ranks the whole gallery. A number N ranks, in each trial, N random rows of every identity and
            camera that the gallery has (where no cameras are named, of every identity), as the single-shot protocol of
            SYSU-MM01 does (Wu et al., "RGB-Infrared Cross-Modality Person Re-identification", ICCV 2017: N = 1,
            10 trials). That needs ``ids``: drawn are the same rows whatever their order, the run and the seed.
        trials: galleries to draw, 10 if not given. Metrics are means over them, ``trials_spread`` their sample
            standard deviations.
        dtype: of the scores, torch.float32 or torch.float64.
        memory: bytes that a block of queries may take, see `score_blocks`.
        device: to compute on; None computes where the vectors are.

    Returns:
        Metrics, chance levels and counts by pair; ``excluded`` counts the pairs of a query and a gallery item that
        were left out, in each trial.

    Raises:
        InputError: embeddings, labels or cameras that do not fit each other, an unknown setting, no names to draw by,
            or no query that has a relevant item in another modality.
    """
    started = time.perf_counter()
    _check_settings(embeddings, cuts, shots, trials, dtype)
    similarity = common_similarity(embeddings) if embeddings else "cosine"
    vectors = checked_vectors(embeddings, device)
    cameras = camera_codes(embeddings, next(iter(vectors.values())).device)
    sides = {
        name: _Side(rows, checked_classes(name, embeddings[name], rows.device, RE_ID), cameras[name], item.ids)
        for (name, rows), item in zip(vectors.items(), embeddings.values(), strict=True)
    }
    ranking = _Ranking(similarity, dtype, memory)
    named = [name for name, own in cameras.items() if bool((own >= 0).any())]
    stated: dict[str, Any] = {
        "name": RE_ID,
        "relevance": "same identity",
        "similarity": similarity,
        "ties": "expected value under a uniformly random order",
        "cuts": list(cuts),
        "recall": RECALL,
        "mINP": INVERSE_PENALTY,
        "camera_exclusion": len(named) > 1,
        "cameras": CAMERAS[len(named) > 1],
        "excluded": 0,
        "gallery_shots": "all" if shots is None else shots,
        "dtype": str(dtype).removeprefix("torch."),
    }
    if shots is None:
        results = [_trial(stated, sides, sides, cuts, ranking)]
    else:
        stated |= {"trials": trials or TRIALS, "shots_of": "identity and camera" if named else "identity"}
        stated["draws"] = DRAWS
        results = []
        for trial in range(trials or TRIALS):
            galleries = {name: side.drawn(shots, trial) for name, side in sides.items()}
            results.append(_trial(stated, sides, galleries, cuts, ranking))
    stated["excluded"] = sum(one.excluded or 0 for one in results[0].pairs.values())
    whole = results[0] if shots is None else over_trials(results)
    return Evaluation(stated, time.perf_counter() - started, whole.pairs, whole.trials_spread)


def _trial(
    stated: Mapping[str, Any],
    queries: Mapping[str, _Side],
    galleries: Mapping[str, _Side],
    cuts: Sequence[int],
    ranking: _Ranking,
) -> Evaluation:
    pairs = {
        f"{query}->{gallery}": _pair(own, other, cuts, ranking)
        for query, own in queries.items()
        for gallery, other in galleries.items()
        if query != gallery
    }
    if not any(one.measured for one in pairs.values()):
        left = " that another camera saw" if any(one.excluded for one in pairs.values()) else ""
        raise InputError(
            f"{next(iter(pairs))}: no query has an item of its identity in the gallery{left}, nor in any other pair: "
            "check that all use the same labels"
        )
    return Evaluation(stated, 0.0, pairs)


def _pair(query: _Side, gallery: _Side, cuts: Sequence[int], ranking: _Ranking) -> PairResult:
    both = query.identities, query.cameras, gallery.identities, gallery.cameras
    left_out = excluded_counts(*both)
    excluded = same_identity_and_camera(*both) if bool(left_out.any()) else None
    values, first, last = _ranked(query, gallery, excluded, ranking)
    asked = first.relevant > 0
    relevant, ranked = first.relevant[asked], (len(gallery.vectors) - left_out)[asked]
    by_chance = chance_average_precision(relevant, ranked, None, "hits")
    return PairResult(
        _means(first[asked], values[asked], last[asked], cuts),
        _means(first_chance(relevant, ranked), by_chance, last_chance(relevant, ranked), cuts),
        len(query.vectors),
        len(gallery.vectors),
        len(query.vectors) - int(asked.sum()),
        excluded=int(left_out.sum()),
        by_query={
            **{f"CMC@{cut}": first.within(cut).where(asked, torch.nan).cpu() for cut in cuts},
            "mAP@all": values.cpu(),
            "mINP": last.inverse_negative_penalty().cpu(),
        },
    )


@torch.no_grad()
def _ranked(
    query: _Side, gallery: _Side, excluded: Excluded | None, ranking: _Ranking
) -> tuple[Tensor, FirstHit, LastHit]:
    """Average precision, (Q,) float64, and the first and last hits of the rankings, in one pass."""
    rows, device = len(query.vectors), query.vectors.device
    values = torch.empty(rows, dtype=torch.float64, device=device)
    best, worst = torch.empty(2, 4, rows, dtype=torch.int64, device=device)
    for some, block, truth in score_blocks(
        query.vectors,
        gallery.vectors,
        same_class(query.identities, gallery.identities),
        excluded=excluded,
        bytes_per_score=bytes_per_score(ranking.dtype, device),
        **vars(ranking),
    ):
        best[:, some] = tie_counts_of_block(block, truth, False)
        worst[:, some] = tie_counts_of_block(block, truth, True)
        values[some] = precision_of_block(block, truth, [None], "hits").values[:, 0]  # the last: it may take the scores
        del block, truth
    return values, FirstHit(*best), LastHit(*worst)


def _means(first: FirstHit, precision: Tensor, last: LastHit, cuts: Sequence[int]) -> dict[str, float]:
    # Means over no query are NaN.
    return {
        **{f"CMC@{cut}": float(first.within(cut).mean()) for cut in cuts},
        "mAP@all": float(precision.mean()),
        "mINP": float(last.inverse_negative_penalty().mean()),
    }


def _check_settings(
    embeddings: Mapping[str, Embedded],
    cuts: Sequence[int],
    shots: int | None,
    trials: int | None,
    dtype: torch.dtype,
) -> None:
    if not cuts or not all(map(_is_count, cuts)) or len(set(cuts)) < len(cuts):
        raise InputError(f"cuts must be different whole numbers of 1 or more, got {list(cuts)}")
    for what, number in (("rows of each identity and camera", shots), ("trials", trials)):
        if number is not None and not _is_count(number):
            raise InputError(f"{what} must be a whole number of 1 or more, got {number}")
    if shots is None and trials is not None:
        raise InputError(f"{trials} trials of the whole gallery are one: draw a number of rows of each identity")
    for name, item in embeddings.items():
        if shots is not None and (item.ids is None or len(set(item.ids)) != len(item.vectors)):
            raise InputError(f"{name} has no different name for each row: rows of a gallery are drawn by them")
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"scores are computed in float32 or float64, not {dtype}")


def _is_count(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 1
