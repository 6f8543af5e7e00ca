"""Agreement with trec_eval, through ir-measures and pytrec_eval, on rankings without ties.

trec_eval puts equally scored documents in the falling order of their names, so with ties its numbers depend on names.
"""

from collections.abc import Mapping

import ir_measures
import numpy as np
import pytest
import torch
from ir_measures import AP, RR, IPrec, P, Success, nDCG

from xfeat.evaluation.curve import precision_recall
from xfeat.evaluation.embedded import Embedded
from xfeat.evaluation.protocols import evaluate
from xfeat.evaluation.relevance import same_class

QUERIES, GALLERY, CLASSES = 24, 120, 6
MEASURES = [AP, AP @ 10, P @ 10, P @ 50, nDCG, nDCG @ 10, RR, Success @ 1, Success @ 5, Success @ 10]
LEVELS = [IPrec @ (level / 10) for level in range(11)]


def by_trec_eval(scores: np.ndarray, worth: np.ndarray) -> Mapping[str, np.ndarray]:
    """Values by measure, each (Q,), of scores without ties and grades, both (Q, N)."""
    place = scores.argsort(axis=1).argsort(axis=1)  # whole numbers, which single precision keeps apart
    grades = {str(q): {str(n): int(grade) for n, grade in enumerate(row)} for q, row in enumerate(worth)}
    run = {str(q): {str(n): float(score) for n, score in enumerate(row)} for q, row in enumerate(place)}
    found = {str(measure): np.full(len(scores), np.nan) for measure in (*MEASURES, *LEVELS)}
    for one in ir_measures.pytrec_eval.iter_calc([*MEASURES, *LEVELS], grades, run):
        found[str(one.measure)][int(one.query_id)] = one.value
    return found


def cosines(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    queries, gallery = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, gallery))
    return queries @ gallery.T


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_class_each(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    # Twenty of each class, so that trec_eval rounds no level of recall to another number of documents.
    own, other = rng.integers(CLASSES, size=QUERIES), np.arange(GALLERY) % CLASSES
    queries, gallery = rng.normal(size=(QUERIES, 8)), rng.normal(size=(GALLERY, 8))
    queries += 2 * np.eye(8)[own]
    gallery += 2 * np.eye(8)[other]
    items = {"image": Embedded(queries, own), "text": Embedded(gallery, other)}
    one = evaluate(items, cuts=(None, 10, 50), denominator="min", dtype=dtype).pairs["image->text"].by_query
    expected = by_trec_eval(cosines(queries, gallery), own[:, None] == other)
    same = {
        "mAP@all": "AP",
        "P@10": "P@10",
        "P@50": "P@50",
        "nDCG@all": "nDCG",
        "nDCG@10": "nDCG@10",
        "R@1": "Success@1",
        "R@5": "Success@5",
        "R@10": "Success@10",
    }
    for name, theirs in same.items():
        np.testing.assert_allclose(one[name], expected[theirs], atol=1e-6, err_msg=name)
    np.testing.assert_allclose(1 / one["rank"], expected["RR"], atol=1e-6)
    np.testing.assert_allclose(one["mAP@10"] * 10 / 20, expected["AP@10"], atol=1e-6)  # theirs over all relevant
    curve = precision_recall(
        torch.tensor(queries),
        torch.tensor(gallery),
        same_class(torch.tensor(own), torch.tensor(other)),
        levels=11,
        dtype=dtype,
    )
    np.testing.assert_allclose(curve.T, [expected[str(level)] for level in LEVELS], atol=1e-6)


@pytest.mark.parametrize("gain", ["exponential", "linear"])
def test_several_classes_and_gains(gain: str) -> None:
    rng = np.random.default_rng(1)
    own, other = (
        np.maximum(rng.random((n, CLASSES)) < 0.3, np.eye(CLASSES)[np.arange(n) % CLASSES]) for n in (24, 120)
    )
    queries, gallery = own + rng.normal(size=own.shape), other + rng.normal(size=other.shape)
    items = {
        name: Embedded(rows, labels.astype(np.uint8))
        for name, rows, labels in (("image", queries, own), ("text", gallery, other))
    }
    one = evaluate(items, "multi-label", (None, 10, 50), gain=gain).pairs["image->text"].by_query
    shared = own.astype(int) @ other.astype(int).T
    expected = by_trec_eval(cosines(queries, gallery), 2**shared - 1 if gain == "exponential" else shared)
    for name, theirs in {"nDCG@all": "nDCG", "nDCG@10": "nDCG@10", "mAP@all": "AP", "P@50": "P@50"}.items():
        np.testing.assert_allclose(one[name], expected[theirs], atol=1e-6, err_msg=name)


def test_trec_eval_breaks_ties_by_name_and_this_project_takes_the_mean() -> None:
    values = []
    for relevant in range(3):
        grades = {"q": {name: int(place == relevant) for place, name in enumerate("abc")}}
        (one,) = ir_measures.pytrec_eval.iter_calc([RR], grades, {"q": dict.fromkeys("abc", 1.0)})
        values.append(one.value)
    assert values == pytest.approx([1 / 3, 1 / 2, 1])
    flat = np.ones((3, 2))
    items = {"image": Embedded(flat[:1], np.array([0])), "text": Embedded(flat, np.array([0, 1, 2]))}
    assert evaluate(items).pairs["image->text"].metrics["mAP@all"] == pytest.approx(np.mean(values))
