"""One query at a time over every order of the tied items is the oracle."""

import json
import re
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.errors import InputError
from xfeat.evaluation import unseen as module
from xfeat.evaluation.embedded import Embedded
from xfeat.evaluation.unseen import evaluate_unseen

NAMES = ["mAP@all", "mAP@200", "P@100", "P@200"]


def of_ranking(relevant: np.ndarray, cut: int, places: list[int]) -> list[float]:
    hits = 1 + np.flatnonzero(relevant)
    precisions = np.arange(1, len(hits) + 1) / hits
    within = precisions[hits <= cut]
    at_cut = float(within.mean()) if len(within) else 0.0
    return [float(precisions.mean()), at_cut, *(float(relevant[:k].sum()) / k for k in places)]


def over_orders(scores: np.ndarray, relevant: np.ndarray, cut: int, places: list[int]) -> np.ndarray:
    levels = [np.flatnonzero(scores == level) for level in sorted(set(scores.tolist()), reverse=True)]
    orders = product(*(list(permutations(level)) for level in levels))
    return np.mean([of_ranking(relevant[np.concatenate(order)], cut, places) for order in orders], axis=0)


@st.composite
def sketches(draw: st.DrawFn) -> dict[str, Embedded]:
    """Few rows with few directions (many ties) of classes 0 to 3."""
    items = {}
    for name in ("sketch", "photo"):
        rows = draw(st.integers(1, 5))
        labels = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
        signs = draw(st.lists(st.sampled_from([(1, 1), (1, -1), (-1, 1)]), min_size=rows, max_size=rows))
        items[name] = Embedded(np.array([*signs, (1, 1)], np.float64), np.array([*labels, 2]))
    return items


@pytest.mark.parametrize("gallery", ["unseen", "all"])
@given(items=sketches())
def test_equals_the_literal_protocol_at_small_cuts(gallery: Any, items: dict[str, Embedded]) -> None:
    """With 200 as 2 and 100 as 3, so that cuts fall inside ties and beyond small galleries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CUTS", (None, 2))
        patch.setattr(module, "PRECISION_CUTS", (3, 2))
        result = evaluate_unseen(items, [2, 3], gallery=gallery, dtype=torch.float64)
    for pair, one in result.pairs.items():
        query, other = (items[name] for name in pair.split("->"))
        ranked = np.isin(other.labels, [2, 3]) if gallery == "unseen" else np.ones(len(other.labels), dtype=bool)
        found, chance, without = [], [], 0
        asked = np.flatnonzero(np.isin(query.labels, [2, 3]))
        for row in asked:
            relevant = other.labels[ranked] == query.labels[row]
            if not relevant.any():
                without += 1
                continue
            found.append(over_orders(other.vectors[ranked] @ query.vectors[row], relevant, 2, [3, 2]))
            chance.append(over_orders(np.zeros(ranked.sum()), relevant, 2, [3, 2]))
        np.testing.assert_allclose(list(one.metrics.values()), np.mean(found, axis=0), atol=1e-12)
        np.testing.assert_allclose(list(one.chance.values()), np.mean(chance, axis=0), atol=1e-12)
        assert (one.queries, one.gallery, one.without_relevant) == (len(asked), ranked.sum(), without)


def photos(seed: int, rows: int = 700) -> dict[str, Embedded]:
    rng = np.random.default_rng(seed)
    return {
        name: Embedded(rng.normal(size=(rows, 6)), rng.integers(5, size=rows), ids=None) for name in ("sketch", "photo")
    }


def test_equals_an_argsort_without_ties() -> None:
    items = photos(0)
    result = evaluate_unseen(items, [1, 4], gallery="all", dtype=torch.float64).pairs["sketch->photo"]
    q, g = (item.vectors / np.linalg.norm(item.vectors, axis=1, keepdims=True) for item in items.values())
    values = []
    for row in np.flatnonzero(np.isin(items["sketch"].labels, [1, 4])):
        relevant = (items["photo"].labels == items["sketch"].labels[row])[np.argsort(-(g @ q[row]))]
        values.append(of_ranking(relevant, 200, [100, 200]))
    assert list(result.metrics) == NAMES
    np.testing.assert_allclose(list(result.metrics.values()), np.mean(values, axis=0), atol=1e-12)


@pytest.mark.parametrize("gallery", ["unseen", "all"])
def test_collapsed_embeddings_are_at_chance(gallery: Any) -> None:
    flat = {name: Embedded(np.ones((700, 9)), item.labels) for name, item in photos(1).items()}
    result = evaluate_unseen(flat, [0, 2], gallery=gallery)
    for one in result.pairs.values():
        assert one.metrics == pytest.approx(one.chance, abs=1e-12)


def test_precision_divides_by_the_cut_even_where_the_gallery_is_smaller() -> None:
    labels = np.array([0, 0, 1])
    items = {name: Embedded(np.eye(3)[labels], labels) for name in ("sketch", "photo")}
    one = evaluate_unseen(items, [0]).pairs["sketch->photo"]
    assert one.gallery == 2
    assert one.metrics == {"mAP@all": 1.0, "mAP@200": 1.0, "P@100": 2 / 100, "P@200": 2 / 200}
    assert one.chance == pytest.approx(one.metrics)


def test_seen_classes_are_distractors_or_not_there() -> None:
    """The same perfect order of the unseen; a seen item stands before them."""
    labels = np.array([7, 0, 0])
    gallery = Embedded(np.array([[1.0, 0.0], [0.9, 0.1], [0.8, 0.2]]), labels)
    items = {"sketch": Embedded(np.array([[1.0, 0.0]]), np.array([0])), "photo": gallery}
    alone, among = (evaluate_unseen(items, [0], gallery=word).pairs["sketch->photo"] for word in ("unseen", "all"))
    assert (alone.metrics["mAP@all"], alone.gallery) == (1.0, 2)
    assert among.metrics["mAP@all"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert among.gallery == 3


@given(seed=st.integers(0, 999))
def test_the_order_of_rows_plays_no_part(seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = {n: Embedded(rng.choice([-0.5, 0.5], size=(20, 4)), rng.integers(4, size=20)) for n in ("sketch", "photo")}
    moved = {}
    for name, item in items.items():
        order = rng.permutation(20)
        moved[name] = Embedded(item.vectors[order], item.labels[order])
    before, after = (evaluate_unseen(some, [1, 2], gallery="all") for some in (items, moved))
    for pair, one in before.pairs.items():
        assert after.pairs[pair].numbers() == pytest.approx(one.numbers(), abs=1e-12)


def test_json_names_the_gallery_and_the_denominators() -> None:
    document = json.loads(json.dumps(evaluate_unseen(photos(2), [3], gallery="all").to_json(), allow_nan=False))
    stated = document["protocol"]
    assert (stated["name"], stated["gallery_classes"], stated["denominator"]) == ("zero-shot-retrieval", "all", "hits")
    assert "distractors" in stated["gallery_means"]
    assert stated["precision"] == "relevant items within K over K, however small the gallery"
    counts = ["queries", "gallery", "without_relevant"]
    assert list(document["pairs"]["photo->sketch"]) == [*NAMES, *(f"chance {name}" for name in NAMES), *counts]


def test_a_modality_without_rows_of_unseen_classes_has_no_numbers() -> None:
    items = photos(0, 60)
    items["text"] = Embedded(np.ones((4, 6)), np.array([0, 0, 1, 1]))
    for gallery, ranked in (("unseen", 0), ("all", 4)):
        document = evaluate_unseen(items, [3], gallery=gallery).to_json()
        asked = int((items["sketch"].labels == 3).sum())
        pair = document["pairs"]["sketch->text"]
        assert (pair["mAP@all"], pair["queries"], pair["gallery"], pair["without_relevant"]) == (
            None,
            asked,
            ranked,
            asked,
        )
        assert (document["pairs"]["text->photo"]["P@100"], document["pairs"]["text->photo"]["queries"]) == (None, 0)
        assert document["mean"]["mAP@all"] > 0


@pytest.mark.parametrize(
    ("other", "settings", "message"),
    [
        (Embedded(np.eye(3), np.array([0, 1, 1])), {}, "no query of an unseen class has an item of its class"),
        (Embedded(np.eye(3), np.eye(3, dtype=np.int64)), {}, "protocol zero-shot-retrieval needs one class per row"),
        (Embedded(np.eye(3), np.array([0, 1, 2])), {"gallery": "seen"}, "unknown gallery classes 'seen'"),
        (Embedded(np.eye(3), np.array([0, 1, 2])), {"denominator": "all"}, "unknown denominator all"),
        (Embedded(np.eye(3), np.array([0, 1, 2])), {"dtype": torch.float16}, "float32 or float64"),
        (Embedded(np.eye(3, 4), np.array([0, 1, 2])), {}, "dimensions differ"),
    ],
)
def test_refuses_what_does_not_fit(other: Embedded, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        evaluate_unseen({"sketch": Embedded(np.eye(3), np.array([0, 1, 2])), "photo": other}, [2], **settings)
