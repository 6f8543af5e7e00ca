"""One query at a time over every order of the tied items is the oracle."""

import json
import re
from dataclasses import replace
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.errors import InputError
from xfeat.evaluation.embedded import Embedded
from xfeat.evaluation.reid import CUTS, evaluate_reid
from xfeat.evaluation.spread import SeedEvaluations
from xfeat.evaluation.trials import draw

NAMES = [*(f"CMC@{cut}" for cut in CUTS), "mAP@all", "mINP"]


def of_ranking(relevant: np.ndarray) -> dict[str, float]:
    places = 1 + np.flatnonzero(relevant)
    cmc = {f"CMC@{cut}": float(places[0] <= cut) for cut in CUTS}
    precision = float(np.mean(np.arange(1, len(places) + 1) / places))
    return {**cmc, "mAP@all": precision, "mINP": len(places) / places[-1]}


def over_orders(scores: np.ndarray, relevant: np.ndarray) -> dict[str, float]:
    levels = [np.flatnonzero(scores == level) for level in sorted(set(scores.tolist()), reverse=True)]
    orders = product(*(list(permutations(level)) for level in levels))
    values = [of_ranking(relevant[np.concatenate(order)]) for order in orders]
    return {name: float(np.mean([one[name] for one in values])) for name in NAMES}


def literal(query: Embedded, gallery: Embedded) -> tuple[dict[str, float], dict[str, float], int, int]:
    """Metrics, chance, queries without a relevant item, pairs that were left out."""
    q, g = (np.asarray(item.vectors, np.float64) for item in (query, gallery))
    found, chance, without, excluded = [], [], 0, 0
    for row in range(len(q)):
        own = query.cameras[row] if query.cameras else ""
        kept = []
        for other in range(len(g)):
            same = gallery.labels[other] == query.labels[row]
            if same and gallery.cameras and own and gallery.cameras[other] == own:
                excluded += 1
            else:
                kept.append(other)
        relevant = np.array([gallery.labels[other] == query.labels[row] for other in kept], dtype=bool)
        if not relevant.any():
            without += 1
            continue
        found.append(over_orders(g[kept] @ q[row], relevant))
        chance.append(over_orders(np.zeros(len(kept)), relevant))
    means = [{name: float(np.mean([one[name] for one in some])) for name in NAMES} for some in (found, chance)]
    return means[0], means[1], without, excluded


@st.composite
def people(draw_from: st.DrawFn) -> dict[str, Embedded]:
    """Few rows with few directions (many ties), few identities and cameras, some cameras unknown."""
    items = {}
    for name in ("visible", "infrared"):
        rows = draw_from(st.integers(1, 5))
        labels = draw_from(st.lists(st.integers(0, 2), min_size=rows, max_size=rows))
        cameras = draw_from(st.lists(st.sampled_from(["", "c1", "c2"]), min_size=rows, max_size=rows))
        signs = draw_from(st.lists(st.sampled_from([(1, 1), (1, -1), (-1, 1)]), min_size=rows, max_size=rows))
        # One identity that every camera of both saw, so that there is something to measure.
        items[name] = Embedded(
            np.array([*signs, (1, 1)], np.float64), np.array([*labels, 3]), cameras=[*cameras, f"only {name}"]
        )
    return items


@given(items=people(), memory=st.sampled_from([1, 1 << 20]))
def test_equals_the_literal_protocol(items: dict[str, Embedded], memory: int) -> None:
    result = evaluate_reid(items, dtype=torch.float64, memory=memory)
    assert list(result.pairs) == ["visible->infrared", "infrared->visible"]
    for pair, one in result.pairs.items():
        query, gallery = (items[name] for name in pair.split("->"))
        metrics, chance, without, excluded = literal(query, gallery)
        assert one.metrics == pytest.approx(metrics, abs=1e-12)
        assert one.chance == pytest.approx(chance, abs=1e-12)
        assert (one.queries, one.gallery) == (len(query.labels), len(gallery.labels))
        assert (one.without_relevant, one.excluded) == (without, excluded)


@given(items=people(), value=st.sampled_from([0.0, 0.7]))
def test_collapsed_embeddings_are_at_chance(items: dict[str, Embedded], value: float) -> None:
    flat = {name: replace(item, vectors=np.full((len(item.labels), 33), value)) for name, item in items.items()}
    for one in evaluate_reid(flat).pairs.values():
        assert one.metrics == pytest.approx(one.chance, abs=1e-12)


def crowd(seed: int, identities: int = 6, *, cameras: bool = True) -> dict[str, Embedded]:
    """Rows of +-1/2, whose scores know no rounding and tie; several of every identity and camera."""
    rng = np.random.default_rng(seed)
    items = {}
    for name in ("visible", "infrared"):
        rows = identities * 6
        own = [f"c{row % 3}" for row in range(rows)] if cameras else None
        vectors = rng.choice([-0.5, 0.5], size=(rows, 4))
        labels = np.arange(rows) // 6
        items[name] = Embedded(vectors, labels, cameras=own, ids=[f"{name}/{row}" for row in range(rows)])
    return items


def moved(item: Embedded, order: np.ndarray) -> Embedded:
    cameras = None if item.cameras is None else [item.cameras[row] for row in order]
    ids = [item.ids[row] for row in order]
    return replace(item, vectors=item.vectors[order], labels=item.labels[order] * 7 + 1, cameras=cameras, ids=ids)


@pytest.mark.parametrize("shots", [None, 1, 2])
@given(seed=st.integers(0, 999))
def test_the_order_of_rows_and_the_numbers_of_identities_play_no_part(shots: int | None, seed: int) -> None:
    items, rng = crowd(seed), np.random.default_rng(seed)
    other = {name: moved(item, rng.permutation(len(item.labels))) for name, item in items.items()}
    before, after = (evaluate_reid(some, shots=shots, trials=2 if shots else None) for some in (items, other))
    for pair, one in before.pairs.items():
        assert after.pairs[pair].numbers() == pytest.approx(one.numbers(), abs=1e-12)
        assert after.pairs[pair].counts == one.counts


@pytest.mark.parametrize("cameras", [True, False])
def test_trials_equal_galleries_drawn_by_hand(cameras: bool) -> None:
    items = crowd(3, cameras=cameras)
    result = evaluate_reid(items, shots=1, trials=4)
    for pair, one in result.pairs.items():
        query, gallery = pair.split("->")
        item, values = items[gallery], []
        own = [int(name[1:]) for name in item.cameras] if cameras else [-1] * len(item.labels)
        for trial in range(4):
            kinds = torch.tensor(list(zip(item.labels.tolist(), own, strict=True)))
            rows = draw(item.ids, kinds, 1, trial).tolist()
            small = Embedded(
                item.vectors[rows], item.labels[rows], cameras=[item.cameras[row] for row in rows] if cameras else None
            )
            assert len(rows) == (18 if cameras else 6)
            values.append(evaluate_reid({query: items[query], gallery: small}).pairs[pair])
        for name in NAMES:
            every = [value.metrics[name] for value in values]
            assert one.metrics[name] == pytest.approx(np.mean(every), abs=1e-12)
            assert one.trials_spread[name] == pytest.approx(np.std(every, ddof=1), abs=1e-12)
            assert one.chance[name] == pytest.approx(values[0].chance[name], abs=1e-12)
        assert [value.counts for value in values] == [one.counts] * 4
    assert result.protocol["shots_of"] == ("identity and camera" if cameras else "identity")
    means = [np.mean([one.trials_spread["mINP"] for one in result.pairs.values()]), result.trials_spread["mINP"]]
    assert 0 < means[1] <= means[0] + 1e-12  # the mean over pairs varies less than they do


def test_as_many_shots_as_there_are_rows_are_the_whole_gallery() -> None:
    whole, all_shots = evaluate_reid(crowd(0)), evaluate_reid(crowd(0), shots=50)
    for pair, one in whole.pairs.items():
        assert all_shots.pairs[pair].numbers() == pytest.approx(one.numbers(), abs=1e-12)
        assert all_shots.pairs[pair].trials_spread == dict.fromkeys(NAMES, pytest.approx(0.0, abs=1e-12))
    assert (all_shots.protocol["gallery_shots"], all_shots.protocol["trials"]) == (50, 10)
    assert "trials" not in whole.protocol


def test_no_number_depends_on_what_its_own_camera_saw() -> None:
    """Rows of the query's identity and camera may be perfect or hopeless: they neither help nor hurt."""
    labels, cameras = np.array([0, 0, 1, 1]), ["c1", "c2", "c1", "c2"]
    query = Embedded(np.eye(2)[:1], np.array([0]), cameras=["c1"])
    results = []
    for own in ([1.0, 0.0], [-1.0, 0.0], [0.6, 0.8]):
        gallery = Embedded(np.array([own, [0.6, 0.8], [0.8, 0.6], [0.0, 1.0]]), labels, cameras=cameras)
        results.append(evaluate_reid({"a": query, "b": gallery}).pairs["a->b"])
    assert results == [results[0]] * 3
    assert results[0].metrics == {**dict.fromkeys(NAMES, 1.0), "CMC@1": 0.0, "mAP@all": 0.5, "mINP": 0.5}
    assert (results[0].gallery, results[0].excluded) == (4, 1)


def test_the_statement_says_what_was_left_out() -> None:
    with_cameras = json.loads(json.dumps(evaluate_reid(crowd(0)).to_json(), allow_nan=False))
    stated, pair = with_cameras["protocol"], with_cameras["pairs"]["visible->infrared"]
    assert (stated["name"], stated["camera_exclusion"]) == ("re-id", True)
    assert stated["excluded"] == 2 * 36 * 2 == 2 * pair["excluded"]
    assert "identity and camera are left out" in stated["cameras"]
    counts = ["queries", "gallery", "without_relevant", "excluded"]
    assert list(pair) == [*NAMES, *(f"chance {name}" for name in NAMES), *counts]
    items = crowd(0)
    for bare in (crowd(0, cameras=False), {**items, "visible": replace(items["visible"], cameras=None)}):
        result = evaluate_reid(bare)
        assert (result.protocol["camera_exclusion"], result.protocol["excluded"]) == (False, 0)
        assert "nothing is left out" in result.protocol["cameras"]
        assert {one.excluded for one in result.pairs.values()} == {0}


def test_seeds_come_together_with_their_trials() -> None:
    members = {seed: evaluate_reid(crowd(seed), shots=1, trials=3) for seed in (0, 1)}
    document = json.loads(json.dumps(SeedEvaluations(members).to_json(), allow_nan=False))
    pair = [one.pairs["infrared->visible"] for one in members.values()]
    found = document["pairs"]["infrared->visible"]
    assert found["mINP"] == pytest.approx(np.mean([one.metrics["mINP"] for one in pair]))
    assert found["trials spread"]["mINP"] == pytest.approx(np.mean([one.trials_spread["mINP"] for one in pair]))
    assert found["excluded"] == pair[0].excluded
    spread = document["spread"]["pairs"]["infrared->visible"]
    assert spread["mINP"] == pytest.approx(np.std([one.metrics["mINP"] for one in pair], ddof=1))
    assert set(spread) == {*NAMES, *(f"chance {name}" for name in NAMES)}
    trials = [one.trials_spread["CMC@1"] for one in members.values()]
    assert document["trials spread"]["CMC@1"] == pytest.approx(np.mean(trials))


def item(labels: list[int], **columns: Any) -> Embedded:
    return Embedded(np.eye(len(labels), 3), np.array(labels), **columns)


@pytest.mark.parametrize(
    ("other", "settings", "message"),
    [
        (item([3, 4, 5]), {}, "no query has an item of its identity in the gallery, nor"),
        (item([0, 1, 2], cameras="xyz"), {}, "in the gallery that another camera saw"),
        (item([0, 1, 2], cameras="xy"), {}, "infrared has 3 embeddings but 2 cameras"),
        (item([0, 1, -1]), {}, "no class (label below 0) at row 2"),
        (Embedded(np.eye(3), np.eye(3, dtype=np.int64)), {}, "protocol re-id needs one class per row"),
        (item([0, 1, 2]), {"cuts": ()}, "cuts must be"),
        (item([0, 1, 2]), {"shots": 0}, "must be a whole number of 1 or more, got 0"),
        (item([0, 1, 2]), {"shots": 1, "trials": 0}, "trials must be a whole number of 1 or more"),
        (item([0, 1, 2]), {"trials": 3}, "3 trials of the whole gallery are one"),
        (item([0, 1, 2]), {"shots": 1}, "has no different name for each row"),
        (item([0, 1, 2], ids=["a", "b", "a"]), {"shots": 1}, "infrared has no different name for each row"),
        (item([0, 1, 2]), {"dtype": torch.float16}, "float32 or float64"),
    ],
)
def test_refuses_what_does_not_fit(other: Embedded, settings: dict[str, Any], message: str) -> None:
    ids = list("abc") if other.ids else None
    with pytest.raises(InputError, match=re.escape(message)):
        evaluate_reid({"visible": item([0, 1, 2], cameras="xyz", ids=ids), "infrared": other}, **settings)
