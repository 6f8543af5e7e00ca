from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.compare.building import scored
from tests.training.building import blobs, settings
from xfeat.compare.scoring import Scored, check_same, score, units_of
from xfeat.errors import InputError
from xfeat.training.asked import Asked
from xfeat.training.drcl import train
from xfeat.training.embedding import Blocks
from xfeat.training.group import member_path, write_group

NAN = float("nan")
VALUES = {"image->text": [[0.5, 0.2, NAN]], "text->image": [[0.1, 0.9]]}


def refusal(first: Scored, other: Scored) -> str:
    with pytest.raises(InputError) as caught:
        check_same(first, other)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(rows: str, **fields: Any) -> Scored:
    """Another run whose ``rows`` (of the embeddings) differ."""
    other = scored("two", VALUES)
    return replace(other, found=replace(other.found, **{rows: {**getattr(other.found, rows), **fields}}))


def test_rows_of_one_key_are_one_unit_and_keyless_rows_their_own() -> None:
    units = units_of(scored("one", VALUES, keys={"image": ["k", "l", "m"], "text": ["l", ""]}))
    assert {pair: of.tolist() for pair, of in units.of.items()} == {"image->text": [0, 1], "text->image": [1, 2]}
    assert units.strata.tolist() == [0, 0, 2]


def test_rows_without_keys_are_units_of_their_modality() -> None:
    units = units_of(scored("one", VALUES))
    assert {pair: of.tolist() for pair, of in units.of.items()} == {"image->text": [0, 1], "text->image": [2, 3]}
    assert units.strata.tolist() == [1, 1, 2, 2]
    half = units_of(scored("one", VALUES, keys={"text": ["k", "k"]}))
    assert half.of["text->image"].tolist() == [2, 2]


def test_units_do_not_depend_on_the_order_of_modalities() -> None:
    keys = {"image": ["k", "l", "m"], "text": ["l", ""]}
    backwards = units_of(scored("one", dict(reversed(VALUES.items())), keys=dict(reversed(keys.items()))))
    units = units_of(scored("one", VALUES, keys=keys))
    assert backwards.strata.tolist() == units.strata.tolist()
    for pair, of in units.of.items():
        assert backwards.of[pair].tolist() == of.tolist()


def test_equal_rows_are_accepted_whatever_the_method() -> None:
    first = scored("one", VALUES)
    check_same(first, scored("two", {"image->text": [[0.1, 0.1, NAN]] * 2, "text->image": [[0.0, 0.0]] * 2}))
    check_same(first, scored("two", VALUES, similarity="inner product", weights="ema", unsupported={"a->b": ["ant"]}))
    other = scored("two", VALUES)
    other.found.classes[:] = ["bee", "ant"]  # the same classes by other numbers
    for name, item in other.found.items.items():
        other.found.items[name] = replace(item, labels=1 - np.asarray(item.labels))
    check_same(first, other)


def test_what_differs_is_said() -> None:
    first = scored("one", VALUES)
    assert "one and two have different protocols (name: category and instance): name one with --protocol" in refusal(
        first, scored("two", VALUES, name="instance")
    )
    assert "(split: test and val)" in refusal(first, scored("two", VALUES, split="val"))
    assert "(classes: none and ['ant'])" in refusal(first, scored("two", VALUES, classes=["ant"]))
    third = {**VALUES, "audio->text": [[0.5]]}
    assert "different modalities (image, text; audio, image, text)" in refusal(
        first,
        scored("two", third, unlabelled={"audio": 0, "image": 0, "text": 0}),  # follows from the modalities
    )
    assert "the same rows of image (row 1 is 'image/1' and 'x')" in refusal(
        first, changed("ids", image=["image/0", "x", "image/2"])
    )
    assert "the same rows of text (2 and 1 rows)" in refusal(first, changed("ids", text=["text/0"]))
    assert "different pair keys for the same rows of text" in refusal(first, changed("keys", text=["k", "l"]))
    item = first.found.items["text"]
    assert "different labels for the same rows of text" in refusal(
        first, changed("items", text=replace(item, labels=np.array([1, 1])))
    )
    assert "image->text does not have the same queries in the mean" in refusal(
        first, scored("two", {**VALUES, "image->text": [[0.5, NAN, 0.2]]})
    )
    partly = scored("two", VALUES)
    partly = replace(partly, kept={"text->image": partly.kept["text->image"]})
    assert "not measured on the same pairs (image->text)" in refusal(first, partly)


def test_labels_of_several_classes_are_compared_by_name() -> None:
    hot = np.array([[1, 0], [1, 1]], dtype=np.uint8)
    first, other, wrong = (scored(name, VALUES) for name in ("one", "two", "three"))
    other.found.classes[:] = ["bee", "ant"]
    for run, labels in ((first, hot), (other, hot[:, ::-1].copy()), (wrong, hot[::-1].copy())):
        run.found.items["text"] = replace(run.found.items["text"], labels=labels)
    other.found.items["image"] = replace(other.found.items["image"], labels=np.array([1, 0, 1]))
    check_same(first, other)
    assert "different labels for the same rows of text" in refusal(first, wrong)


def test_seeds_that_held_out_different_rows_are_refused(tmp_path: Path) -> None:
    caches = [blobs(name).write(tmp_path / name) for name in ("image", "text")]
    for seed in (0, 1):
        train(
            caches,
            member_path(tmp_path / "group", seed),
            settings(select="loss", prior="orthogonal", epochs=1),
            seed=seed,
        )
    write_group(tmp_path / "group", [0, 1], "drcl")
    cpu, val = torch.device("cpu"), Asked("val")
    with pytest.raises(InputError, match="group: every seed held out rows of its own: compare runs of one seed"):
        score(tmp_path / "group", "one", val, None, cpu, Blocks())
    assert score(member_path(tmp_path / "group", 1), "one", val, None, cpu, Blocks()).seeds == [1]
