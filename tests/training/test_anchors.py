import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.training.anchors import Names, agreement, duplicates, entropy, measure_anchors, top_sets

# Five samples and four anchors. Nobody has anchor 3 among their two nearest; anchor 1 is nobody's nearest.
COSINES = np.array(
    [
        [0.9, 0.5, 0.1, -0.2],
        [0.8, 0.7, 0.0, -0.9],
        [0.1, 0.2, 0.6, 0.0],
        [0.3, 0.4, 0.5, 0.1],
        [0.7, 0.1, 0.2, 0.0],
    ]
)
TARGETS = np.array(
    [
        [1.0, 0.0, 0.2, 0.9],
        [1.0, 0.5, 0.0, 0.8],
        [0.0, 0.3, 1.0, 0.2],
        [0.0, 1.0, 0.4, 0.0],
        [1.0, 0.0, 0.6, 0.6],
    ]
)
NAMES = Names(["a", "b", "c", "d", "e"], np.array([0, 1, 1, -1, 0]), ["cat", "dog"])


def test_a_case_by_hand() -> None:
    anchors = measure_anchors(COSINES, TARGETS, 2, NAMES, examples=3)
    assert [one.number for one in anchors] == [0, 1, 2, 3]
    assert [one.usage for one in anchors] == [0.6, 0.0, 0.4, 0.0]
    assert [one.near for one in anchors] == [3, 4, 3, 0]
    assert [one.membership for one in anchors] == pytest.approx([0.6, 0.36, 0.44, 0.5])
    # e holds anchors 0 and 2: of equal memberships the greater cosine counts.
    assert [one.held for one in anchors] == [3, 2, 3, 2]
    assert [one.id for one in anchors[0].examples] == ["a", "b", "e"]
    assert [one.cosine for one in anchors[0].examples] == [0.9, 0.8, 0.7]
    assert [one.classes for one in anchors[0].examples] == [("cat",), ("dog",), ("cat",)]
    assert anchors[0].nearest_classes == (("cat", 2 / 3), ("dog", 1 / 3))
    assert anchors[1].nearest_classes == ()
    # d has no label: of the labelled samples nearest to anchor 2 all are dogs.
    assert anchors[2].nearest_classes == (("dog", 1.0),)
    # Anchor 1 is held by c and d, anchor 3 by a and b.
    assert anchors[1].held_classes == (("dog", 1.0),)
    assert anchors[3].held_classes == (("cat", 0.5), ("dog", 0.5))


def test_samples_of_several_classes_count_in_each() -> None:
    hot = np.array([[1, 1], [0, 1], [0, 1], [0, 0], [1, 0]], np.uint8)
    first = measure_anchors(COSINES, TARGETS, 2, Names(NAMES.ids, hot, ["cat", "dog"]))[0]
    assert first.nearest_classes == (("cat", 2 / 3), ("dog", 2 / 3))
    assert [one.classes for one in first.examples[:2]] == [("cat", "dog"), ("dog",)]


def test_no_labels_no_classes() -> None:
    anchors = measure_anchors(COSINES, TARGETS, 2, Names(NAMES.ids))
    assert all(one.nearest_classes == one.held_classes == () for one in anchors)
    assert all(not example.classes for one in anchors for example in one.examples)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 12), k=st.integers(1, 6), data=st.data())
def test_counts_against_a_sort_of_every_row(seed: int, n: int, k: int, data: st.DataObject) -> None:
    required = data.draw(st.integers(1, k))
    rng = np.random.default_rng(seed)
    cosines = rng.integers(-3, 4, (n, k)) / 3  # with ties
    targets = rng.integers(0, 3, (n, k)) / 2
    near, held, nearest = [0] * k, [0] * k, [0] * k
    for row in range(n):
        by_cosine = sorted(range(k), key=lambda j: (-cosines[row, j], j))
        by_target = sorted(range(k), key=lambda j: (-targets[row, j], -cosines[row, j], j))
        nearest[by_cosine[0]] += 1
        for j in by_cosine[:required]:
            near[j] += 1
        for j in by_target[:required]:
            held[j] += 1
    anchors = measure_anchors(cosines, targets, required, Names([str(row) for row in range(n)]))
    assert [one.near for one in anchors] == near
    assert [one.held for one in anchors] == held
    assert [one.usage for one in anchors] == pytest.approx([count / n for count in nearest])
    assert sum(held) == n * required


def test_a_dead_anchor_is_found() -> None:
    rng = np.random.default_rng(0)
    anchors = rng.normal(size=(6, 5))
    samples = np.abs(rng.normal(size=(40, 5)))
    anchors[:5] = np.eye(5)
    anchors[5] = -1  # opposite to every sample
    cosines = samples @ (anchors / np.linalg.norm(anchors, axis=1, keepdims=True)).T
    found = measure_anchors(cosines, cosines, 3, Names([str(row) for row in range(40)]))
    assert [one.number for one in found if not one.near] == [5]


def test_duplicates_are_found_whatever_their_length() -> None:
    rng = np.random.default_rng(1)
    anchors = rng.normal(size=(7, 30))
    anchors[4] = 3 * anchors[1]
    anchors[6] = 0.5 * anchors[2] + 0.01 * rng.normal(size=30)
    anchors[5] = -anchors[3]
    found = duplicates(anchors)
    assert [(i, j) for i, j, _ in found] == [(1, 4), (2, 6)]
    for i, j, cosine in found:
        exact = anchors[i] @ anchors[j] / np.linalg.norm(anchors[i]) / np.linalg.norm(anchors[j])
        assert cosine == pytest.approx(exact)


def test_perplexity_is_the_number_of_anchors_where_all_are_alike() -> None:
    assert math.exp(entropy([0.25] * 4)) == pytest.approx(4)
    assert entropy([1.0, 0.0]) == 0
    assert math.exp(entropy([0.5, 0.5, 0.0])) == pytest.approx(2)
    assert entropy([0.5, 0.25, 0.25]) == pytest.approx(1.5 * math.log(2))


@given(seed=st.integers(0, 10**6), n=st.integers(1, 9), k=st.integers(2, 6), data=st.data())
def test_agreement_against_python_sets(seed: int, n: int, k: int, data: st.DataObject) -> None:
    required = data.draw(st.integers(1, k))
    rng = np.random.default_rng(seed)
    one, other = (top_sets(rng.normal(size=(n, k)), np.zeros((n, k)), required) for _ in range(2))
    sets = [[set(np.flatnonzero(row).tolist()) for row in held] for held in (one, other)]

    def jaccard(i: int, j: int) -> float:
        return len(sets[0][i] & sets[1][j]) / len(sets[0][i] | sets[1][j])

    found = agreement(one, other)
    assert found.instances == n
    assert found.jaccard == pytest.approx(sum(jaccard(i, i) for i in range(n)) / n)
    if n == 1:
        assert found.chance is None
    else:
        pairs = [jaccard(i, j) for i in range(n) for j in range(n) if i != j]
        assert found.chance == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)


def test_agreement_is_one_of_equal_sets_and_chance_of_shuffled_ones() -> None:
    rng = np.random.default_rng(2)
    held = top_sets(rng.normal(size=(3000, 8)), np.zeros((3000, 8)), 4)
    same, shuffled = agreement(held, held), agreement(held, held[rng.permutation(3000)])
    assert same.jaccard == 1
    assert same.instances == 3000
    # Two random halves of 8: the mean of i / (8 - i) over the hypergeometric intersection i.
    exact = sum(math.comb(4, i) * math.comb(4, 4 - i) / math.comb(8, 4) * i / (8 - i) for i in range(5))
    assert same.chance == pytest.approx(exact, abs=0.01)
    assert shuffled.jaccard == pytest.approx(exact, abs=0.01)
