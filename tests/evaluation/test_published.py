"""A published ranking, with the numbers that its evaluator printed, to four digits."""

from pathlib import Path

import pytest
import torch

from xfeat.evaluation.curve import precision_recall
from xfeat.evaluation.relevance import same_class
from xfeat.evaluation.results import PairResult
from xfeat.evaluation.retrieval import Measures, retrieve

RETURNED, RELEVANT, BEHIND = 500, 77, 10_000

# test/out.test.aq of trec_eval, topic 302.
MAP = {5: 0.0461, 10: 0.0768, 15: 0.1265, 20: 0.1695, 30: 0.2298, 100: 0.3983, 200: 0.4068, 500: 0.4175}
PRECISION = {5: 0.8, 10: 0.7, 15: 0.8, 20: 0.8, 30: 0.7333, 100: 0.42, 200: 0.22, 500: 0.1}
NDCG = {5: 0.8304, 10: 0.7530, 15: 0.8085, 20: 0.8082, 30: 0.7604, 100: 0.6046, 200: 0.6209, 500: 0.6617}
INTERPOLATED = [1.0, 0.8421, 0.8421, 0.7059, 0.6863, 0.5417, 0.1420]  # at recall 0, 0.1, ..., 0.6


@pytest.fixture(scope="module")
def ranking() -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of one query, (N, 1), and classes: 1 is relevant.

    trec_eval counts relevant documents that were not returned; here they stand behind many others.
    """
    lines = Path(__file__).with_name("published").joinpath("trec-302.tsv").read_text().splitlines()
    ranks = [int(line.split("\t")[1]) for line in lines]
    classes = torch.zeros(RETURNED + BEHIND, dtype=torch.int64)
    classes[torch.tensor(ranks) - 1] = 1
    classes[-(RELEVANT - len(ranks)) :] = 1
    return torch.linspace(1, -1, len(classes), dtype=torch.float64)[:, None], classes


@pytest.fixture(scope="module")
def measured(ranking: tuple[torch.Tensor, torch.Tensor]) -> dict[str, PairResult]:
    gallery, classes = ranking
    query, relevance = torch.ones(1, 1, dtype=torch.float64), same_class(torch.tensor([1]), classes)
    return {
        denominator: retrieve(
            query, gallery, relevance, Measures(list(MAP), denominator, "inner product", torch.float64, 1 << 30)
        )
        for denominator in ("hits", "min")
    }


def test_measures_within_a_cut_are_those_that_trec_eval_printed(measured: dict[str, PairResult]) -> None:
    found = measured["min"].metrics
    for cut in MAP:
        # trec_eval divides by all relevant documents, this project by no more of them than the cut has room for.
        assert found[f"mAP@{cut}"] * min(cut, RELEVANT) / RELEVANT == pytest.approx(MAP[cut], abs=5e-5)
        hits = PRECISION[cut] * cut
        assert measured["hits"].metrics[f"mAP@{cut}"] * hits / RELEVANT == pytest.approx(MAP[cut], abs=1e-4)
        assert found[f"P@{cut}"] == pytest.approx(PRECISION[cut], abs=5e-5)
        assert found[f"nDCG@{cut}"] == pytest.approx(NDCG[cut], abs=5e-5)
    assert [found[name] for name in ("R@1", "R@5", "R@10", "MedR")] == [1, 1, 1, 1]


def test_interpolated_precision_is_what_trec_eval_printed(ranking: tuple[torch.Tensor, torch.Tensor]) -> None:
    """At recall 0.3 some versions print 0.7419: the precision at 23 of 77, which are less than that."""
    gallery, classes = ranking
    relevance = same_class(torch.tensor([1]), classes)
    query = torch.ones(1, 1, dtype=torch.float64)
    curve = precision_recall(query, gallery, relevance, similarity="inner product", levels=11, dtype=torch.float64)
    assert curve[0, :7].tolist() == pytest.approx(INTERPOLATED, abs=5e-5)
