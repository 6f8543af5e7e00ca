import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.errors import InputError
from xfeat.evaluation.embedded import Embedded
from xfeat.evaluation.zero_shot import class_prototypes, evaluate_zero_shot


def unit(row: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(row)
    return row / length if length else row


def literal_prototypes(vectors: np.ndarray, labels: np.ndarray) -> dict[int, np.ndarray]:
    return {
        int(label): unit(np.mean([unit(row) for row, own in zip(vectors, labels, strict=True) if own == label], axis=0))
        for label in sorted(set(labels.tolist()))
    }


def literal_accuracies(vectors: np.ndarray, labels: np.ndarray, prototypes: dict[int, np.ndarray]) -> dict[str, float]:
    """One query at a time; the right class is placed at random among its equals."""
    top: dict[int, list[float]] = {1: [], 5: []}
    by_class: dict[int, list[float]] = {}
    for row, label in zip(vectors, labels, strict=True):
        if label not in prototypes:
            continue
        scores = {name: round(float(unit(row) @ prototype), 9) for name, prototype in prototypes.items()}
        above = sum(score > scores[label] for score in scores.values())
        tied = sum(score == scores[label] for score in scores.values())
        for cut in top:
            top[cut].append(min(max(0, cut - above), tied) / tied)
        by_class.setdefault(label, []).append(top[1][-1])
    per_class = float(np.mean([np.mean(values) for values in by_class.values()]))
    return {"top-1": float(np.mean(top[1])), "top-5": float(np.mean(top[5])), "per-class": per_class}


@given(seed=st.integers(0, 999))
def test_prototypes_equal_the_literal_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, labels = rng.normal(size=(12, 5)) * rng.uniform(0.1, 9, (12, 1)), rng.choice([0, 2, 7], size=12)
    prototypes, classes = class_prototypes(torch.from_numpy(vectors), torch.from_numpy(labels))
    expected = literal_prototypes(vectors, labels)
    assert classes.tolist() == list(expected)
    np.testing.assert_allclose(prototypes, list(expected.values()), atol=1e-12)


def test_rows_that_cancel_have_a_prototype_of_zeros() -> None:
    prototypes, _ = class_prototypes(torch.tensor([[1.0, 2.0], [-2.0, -4.0]]), torch.tensor([3, 3]))
    assert prototypes.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("similarity", ["cosine", "inner product"])
@given(seed=st.integers(0, 999), signs=st.booleans())
def test_accuracies_equal_the_literal_formula(similarity: Any, seed: int, signs: bool) -> None:
    """With ``signs``, few directions: equal prototypes and many ties."""
    rng = np.random.default_rng(seed)
    rows = {"image": 30, "text": 16, "audio": 25}
    items, sources = {}, {}
    for name, n in rows.items():
        queries = rng.choice([-1.0, 1.0], size=(n, 2)) if signs else rng.normal(size=(n, 4))
        prompts = rng.choice([-1.0, 1.0], size=(9, 2)) if signs else rng.normal(size=(9, 4))
        items[name] = Embedded(queries, rng.integers(9, size=n), similarity)
        sources[name] = Embedded(prompts, np.r_[0:7, 0, 1], similarity)
    result = evaluate_zero_shot(items, sources, dtype=torch.float64)
    assert list(result.pairs) == [f"{a}->{b}" for a in rows for b in rows if a != b]
    for pair, one in result.pairs.items():
        query, source = pair.split("->")
        prototypes = literal_prototypes(np.asarray(sources[source].vectors), np.asarray(sources[source].labels))
        labels = np.asarray(items[query].labels)
        expected = literal_accuracies(np.asarray(items[query].vectors), labels, prototypes)
        assert one.metrics == pytest.approx(expected, abs=1e-9)
        assert one.chance == pytest.approx({"top-1": 1 / 7, "top-5": 5 / 7, "per-class": 1 / 7})
        assert (one.queries, one.gallery) == (rows[query], 7)
        assert one.without_relevant == int((labels >= 7).sum())


def test_prompts_of_one_modality_classify_the_others() -> None:
    queries = {"image": Embedded(np.eye(3), np.arange(3)), "text": Embedded(np.eye(3), np.arange(3))}
    result = evaluate_zero_shot(queries, {"text": Embedded(np.eye(3).repeat(2, 0), np.arange(3).repeat(2))})
    assert list(result.pairs) == ["image->text"]
    assert result.pairs["image->text"].metrics == {"top-1": 1.0, "top-5": 1.0, "per-class": 1.0}
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert document["protocol"]["name"] == "zero-shot"
    assert document["mean"]["chance top-1"] == pytest.approx(1 / 3)


def test_classes_of_few_queries_count_as_much_as_others() -> None:
    labels = np.array([0] * 9 + [1])
    image = Embedded(np.eye(2)[np.zeros(10, int)], labels)
    metrics = (
        evaluate_zero_shot({"image": image}, {"text": Embedded(np.eye(2), np.arange(2))}).pairs["image->text"].metrics
    )
    assert metrics["top-1"] == pytest.approx(0.9)
    assert metrics["per-class"] == pytest.approx(0.5)


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_collapsed_embeddings_are_exactly_at_chance(value: float) -> None:
    flat = {name: Embedded(np.full((57, 33), value), np.arange(57) % 13) for name in ("image", "text")}
    for one in evaluate_zero_shot(flat, flat).pairs.values():
        assert one.metrics == one.chance


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"image": Embedded(np.eye(3), np.arange(3))}, "of different modalities, got image and image"),
        ({}, "of different modalities, got image and none"),
        ({"text": Embedded(np.eye(3), np.arange(3) + 5)}, "no query is of a class that has a prototype"),
        ({"text": Embedded(np.eye(3), np.eye(3, dtype=np.uint8))}, "protocol zero-shot needs one class per row"),
        ({"text": Embedded(np.eye(3), None)}, "text (prototypes) has no labels"),
        ({"text": Embedded(np.eye(4), np.arange(4))}, "dimensions differ"),
    ],
)
def test_refuses_what_does_not_fit(source: dict[str, Embedded], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        evaluate_zero_shot({"image": Embedded(np.eye(3), np.arange(3))}, source)
