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
from xfeat.evaluation.embedded import Embedded
from xfeat.evaluation.instance import CUTS, evaluate_instances
from xfeat.evaluation.results import PairResult
from xfeat.evaluation.spread import SeedEvaluations

NAMES = [*(f"R@{cut}" for cut in CUTS), "MedR", "MeanR", "gmean"]


def literal(query: Embedded, gallery: Embedded, missing: str, universe: set[Any]) -> dict[str, float]:
    """Ranks one query at a time over every order of the tied items; no tie is broken."""
    q, g = (np.asarray(item.vectors, np.float64) for item in (query, gallery))
    hits: dict[int, list[float]] = {cut: [] for cut in CUTS}
    ranks = []
    absent = sorted(universe - set(query.keys)) if missing == "miss" else []
    for row, key in [*zip(q, query.keys, strict=True), *((None, key) for key in absent)]:
        relevant = np.array([own == key for own in gallery.keys])
        if row is None or not relevant.any():
            if missing == "miss":
                ranks.append(len(g) + 1.0)
                for cut in CUTS:
                    hits[cut].append(0.0)
            continue
        scores = g @ row
        levels = [np.flatnonzero(scores == level) for level in sorted(set(scores.tolist()), reverse=True)]
        orders = product(*(list(permutations(level)) for level in levels))
        own = [1 + int(np.argmax(relevant[np.concatenate(order)])) for order in orders]
        ranks.append(float(np.mean(own)))
        for cut in CUTS:
            hits[cut].append(float(np.mean([rank <= cut for rank in own])))
    recall = {f"R@{cut}": float(np.mean(values)) for cut, values in hits.items()}
    gmean = float(np.prod([recall[f"R@{cut}"] for cut in (1, 5, 10)]) ** (1 / 3))
    return {**recall, "MedR": float(np.median(ranks)), "MeanR": float(np.mean(ranks)), "gmean": gmean}


@st.composite
def paired(draw: st.DrawFn) -> dict[str, Embedded]:
    """Few rows with few directions (many ties), keys with gaps and repetitions on both sides."""
    items = {}
    for name in ("image", "text", "audio"):
        rows = draw(st.integers(1, 5))
        keys = draw(st.lists(st.sampled_from("abcdef"), min_size=rows, max_size=rows))
        signs = draw(st.lists(st.sampled_from([(1, 1), (1, -1), (-1, 1)]), min_size=rows, max_size=rows))
        items[name] = Embedded(np.array(signs, np.float64), None, keys=keys)
    # One key that all have, so that there is something to measure.
    return {
        name: Embedded(np.concatenate([item.vectors, [[1.0, 1.0]]]), None, keys=[*item.keys, "g"])
        for name, item in items.items()
    }


@pytest.mark.parametrize("missing", ["skip", "miss"])
@given(items=paired())
def test_equals_the_literal_protocol(missing: Any, items: dict[str, Embedded]) -> None:
    result = evaluate_instances(items, missing=missing, dtype=torch.float64)
    universe = {key for item in items.values() for key in item.keys}
    assert set(result.pairs) == {f"{a}->{b}" for a in items for b in items if a != b}
    for pair, one in result.pairs.items():
        query, gallery = (items[name] for name in pair.split("->"))
        assert one.metrics == pytest.approx(literal(query, gallery, missing, universe), abs=1e-9)
        without = sum(key not in gallery.keys for key in query.keys)
        lacking = len(universe - set(query.keys))
        assert (one.queries, one.gallery, one.without_relevant) == (len(query.keys), len(gallery.keys), without)
        assert one.missed == (without + lacking if missing == "miss" else 0)


@pytest.mark.parametrize("missing", ["skip", "miss"])
@given(items=paired(), value=st.sampled_from([0.0, 0.7]))
def test_collapsed_embeddings_are_exactly_at_chance(missing: Any, items: dict[str, Embedded], value: float) -> None:
    flat = {name: Embedded(np.full((len(item.keys), 33), value), None, keys=item.keys) for name, item in items.items()}
    for one in evaluate_instances(flat, missing=missing).pairs.values():
        assert one.metrics == one.chance


def test_chance_of_one_to_one_pairs() -> None:
    rng = np.random.default_rng(0)
    items = {name: Embedded(rng.normal(size=(200, 4)), None, keys=range(200)) for name in ("image", "text")}
    chance = evaluate_instances(items).pairs["image->text"].chance
    expected = {"R@1": 1 / 200, "R@5": 5 / 200, "R@10": 10 / 200, "R@50": 50 / 200, "MedR": 100.5, "MeanR": 100.5}
    assert {name: chance[name] for name in expected} == pytest.approx(expected)
    assert chance["gmean"] == pytest.approx((50 / 200**3) ** (1 / 3))


@given(seed=st.integers(0, 999))
def test_the_order_of_rows_and_the_names_of_keys_play_no_part(seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = {
        name: Embedded(rng.choice([-0.5, 0.5], size=(20, 4)), None, keys=rng.integers(15, size=20))
        for name in ("image", "text")
    }
    moved = {}
    for name, item in items.items():
        order = rng.permutation(20)
        moved[name] = Embedded(item.vectors[order], None, keys=[f"k{item.keys[row]}" for row in order])
    for missing in ("skip", "miss"):
        before, after = (evaluate_instances(some, missing=missing) for some in (items, moved))
        for pair, one in before.pairs.items():
            assert after.pairs[pair].numbers() == pytest.approx(one.numbers(), abs=1e-12)


def test_a_duplicate_of_the_whole_gallery_of_the_same_keys_changes_recall_as_ties_do() -> None:
    """Captions written twice: of the best rank two items share the place."""
    vectors, keys = np.eye(6), list("abcdef")
    twice = Embedded(np.concatenate([vectors, vectors]), None, keys=keys * 2)
    one = evaluate_instances({"image": Embedded(vectors, None, keys=keys), "text": twice})
    assert one.pairs["image->text"].metrics == dict.fromkeys(NAMES, 1.0)
    assert one.pairs["text->image"].metrics == dict.fromkeys(NAMES, 1.0)
    assert one.pairs["text->image"].queries == 12
    # A duplicate of another key ties with the right one: half the time it comes first.
    other = Embedded(np.concatenate([vectors, vectors]), None, keys=[*keys, *"ghijkl"])
    halved = evaluate_instances({"image": Embedded(vectors, None, keys=keys), "text": other}).pairs["image->text"]
    assert (halved.metrics["R@1"], halved.metrics["MedR"]) == (0.5, 1.5)


def test_keys_may_be_numbers_of_any_kind_of_array() -> None:
    vectors = np.eye(3)
    kinds: list[Any] = [[4, 5, 6], np.array([4, 5, 6]), torch.tensor([4, 5, 6]), ("4", "5", "6")]
    results = [
        evaluate_instances({"a": Embedded(vectors, None, keys=keys), "b": Embedded(vectors[::-1], None, keys=keys)})
        for keys in kinds
    ]
    assert [one.pairs for one in results] == [results[0].pairs] * 4
    assert results[0].pairs["a->b"].metrics["R@1"] == pytest.approx(1 / 3)


def test_json_names_the_protocol_and_the_rule_of_missing_items() -> None:
    items = {
        "image": Embedded(np.eye(3), None, keys=["a", "b", "c"]),
        "text": Embedded(np.eye(3)[:2], None, keys=["a", "x"]),
    }
    document = json.loads(json.dumps(evaluate_instances(items, missing="miss").to_json(), allow_nan=False))
    assert list(document) == ["protocol", "seconds", "pairs", "mean"]
    assert document["protocol"]["name"] == "instance"
    assert document["protocol"]["missing"] == "miss"
    assert "rank gallery + 1" in document["protocol"]["missing_means"]
    counts = ["queries", "gallery", "without_relevant", "missed"]
    assert list(document["pairs"]["image->text"]) == [*NAMES, *(f"chance {name}" for name in NAMES), *counts]
    assert [document["pairs"]["image->text"][name] for name in counts] == [3, 2, 2, 3]
    assert [document["pairs"]["text->image"][name] for name in counts] == [2, 3, 1, 3]
    assert document["pairs"]["image->text"]["MeanR"] == (1 + 3 * 3) / 4
    assert document["pairs"]["text->image"]["R@1"] == 1 / 4
    for name, value in document["mean"].items():
        assert value == pytest.approx(np.mean([one[name] for one in document["pairs"].values()]))


def test_a_pair_without_shared_keys_is_no_number_when_skipped_and_a_zero_when_missed() -> None:
    items = {
        name: Embedded(np.eye(2), None, keys=keys)
        for name, keys in (("a", "xy"), ("b", "xy"), ("c", "zy"), ("d", "zz"))
    }
    skipped = evaluate_instances(items).to_json()
    assert skipped["pairs"]["a->d"]["R@1"] is None
    assert "a->d" not in [pair for pair, one in skipped["pairs"].items() if one["R@1"] is not None]
    missed = evaluate_instances(items, missing="miss").to_json()
    assert missed["pairs"]["a->d"]["R@1"] == missed["pairs"]["a->d"]["chance R@1"] == 0
    assert missed["pairs"]["a->d"]["MeanR"] == 3


def test_seeds_come_together_with_their_misses() -> None:
    keys = {"image": [*"abcd"], "text": [*"abce"]}
    members = {
        seed: evaluate_instances(
            {
                name: Embedded(np.random.default_rng([seed, len(name)]).normal(size=(4, 3)), None, keys=own)
                for name, own in keys.items()
            },
            missing="miss",
        )
        for seed in (0, 1, 2)
    }
    document = json.loads(json.dumps(SeedEvaluations(members).to_json(), allow_nan=False))
    pair = document["pairs"]["image->text"]
    values = [one.pairs["image->text"].metrics["MeanR"] for one in members.values()]
    assert pair["MeanR"] == pytest.approx(np.mean(values))
    assert document["spread"]["pairs"]["image->text"]["MeanR"] == pytest.approx(np.std(values, ddof=1))
    assert (pair["queries"], pair["missed"]) == (4, 2)
    skipped = evaluate_instances({name: Embedded(np.eye(4), None, keys=own) for name, own in keys.items()})
    with pytest.raises(InputError, match="not evaluated on the same rows"):
        SeedEvaluations({**members, 3: skipped})


def test_a_result_whose_every_query_is_missed_is_measured() -> None:
    numbers: dict[str, float] = {"R@1": 0.0}
    assert PairResult(numbers, numbers, 2, 2, 2, 3).measured
    assert not PairResult(numbers, numbers, 2, 2, 2, 0).measured


def item(keys: Any, rows: int = 3) -> Embedded:
    return Embedded(np.eye(rows, 3), None, keys=keys)


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (item(None), {}, "text has no instance keys"),
        (item("ab"), {}, "text has 3 embeddings but 2 instance keys"),
        (item("xyz"), {}, "no two modalities share an instance key"),
        (item("xyz"), {"missing": "miss"}, "no two modalities share an instance key"),
        (item("abc"), {"missing": "drop"}, "unknown missing 'drop': choose skip or miss"),
        (item("abc"), {"cuts": (0,)}, "cuts must be"),
        (item("abc"), {"cuts": ()}, "cuts must be"),
        (item("abc"), {"dtype": torch.float16}, "float32 or float64"),
        (Embedded(np.eye(3, 4), None, keys="abc"), {}, "dimensions differ"),
    ],
)
def test_refuses_what_does_not_fit(text: Embedded, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        evaluate_instances({"image": item("abc"), "text": text}, **settings)


def test_one_modality_is_refused() -> None:
    with pytest.raises(InputError, match="needs two modalities or more"):
        evaluate_instances({"image": item("abc")})
