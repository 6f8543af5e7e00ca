import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.errors import InputError
from xfeat.evaluation.relevance import relevance_rule, same_class, shared_class


def test_same_class_compares_labels_of_the_block() -> None:
    relevance = same_class(torch.tensor([0, 1, 2, 1]), torch.tensor([1, 1, 0]))
    assert relevance(slice(1, 4)).tolist() == [[True, True, False], [False, False, False], [True, True, False]]


def test_shared_class_needs_one_class_in_common() -> None:
    queries = torch.tensor([[1, 1, 0], [0, 0, 1]], dtype=torch.uint8)
    gallery = torch.tensor([[1, 0, 0], [0, 1, 1], [1, 1, 1]], dtype=torch.uint8)
    assert shared_class(queries, gallery)(slice(0, 2)).tolist() == [[True, True, True], [False, True, True]]


@pytest.mark.parametrize("word", ["any", "exact", "at-least:257", "jaccard:1"])
def test_counts_beyond_what_a_byte_or_a_bfloat16_holds(word: str) -> None:
    """257 classes in common would be 1 in uint8 arithmetic, and 256 in bfloat16."""
    ones, fewer = torch.ones(1, 257, dtype=torch.uint8), torch.ones(2, 257, dtype=torch.uint8)
    fewer[1, 7] = 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert relevance_rule(word).relevant(ones, fewer)(slice(0, 1)).tolist() == [[True, word == "any"]]


LITERAL = {
    "any": lambda a, b: len(a & b) > 0,
    "exact": lambda a, b: a == b,
    "at-least:1": lambda a, b: len(a & b) >= 1,
    "at-least:2": lambda a, b: len(a & b) >= 2,
    "jaccard:0.6": lambda a, b: 10 * len(a & b) >= 6 * len(a | b),
    "jaccard:.2": lambda a, b: 10 * len(a & b) >= 2 * len(a | b),
    "jaccard:1": lambda a, b: a == b,
}


@pytest.mark.parametrize("word", LITERAL)
@given(seed=st.integers(0, 9999), classes=st.integers(1, 12), share=st.floats(0.05, 0.95))
def test_every_rule_is_what_it_says_of_sets_of_classes(word: str, seed: int, classes: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    queries, gallery = ((rng.random((n, classes)) < share).astype(np.uint8) for n in (7, 9))
    for labels in (queries, gallery):
        labels[~labels.any(1), 0] = 1
    sets = [[set(np.flatnonzero(row)) for row in labels] for labels in (queries, gallery)]
    expected = [[LITERAL[word](a, b) for b in sets[1]] for a in sets[0]]
    relevance = relevance_rule(word).relevant(torch.from_numpy(queries), torch.from_numpy(gallery))
    assert relevance(slice(0, 7)).dtype == torch.bool
    assert [*relevance(slice(0, 3)).tolist(), *relevance(slice(3, 7)).tolist()] == expected


@pytest.mark.parametrize("parts", range(1, 31))
def test_a_share_reaches_its_own_value(parts: int) -> None:
    for shared in range(1, parts + 1):
        query, item = torch.zeros(1, parts, dtype=torch.uint8), torch.ones(1, parts, dtype=torch.uint8)
        query[0, :shared] = 1
        assert relevance_rule(f"jaccard:{shared / parts}").relevant(query, item)(slice(0, 1)).item()


def test_the_statement_says_it() -> None:
    assert relevance_rule("any").statement == "at least one class shared"
    assert relevance_rule("at-least:1").statement == "at least one class shared"
    assert relevance_rule("at-least:3").statement == "at least 3 classes shared"
    assert relevance_rule("exact").statement == "exactly the same classes"
    assert relevance_rule("jaccard:0.5").statement == "Jaccard index >= 0.5"


@pytest.mark.parametrize(
    "word", ["", "all", "any:1", "at-least", "at-least:0", "at-least:1.5", "at-least:x", "jaccard:0", "jaccard:1.1",
             "jaccard:nan", "jaccard:-1", "jaccard:", "jaccard:.", "exact:"]
)  # fmt: skip
def test_another_word_is_refused(word: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"unknown relevance {word!r}: choose any, exact, at-least:N")):
        relevance_rule(word)
