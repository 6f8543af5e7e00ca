"""Numbers of the report against average precision written out."""

import numpy as np
import pytest
import torch

from xfeat.training.growth_report import Items, growth_report

CLASSES = ["ant", "bee", "asp"]


def some_items(seed: int, rows: int, *, multi: bool = False) -> Items:
    rng = np.random.default_rng(seed)
    hot = np.eye(3, dtype=np.uint8)[np.arange(rows) % 3]
    if multi:
        hot[::4, 2] = 1
    return Items(torch.from_numpy(rng.normal(size=(rows, 5)).astype(np.float32)), torch.from_numpy(hot))


def literal(queries: Items, gallery: Items, columns: list[int], asked: list[int], among: list[int]) -> float:
    """Mean over queries with a class in ``asked``, items with one in ``among``; relevant: shares a column."""
    found = []
    rows = [row for row in range(len(gallery.hot)) if gallery.hot[row, among].any()]
    for vector, mine in zip(queries.vectors.double(), queries.hot, strict=True):
        if not mine[asked].any():
            continue
        cosines = [float(vector @ gallery.vectors[row].double() / gallery.vectors[row].double().norm()) for row in rows]
        right = [bool((gallery.hot[row, columns] & mine[columns]).any()) for row in rows]
        ranked = [right[place] for place in np.argsort(-np.array(cosines))]
        precision = [sum(ranked[: rank + 1]) / (rank + 1) for rank in range(len(ranked)) if ranked[rank]]
        found.append(sum(precision) / len(precision))
    return sum(found) / len(found)


@pytest.mark.parametrize("multi", [False, True], ids=["single-label", "multi-label"])
def test_every_number_is_its_definition(multi: bool) -> None:
    before = {"image": some_items(0, 12, multi=multi), "text": some_items(1, 15, multi=multi)}
    after = {"image": some_items(2, 12, multi=multi), "text": some_items(3, 15, multi=multi)}
    report = growth_report(before, after, CLASSES, ["asp"])
    assert list(report["pairs"]) == ["image->text", "text->image"]
    old, new, every = [0, 1], [2], [0, 1, 2]
    for query, gallery in (("image", "text"), ("text", "image")):
        found = report["pairs"][f"{query}->{gallery}"]
        assert found["old"] == pytest.approx(
            {
                "before": literal(before[query], before[gallery], old, old, old),
                "after": literal(after[query], after[gallery], old, old, old),
                "after, among all": literal(after[query], after[gallery], every, old, every),
            }
        )
        assert found["new"] == pytest.approx({"asp": literal(after[query], after[gallery], every, new, every)})
    for key in ("before", "after", "after, among all"):
        assert report["mean"]["old"][key] == pytest.approx(
            sum(pair["old"][key] for pair in report["pairs"].values()) / 2
        )


def test_what_nobody_asks_or_answers_is_not_a_number() -> None:
    image, text = some_items(0, 12), some_items(1, 12)
    bare = Items(text.vectors[text.hot[:, 2] == 0], text.hot[text.hot[:, 2] == 0])
    report = growth_report({"image": image, "text": bare}, {"image": image, "text": bare}, CLASSES, ["asp"])
    assert report["pairs"]["image->text"]["new"] == {"asp": None}
    assert report["mean"]["new"] == {"asp": None}
    assert growth_report({"image": image}, {"image": image}, CLASSES, ["asp"])["mean"]["old"]["before"] is None
