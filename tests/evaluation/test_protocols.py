import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from xfeat.errors import InputError
from xfeat.evaluation.embedded import Embedded
from xfeat.evaluation.protocols import evaluate


def literal_map(query: Embedded, gallery: Embedded, cut: int | None) -> float:
    q, g = (np.asarray(x.vectors, dtype=np.float64) for x in (query, gallery))
    scores = q @ g.T
    if query.similarity == "cosine":
        scores = scores / np.linalg.norm(q, axis=1)[:, None] / np.linalg.norm(g, axis=1)
    values = []
    for row, label in zip(scores, np.asarray(query.labels), strict=True):
        relevant = (np.asarray(gallery.labels) == label)[np.argsort(-row)]
        if relevant.any():
            within = relevant[:cut]
            precision = np.cumsum(within) / np.arange(1, len(within) + 1)
            values.append(precision[within].mean() if within.any() else 0.0)
    return float(np.mean(values))


NAMES = ["mAP@all", "mAP@50", "R@1", "R@5", "R@10", "P@50", "nDCG@all", "nDCG@50", "MedR"]
BOTH = [*NAMES, *(f"chance {name}" for name in NAMES)]


@pytest.fixture
def three() -> dict[str, Embedded]:
    rng = np.random.default_rng(0)
    sizes = {"image": 70, "text": 110, "audio": 40}
    labels = {name: rng.integers(6, size=n) for name, n in sizes.items()}
    labels["text"][:3] = 99  # a class that no other modality has
    return {
        name: Embedded(rng.normal(size=(n, 8)) + np.eye(100)[labels[name], :8], labels[name])
        for name, n in sizes.items()
    }


def test_every_ordered_pair_equals_the_literal_formula(three: dict[str, Embedded]) -> None:
    result = evaluate(three)
    assert set(result.pairs) == {f"{a}->{b}" for a in three for b in three if a != b}
    for pair, numbers in result.pairs.items():
        query, gallery = (three[name] for name in pair.split("->"))
        assert numbers.metrics["mAP@all"] == pytest.approx(literal_map(query, gallery, None), rel=1e-6)
        assert numbers.metrics["mAP@50"] == pytest.approx(literal_map(query, gallery, 50), rel=1e-6)
        assert (numbers.queries, numbers.gallery) == (len(query.vectors), len(gallery.vectors))
        assert numbers.without_relevant == (3 if pair.startswith("text") else 0)
    for name in NAMES:
        assert result.mean[name] == pytest.approx(np.mean([p.metrics[name] for p in result.pairs.values()]))


def test_inner_products_equal_the_literal_formula_and_long_rows_win(three: dict[str, Embedded]) -> None:
    items = {name: replace(item, similarity="inner product") for name, item in three.items()}
    result, by_cosine = evaluate(items), evaluate(three)
    assert result.protocol["similarity"] == "inner product"
    for pair, numbers in result.pairs.items():
        query, gallery = (items[name] for name in pair.split("->"))
        for name, cut in (("mAP@all", None), ("mAP@50", 50)):
            assert numbers.metrics[name] == pytest.approx(literal_map(query, gallery, cut), rel=1e-6)
        assert numbers.metrics != by_cosine.pairs[pair].metrics
    # A factor of all rows of a modality changes nothing; one of a single row does.
    scaled = {name: replace(item, vectors=1e-3 * np.asarray(item.vectors)) for name, item in items.items()}
    for pair, numbers in evaluate(scaled).pairs.items():
        assert numbers.metrics == pytest.approx(dict(result.pairs[pair].metrics), rel=1e-6)
    vectors = np.array(items["text"].vectors)
    vectors[0] *= 100
    longer = evaluate({**items, "text": replace(items["text"], vectors=vectors)})
    assert longer.pairs["image->text"].metrics != result.pairs["image->text"].metrics


def test_embeddings_for_different_similarities_are_not_compared(three: dict[str, Embedded]) -> None:
    mixed = {**three, "text": replace(three["text"], similarity="inner product")}
    message = r"image by cosine, text by inner product, audio by cosine\): train their branches alike"
    with pytest.raises(InputError, match=message):
        evaluate(mixed)


def test_json_has_the_agreed_shape(three: dict[str, Embedded]) -> None:
    report: dict[str, Any] = json.loads(json.dumps(evaluate(three).to_json(), allow_nan=False))
    assert list(report) == ["protocol", "seconds", "pairs", "mean"]
    assert list(report["mean"]) == BOTH
    assert list(report["pairs"]["image->text"]) == [*BOTH, "queries", "gallery", "without_relevant"]
    assert report["seconds"] > 0
    assert report["protocol"] == {
        "name": "category",
        "relevance": "same class",
        "relevance_rule": "same-class",
        "similarity": "cosine",
        "ties": "expected value under a uniformly random order",
        "denominator": "hits",
        "cuts": ["all", 50],
        "recall": "probability that a relevant item is among the first K (hit rate, success)",
        "recall_cuts": [1, 5, 10],
        "precision": "relevant items within K over K, however small the gallery",
        "precision_cuts": [50],
        "gain": "1 where relevant",
        "discount": "1/log2(rank + 1)",
        "within": False,
        "dtype": "float32",
    }


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_collapsed_embeddings_are_at_chance(value: float) -> None:
    labels = np.arange(57) % 5
    result = evaluate({name: Embedded(np.full((57, 33), value), labels) for name in ("image", "text")}, within=True)
    for pair in result.pairs.values():
        for name, reached in pair.metrics.items():
            assert reached == pytest.approx(pair.chance[name], abs=1e-12)


def test_multi_label_with_one_class_each_equals_category(three: dict[str, Embedded]) -> None:
    multi = {name: Embedded(x.vectors, np.eye(100, dtype=np.uint8)[x.labels]) for name, x in three.items()}
    for pair, one in evaluate(multi, "multi-label").pairs.items():
        other = evaluate(three).pairs[pair]
        assert one.numbers() == pytest.approx(other.numbers(), abs=1e-12)
        assert one.counts == other.counts


def test_multi_label_counts_any_shared_class_as_relevant() -> None:
    image = Embedded(torch.tensor([[1.0, 0.0]]), torch.tensor([[1, 1, 0]], dtype=torch.uint8))
    text = Embedded(
        torch.tensor([[1.0, 0.1], [1.0, 0.2], [1.0, 0.3]]),
        torch.tensor([[0, 1, 1], [0, 0, 1], [1, 0, 0]], dtype=torch.uint8),
    )
    result = evaluate({"image": image, "text": text}, "multi-label").pairs
    assert result["image->text"].metrics["mAP@all"] == pytest.approx((1 + 2 / 3) / 2)
    assert result["text->image"].without_relevant == 1


def literal_multi_map(query: Embedded, gallery: Embedded, least: int) -> float:
    """mAP@all where relevant means at least so many classes in common."""
    scores = torch.nn.functional.normalize(query.vectors) @ torch.nn.functional.normalize(gallery.vectors).T
    values = []
    for row, label in zip(scores, query.labels, strict=True):
        relevant = [int((label & gallery.labels[i]).sum()) >= least for i in row.argsort(descending=True)]
        places = [place for place, is_relevant in enumerate(relevant, 1) if is_relevant]
        if places:
            values.append(np.mean([hit / place for hit, place in enumerate(places, 1)]))
    return float(np.mean(values))


@pytest.mark.parametrize(("word", "least"), [("any", 1), ("at-least:1", 1), ("at-least:2", 2), ("at-least:3", 3)])
def test_a_rule_of_relevance_changes_the_numbers(word: str, least: int) -> None:
    generator = torch.Generator().manual_seed(5)
    items = {
        name: Embedded(
            torch.randn(n, 5, generator=generator, dtype=torch.float64),
            (torch.rand(n, 6, generator=generator) < 0.4).byte().index_fill_(1, torch.tensor([0]), 1),
        )
        for name, n in (("image", 30), ("text", 40))
    }
    result = evaluate(items, "multi-label", relevance=word, dtype=torch.float64)
    assert result.protocol["relevance_rule"] == word
    for pair, one in result.pairs.items():
        query, gallery = (items[name] for name in pair.split("->"))
        assert one.metrics["mAP@all"] == pytest.approx(literal_multi_map(query, gallery, least))


@pytest.mark.parametrize(("gain", "worth"), [("exponential", [0, 1, 3, 7, 15, 31, 63]), ("linear", range(7))])
@pytest.mark.parametrize("relevance", ["any", "exact"])
def test_gains_are_by_classes_shared_whatever_is_relevant(gain: Any, worth: Any, relevance: str) -> None:
    rng = np.random.default_rng(0)
    labels = {name: rng.random((n, 6)) < 0.4 for name, n in (("image", 30), ("text", 41))}
    for own in labels.values():
        own[:, 0] = True
    items = {name: Embedded(rng.normal(size=(len(own), 5)), own.astype(np.uint8)) for name, own in labels.items()}
    result = evaluate(items, "multi-label", (None, 7), relevance=relevance, gain=gain, within=True)
    assert result.protocol["gain"] == {"exponential": "2^g - 1, g classes shared", "linear": "g, classes shared"}[gain]
    for pair, one in result.pairs.items():
        query, gallery = pair.split("->")
        shared = labels[query].astype(int) @ labels[gallery].T.astype(int)
        scores = np.array(items[query].vectors) @ np.array(items[gallery].vectors).T
        scores /= np.linalg.norm(items[gallery].vectors, axis=1)
        same = (labels[query][:, None] == labels[gallery]).all(2) if relevance == "exact" else shared > 0
        gains = np.array(worth)[shared]
        if query == gallery:
            for table in (gains, same):
                np.fill_diagonal(table, 0)
            np.fill_diagonal(scores, -np.inf)
        for name, cut in (("nDCG@all", None), ("nDCG@7", 7)):
            ranked = np.take_along_axis(gains, np.argsort(-scores, axis=1), 1)[:, :cut]
            best = -np.sort(-gains, axis=1)[:, :cut]
            discount = 1 / np.log2(np.arange(2, 2 + ranked.shape[1]))
            expected = (ranked @ discount)[same.any(1)] / (best @ discount)[same.any(1)]
            assert one.metrics[name] == pytest.approx(expected.mean(), abs=1e-6)
            assert one.by_query[name].isnan().numpy().tolist() == (~same.any(1)).tolist()


def test_a_pair_without_any_relevant_item_is_no_number_and_not_in_the_mean() -> None:
    """Audio shares classes with text alone."""
    labels = {"image": [0, 1], "text": [1, 2], "audio": [2, 3]}
    vectors = torch.eye(4)[[0, 1]]
    result = evaluate({name: Embedded(vectors, torch.tensor(own)) for name, own in labels.items()})
    assert {pair for pair, one in result.pairs.items() if not one.measured} == {"image->audio", "audio->image"}
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert document["pairs"]["image->audio"] == {
        **dict.fromkeys(BOTH),
        "queries": 2,
        "gallery": 2,
        "without_relevant": 2,
    }
    measured = [one for pair, one in document["pairs"].items() if {"image", "audio"} != set(pair.split("->"))]
    assert len(measured) == 4
    for name, mean in document["mean"].items():
        assert mean == pytest.approx(np.mean([one[name] for one in measured]))


def test_within_adds_pairs_that_stay_out_of_the_mean(three: dict[str, Embedded]) -> None:
    across, both = evaluate(three), evaluate(three, within=True)
    assert len(both.pairs) == 9
    assert both.pairs["image->image"].gallery == 69
    assert both.mean == across.mean


def test_float64_agrees_with_float32(three: dict[str, Embedded]) -> None:
    single, double = evaluate(three), evaluate(three, dtype=torch.float64)
    assert double.mean == pytest.approx(single.mean, rel=1e-6)
    assert double.protocol["dtype"] == "float64"


def item(rows: int = 4, dims: int = 3, labels: Any = None) -> Embedded:
    return Embedded(np.ones((rows, dims), np.float32), np.zeros(rows, np.int64) if labels is None else labels)


def with_bad_row(value: float) -> Embedded:
    vectors = np.ones((4, 3), np.float32)
    vectors[2, 1] = value
    return Embedded(vectors, np.zeros(4, np.int64))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (item(dims=5), "dimensions differ (image 3, text 5)"),
        (with_bad_row(np.nan), "text: embedding not finite at row 2"),
        (with_bad_row(np.inf), "text: embedding not finite at row 2"),
        (item(labels=np.array([0, -1, 0, -1])), "text: no class (label below 0) at row 1 and 1 more"),
        (item(labels=np.ones((4, 2), np.uint8)), "use protocol multi-label"),
        (item(labels=np.zeros(3, np.int64)), "4 embeddings but labels of shape (3,)"),
        (item(labels=np.zeros(4)), "labels of text must be integers"),
        (item(labels=np.array(list("abcd"))), "labels of text are not an array of numbers"),
        (item(labels=np.full(4, 7)), "image->text: no query has a relevant item"),
        (item(rows=0), "embeddings of text must be (rows, dims)"),
    ],
)
def test_category_refuses_what_does_not_fit(text: Embedded, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        evaluate({"image": item(), "text": text})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(4, np.int64), "use protocol category"),
        (np.array([[1, 0], [0, 1], [0, 0], [1, 1]], np.uint8), "text: no class at row 2"),
        (np.array([[1, 0], [0, 1], [0, 2], [1, 1]], np.uint8), "text: multi-hot label other than 0 or 1 at row 2"),
        (np.ones((4, 3), np.uint8), "numbers of classes differ (image 2, text 3)"),
    ],
)
def test_multi_label_refuses_what_does_not_fit(labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        evaluate({"image": item(labels=np.ones((4, 2), np.uint8)), "text": item(labels=labels)}, "multi-label")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"protocol": "instances"}, "unknown protocol instances"),
        ({"relevance": "most"}, "unknown relevance 'most'"),
        ({"denominator": "k"}, "unknown denominator k"),
        ({"gain": "cubic"}, "unknown gain cubic: choose exponential or linear"),
        ({"cuts": ()}, "cuts must be"),
        ({"cuts": (0,)}, "cuts must be"),
        ({"cuts": (5, 5)}, "cuts must be"),
        ({"dtype": torch.float16}, "float32 or float64"),
    ],
)
def test_refuses_unknown_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate({"image": item(), "text": item()}, **settings)


def test_one_modality_is_refused() -> None:
    with pytest.raises(InputError, match="needs two modalities or more, got image"):
        evaluate({"image": item()})


def test_a_single_item_within_is_refused() -> None:
    with pytest.raises(InputError, match="image->image: a single item"):
        evaluate({"image": item(rows=1), "text": item()}, within=True)


def test_read_only_arrays_are_accepted(three: dict[str, Embedded]) -> None:
    for embedded in three.values():
        for array in (embedded.vectors, embedded.labels):
            assert isinstance(array, np.ndarray)
            array.flags.writeable = False
    assert evaluate(three).mean["mAP@all"] > evaluate(three).mean["chance mAP@all"]


def test_gains_beyond_float32_are_refused() -> None:
    def hot(classes: int) -> dict[str, Embedded]:
        return {name: Embedded(np.eye(2), np.ones((2, classes), dtype=np.int64)) for name in "ab"}

    assert evaluate(hot(127), "multi-label").mean["nDCG@all"] == 1
    assert evaluate(hot(128), "multi-label", gain="linear").mean["nDCG@all"] == 1
    with pytest.raises(InputError, match=r"may share 128 classes, more than the 127 .* choose gain linear"):
        evaluate(hot(128), "multi-label")
    wide = {"a": hot(128)["a"], "b": Embedded(np.eye(2), np.eye(2, 128, dtype=np.int64))}
    assert evaluate(wide, "multi-label").mean["nDCG@all"] == 1
    with pytest.raises(InputError, match="may share 128 classes"):
        evaluate(wide, "multi-label", within=True)
