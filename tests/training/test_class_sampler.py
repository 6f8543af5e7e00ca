"""The laws of balanced batches, and the order in which rows and classes come."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from xfeat.training.class_sampler import ClassSampler

Labels = dict[str, NDArray[np.int64]]


@st.composite
def drawn_labels(draw: st.DrawFn) -> tuple[Labels, int]:
    """Up to three modalities, which may lack classes; one class at least is somewhere."""
    classes = draw(st.integers(1, 6))
    names = ["image", "text", "audio"][: draw(st.integers(1, 3))]
    labels = {}
    for name in names:
        own = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=25))
        labels[name] = np.array(own, dtype=np.int64)
    return labels, classes


SHAPES = st.tuples(st.integers(1, 7), st.integers(1, 5))


@given(given_labels=drawn_labels(), shape=SHAPES, seed=st.integers(0, 2**32))
def test_a_batch_has_samples_of_every_class_and_modality_that_has_it(
    given_labels: tuple[Labels, int], shape: tuple[int, int], seed: int
) -> None:
    (labels, classes), (per_batch, samples) = given_labels, shape
    sampler = ClassSampler(labels, classes, per_batch, samples)
    there = {name: set(own.tolist()) for name, own in labels.items()}
    everywhere = set().union(*there.values())
    batches = list(sampler.epoch(np.random.default_rng(seed)))
    assert len(batches) == sampler.batches
    for batch in batches:
        chosen = batch.classes.tolist()
        assert len(chosen) == len(set(chosen)) == min(per_batch, len(everywhere))
        for name, own in labels.items():
            counts = Counter(own[batch.rows[name]].tolist())
            assert counts == {label: samples for label in chosen if label in there[name]}


@given(given_labels=drawn_labels(), shape=SHAPES, seed=st.integers(0, 2**32))
def test_classes_come_equally_often_and_rows_too(
    given_labels: tuple[Labels, int], shape: tuple[int, int], seed: int
) -> None:
    labels, classes = given_labels
    sampler = ClassSampler(labels, classes, *shape)
    batches = list(sampler.epoch(np.random.default_rng(seed)))
    times = Counter(dict.fromkeys(sampler.present.tolist(), 0))
    times.update(label for batch in batches for label in batch.classes.tolist())
    assert max(times.values()) - min(times.values()) <= 1
    for name, own in labels.items():
        rows = Counter(dict.fromkeys(range(len(own)), 0))
        rows.update(row for batch in batches for row in batch.rows[name].tolist())
        for label in set(own.tolist()):
            used = [rows[row] for row in np.flatnonzero(own == label).tolist()]
            assert max(used) - min(used) <= 1


@given(given_labels=drawn_labels(), shape=SHAPES, seed=st.integers(0, 2**32))
def test_an_epoch_depends_on_its_generator_alone(
    given_labels: tuple[Labels, int], shape: tuple[int, int], seed: int
) -> None:
    labels, classes = given_labels
    first, second = (list(ClassSampler(labels, classes, *shape).epoch(np.random.default_rng(seed))) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.classes.tolist() == other.classes.tolist()
        assert {n: r.tolist() for n, r in one.rows.items()} == {n: r.tolist() for n, r in other.rows.items()}


def test_a_class_with_fewer_rows_than_samples_repeats_them_and_one_that_is_lacking_gives_none() -> None:
    labels = {"image": np.array([0, 0, 1, 1, 2, 2]), "text": np.array([0, 1])}
    sampler = ClassSampler(labels, 3, 3, 2)
    (batch,) = sampler.epoch(np.random.default_rng(0))
    assert sorted(batch.rows["image"].tolist()) == [0, 1, 2, 3, 4, 5]
    assert sorted(batch.rows["text"].tolist()) == [0, 0, 1, 1]


def test_rows_of_a_class_are_read_off_around_the_end_of_their_order() -> None:
    labels = {"image": np.zeros(10, dtype=np.int64), "text": np.zeros(3, dtype=np.int64)}
    batches = list(ClassSampler(labels, 1, 1, 2).epoch(np.random.default_rng(0)))
    text = [row for batch in batches for row in batch.rows["text"].tolist()]
    assert sorted(row for batch in batches for row in batch.rows["image"].tolist()) == list(range(10))
    assert sorted(text[:3]) == [0, 1, 2]
    assert text == (text[:3] * 4)[:10]


def test_what_the_end_of_a_round_lacks_is_taken_from_the_next() -> None:
    """Five classes, three in a batch: the second batch takes the two that are left and one that it does not hold."""
    labels = {"image": np.repeat(np.arange(5), 3)}
    orders = set()
    for seed in range(20):
        drawn = [batch.classes.tolist() for batch in ClassSampler(labels, 5, 3, 1).epoch(np.random.default_rng(seed))]
        assert len(drawn) == 5
        assert all(len(set(classes)) == 3 for classes in drawn)
        flat = [label for classes in drawn for label in classes]
        assert sorted(flat[:5]) == [0, 1, 2, 3, 4]
        orders.add(tuple(flat))
    assert len(orders) > 15, "another seed, another order"


def test_the_largest_modality_sets_the_length_of_an_epoch() -> None:
    labels = {"image": np.repeat(np.arange(4), 30), "text": np.arange(4)}
    assert ClassSampler(labels, 4, 2, 5).batches == 12


@pytest.mark.parametrize(("per_batch", "samples"), [(0, 1), (1, 0)])
def test_sizes_must_be_positive(per_batch: int, samples: int) -> None:
    with pytest.raises(ValueError, match="must be >= 1"):
        ClassSampler({"image": np.array([0])}, 1, per_batch, samples)


def test_rows_are_needed() -> None:
    with pytest.raises(ValueError, match="no rows"):
        ClassSampler({"image": np.array([], dtype=np.int64)}, 2, 1, 1)
