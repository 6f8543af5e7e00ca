"""The laws of the modality gap; the measures themselves are checked in test_gap_measures.py."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xfeat.errors import InputError
from xfeat.evaluation.embedded import Embedded
from xfeat.evaluation.gap import NO_GAP, PairGap, measure_gap, sample_rows


def cloud(seed: int, rows: int = 150, dims: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dims))


def names(count: int) -> list[str]:
    return [f"row {row}" for row in range(count)]


def gap_of(one: np.ndarray, other: np.ndarray, **more: list[str]) -> PairGap:
    items = {"image": Embedded(one, None, **more), "text": Embedded(other, None, **more)}
    return measure_gap(items).pairs["image|text"]


def numbers(pair: PairGap) -> list[float]:
    return [getattr(pair, name) for name in NO_GAP]


def test_one_distribution_has_no_gap() -> None:
    pair = gap_of(cloud(1, 600), cloud(2, 300))
    assert pair.rows == (600, 300)
    assert pair.centroid_distance < 0.1
    assert pair.separability == pytest.approx(0.5, abs=0.05)
    assert pair.auc == pytest.approx(0.5, abs=0.05)
    assert pair.overlap == pytest.approx(1, abs=0.05)


def test_a_translated_copy_is_apart() -> None:
    rows = cloud(1) / 10 + np.eye(6)[0]
    pair = gap_of(rows, rows - 2 * np.eye(6)[0])
    assert pair.centroid_distance > 1.9
    assert pair.relative_distance > 5
    assert (pair.separability, pair.auc, pair.overlap) == pytest.approx((1, 1, 0))
    near = gap_of(rows, rows + np.eye(6)[1])
    assert 0 < near.centroid_distance < pair.centroid_distance


def test_partners_that_meet_are_not_separable_at_all() -> None:
    rows = cloud(1)
    pair = gap_of(rows, rows, keys=names(150))
    assert pair.centroid_distance == 0
    assert pair.separability == pytest.approx(0.5)
    assert pair.auc == pytest.approx(0.5)
    assert pair.overlap > 1


def test_collapsed_embeddings_have_no_gap() -> None:
    assert numbers(gap_of(np.ones((20, 3)), np.ones((30, 3)))) == pytest.approx(list(NO_GAP.values()))


@settings(max_examples=5)
@given(seed=st.integers(0, 99))
def test_a_rotation_and_the_order_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = {"image": cloud(seed, 60) + 0.5, "text": cloud(seed + 100, 50)}
    labels = {name: rng.integers(0, 3, len(x)) for name, x in rows.items()}
    keys = {name: [f"{row // 2 if row < 20 else ''}" for row in range(len(x))] for name, x in rows.items()}
    ids = {name: names(len(x)) for name, x in rows.items()}
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    order = {name: rng.permutation(len(x)) for name, x in rows.items()}
    plain = measure_gap(
        {name: Embedded(x, labels[name], keys=keys[name]) for name, x in rows.items()}, ids, rows=40, neighbours=5
    )
    moved = measure_gap(
        {
            name: Embedded(
                7 * x[order[name]] @ rotation, labels[name][order[name]], keys=[keys[name][i] for i in order[name]]
            )
            for name, x in rows.items()
        },
        {name: [own[i] for i in order[name]] for name, own in ids.items()},
        rows=40,
        neighbours=5,
    )
    assert numbers(moved.pairs["image|text"]) == pytest.approx(numbers(plain.pairs["image|text"]), abs=1e-6)
    assert plain.pairs["image|text"].rows == (40, 40)


@pytest.mark.parametrize("hot", [False, True])
def test_class_distributions_that_differ_are_no_gap(hot: bool) -> None:
    # Two far classes: one modality has mostly the one, the other mostly the other.
    rng = np.random.default_rng(0)
    labels = {"image": np.repeat([0, 1, 2], [180, 40, 30]), "text": np.repeat([0, 1], [40, 180])}
    centres = 3 * rng.normal(size=(3, 6))
    rows = {name: centres[own] + rng.normal(size=(len(own), 6)) for name, own in labels.items()}
    items = {name: Embedded(rows[name], np.eye(3, dtype=np.uint8)[own] if hot else own) for name, own in labels.items()}
    pair = measure_gap(items).pairs["image|text"]
    assert (pair.classes, pair.rows) == (2, (220, 220))
    assert pair.centroid_distance < 0.15
    assert pair.separability == pytest.approx(0.5, abs=0.08)
    assert pair.overlap == pytest.approx(1, abs=0.08)
    blind = measure_gap({name: Embedded(x, None) for name, x in rows.items()}).pairs["image|text"]
    assert blind.classes == 0
    assert blind.separability > 0.75
    assert blind.overlap < 0.6


def test_pairs_are_all_and_the_mean_is_over_them() -> None:
    rows = {"a": cloud(1, 30), "b": cloud(2, 30), "c": cloud(3, 30) + 9}
    gap = measure_gap({name: Embedded(torch.from_numpy(x), None) for name, x in rows.items()})
    assert list(gap.pairs) == ["a|b", "a|c", "b|c"]
    for name, value in gap.mean.items():
        assert value == pytest.approx(np.mean([getattr(one, name) for one in gap.pairs.values()]))
    document = json.loads(json.dumps(gap.to_json(), allow_nan=False))
    assert document["pairs"]["a|b"]["rows"] == [30, 30]
    assert document["protocol"]["no_gap"] == {"centroid_distance": 0, "separability": 0.5, "auc": 0.5, "overlap": 1}
    assert document["protocol"]["class_balanced"] is False


def test_what_cannot_be_measured_is_null() -> None:
    gap = measure_gap({"a": Embedded(np.ones((1, 2)), None), "b": Embedded(np.ones((3, 2)), None)})
    (pair,) = gap.to_json()["pairs"].values()
    assert math.isnan(gap.mean["separability"])
    assert (pair["separability"], pair["auc"], pair["relative_distance"]) == (None, None, None)
    assert (pair["centroid_distance"], pair["overlap"], pair["neighbours"]) == (0.0, 1.0, 1)


def test_modalities_without_a_common_class_are_said_to_be_apart() -> None:
    items = {
        name: Embedded(cloud(seed, 12), np.tile(classes, 6))
        for seed, (name, classes) in enumerate({"a": [0, 1], "b": [1, 2], "c": [2, 2]}.items())
    }
    gap = measure_gap(items)
    assert list(gap.pairs) == ["a|b", "b|c"]
    assert gap.to_json()["apart"] == ["a|c"]
    del items["b"]
    with pytest.raises(InputError, match="no two modalities share a class"):
        measure_gap(items)


def test_the_sample_is_of_whole_instances_and_of_the_same_ones() -> None:
    keys = [f"k{row // 3}" for row in range(60)]
    rows = sample_rows(names(60), keys, 30)
    chosen = {keys[row] for row in rows}
    assert sorted(rows) == [row for row in range(60) if keys[row] in chosen]
    others = sample_rows(names(20), [f"k{row}" for row in range(20)], 10)
    assert {f"k{row}" for row in others} == chosen
    assert rows[:12] == sample_rows(names(60), keys, 12)
    assert sample_rows(names(60), keys, 30, seed=1) != rows
    assert sorted(sample_rows(names(5), [""] * 5, 9)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("items", "ids", "words"),
    [
        ({"a": Embedded(cloud(1), None)}, None, "two modalities"),
        ({"a": Embedded(cloud(1), None), "b": Embedded(cloud(1, 9, 5), None)}, None, "dimensions differ"),
        ({"a": Embedded(cloud(1, 3), None), "b": Embedded(cloud(1, 3), None)}, {"a": ["1"], "b": names(3)}, "1 ids"),
        ({"a": Embedded(cloud(1, 2), np.array([0, -1])), "b": Embedded(cloud(1, 2), np.array([0, 1]))}, None, "label"),
    ],
)
def test_what_does_not_fit_is_refused(items: dict[str, Embedded], ids: dict[str, list[str]] | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        measure_gap(items, ids)
