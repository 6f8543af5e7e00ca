from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.cache import Block, Manifest
from xfeat.errors import InputError
from xfeat.evaluation.domain import check_like, chosen_classes, rows_of_classes, sample_instances
from xfeat.evaluation.embedded import Embedded

HAVE = ["Greek/alpha", "Greek/beta", "Latin/a", "Latin/b"]


def block(labels: Any, pair: list[str] | None) -> Block:
    n = len(pair or labels)
    return Block(np.zeros((n, 1)), [str(row) for row in range(n)], ["test"] * n, ["ok"] * n, labels, pair, None)


def test_classes_by_word_by_name_and_by_pattern() -> None:
    assert chosen_classes("seen", HAVE, ["Latin/b", "Greek/alpha", "gone"]) == ["Greek/alpha", "Latin/b"]
    assert chosen_classes("unseen", HAVE, ["Latin/b", "Greek/alpha"]) == ["Greek/beta", "Latin/a"]
    assert chosen_classes("Latin/b, Greek/beta", HAVE, []) == ["Greek/beta", "Latin/b"]
    assert chosen_classes(["Latin/*"], HAVE, []) == ["Latin/a", "Latin/b"]
    assert chosen_classes("Latin/b, bold", [*HAVE, "Latin/b, bold"], []) == ["Latin/b, bold"]


@pytest.mark.parametrize(
    ("choice", "have", "seen", "message"),
    [
        ("unseen", HAVE, HAVE, "the run saw all 4 classes of the caches"),
        ("seen", HAVE, ["other"], "none of the 1 classes that the run saw"),
        ("unseen", HAVE, [], "are not known"),
        ("Latin", HAVE, [], r"'Latin' is no class of the caches \(there is Greek/alpha, .*, Latin/b\)"),
        ("dog", ["cat, big", "ant"], [], r"there is 'cat, big', ant\)"),
        ("seen", [], ["a"], "no cache has labels"),
    ],
)
def test_classes_that_are_not_there(choice: str, have: list[str], seen: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        chosen_classes(choice, have, seen)


def test_an_instance_is_of_the_chosen_classes_as_a_whole() -> None:
    blocks = {
        "image": block(np.array([0, 1, 2, -1, 0, -1]), [*"abcdef"]),
        "text": block(None, [*"abcxef"]),
        "audio": block(np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]], np.uint8), [*"abed"]),
    }
    classes = {"image": ["p", "q", "r"], "text": [], "audio": ["p", "q", "r"]}
    kept = rows_of_classes(blocks, classes, ["p", "q"], by_instance=True)
    # b is p and q of image but q and r of audio, c is r; e is p of image but r of audio; d and f are of no class.
    assert {name: "".join(np.array(blocks[name].pair)[mask]) for name, mask in kept.items()} == {
        "image": "a",
        "text": "a",
        "audio": "a",
    }
    alone = rows_of_classes(blocks, classes, ["p", "q"], by_instance=False)
    assert alone["image"].tolist() == [True, True, False, False, True, False]
    assert alone["text"].tolist() == [False] * 6
    assert alone["audio"].tolist() == [True, False, False, False]


def manifest(**changes: Any) -> Manifest:
    base = Manifest("image", 8, "float32", [], "none", 5, "", {"family": "open_clip", "model": "A"})
    return replace(base, **changes)


def test_features_of_the_same_kind_fit() -> None:
    trained = manifest()
    check_like("other", manifest(rows=99), trained, trained.fingerprint_sha256, 8)
    check_like("other", manifest(rows=99), None, trained.fingerprint_sha256, 8)
    imported = manifest(fingerprint={"family": "import", "content": "x"})
    check_like(
        "other", manifest(fingerprint={"family": "import", "content": "y"}), imported, imported.fingerprint_sha256, 8
    )


def test_other_features_do_not_fit_and_the_difference_is_told() -> None:
    trained = manifest()
    other = manifest(fingerprint={"family": "open_clip", "model": "B"})
    with pytest.raises(InputError, match=r"model: 'A' -> 'B'"):
        check_like("other", other, trained, trained.fingerprint_sha256, 8)
    with pytest.raises(InputError, match="family: 'open_clip' -> 'import'"):
        check_like("other", manifest(fingerprint={"family": "import"}), trained, trained.fingerprint_sha256, 8)
    with pytest.raises(InputError, match="whose cache is gone"):
        check_like("other", other, None, trained.fingerprint_sha256, 8)
    with pytest.raises(InputError, match="other has 9 dimensions, the image branch takes 8"):
        check_like("other", manifest(dim=9), trained, trained.fingerprint_sha256, 8)


@given(seed=st.integers(0, 99), count=st.integers(3, 10))
def test_sampled_instances_are_whole_and_nested(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    items = {
        "image": Embedded(rng.normal(size=(14, 2)), None, keys=[f"k{row % 12}" for row in range(14)]),
        "text": Embedded(torch.arange(24.0).reshape(12, 2), None, keys=np.arange(12).astype("U").tolist()),
    }
    items["text"] = replace(items["text"], keys=[f"k{row}" for row in range(11)] + ["alone"])
    sampled = sample_instances(items, count, seed)
    chosen = set(sampled["text"].keys)
    assert len(chosen) == count
    assert chosen <= {f"k{row}" for row in range(11)}
    for name, item in items.items():
        rows = [row for row, key in enumerate(item.keys) if key in chosen]
        assert sampled[name].keys == [item.keys[row] for row in rows]
        np.testing.assert_array_equal(sampled[name].vectors, np.asarray(item.vectors)[rows])
    assert set(sample_instances(items, count - 1, seed)["text"].keys) < chosen


def test_more_instances_than_there_are() -> None:
    items = {name: Embedded(np.eye(3), None, keys=keys) for name, keys in (("a", "xyz"), ("b", "xyw"), ("c", "uvw"))}
    with pytest.raises(InputError, match="4 instances asked for, 3 are there in two modalities or more"):
        sample_instances(items, 4)
    with pytest.raises(InputError, match="has none of the 1 sampled instances"):
        sample_instances(items, 1)
