from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.report.blocks import Heat, Section
from xfeat.report.by_class import by_class, class_means
from xfeat.report.subject import Subject, open_subject
from xfeat.training.asked import Asked

CPU, TEST = torch.device("cpu"), Asked("test")


def heats(section: Section | None) -> list[Heat]:
    assert section is not None
    return [block for block in section.blocks if isinstance(block, Heat)]


def literal(subject: Subject, pair: str, name: str) -> float:
    """Mean over seeds of the mean over a class's queries."""
    query = pair.split("->")[0]
    found = subject.answer.found
    place = found.classes.index(name)
    means = []
    for result in subject.answer.results.values():
        own = []
        for labels, value in zip(found.items[query].labels, result.pairs[pair].by_query["mAP@all"], strict=True):
            has = bool(labels[place]) if np.ndim(labels) else int(labels) == place
            if has and not torch.isnan(value):
                own.append(float(value))
        means.append(sum(own) / len(own))
    return sum(means) / len(means)


@pytest.mark.parametrize("kind", ["trained", "multi", "group"])
def test_cells_are_means_over_queries_and_seeds(kind: str, request: pytest.FixtureRequest) -> None:
    subject = open_subject(request.getfixturevalue(kind), TEST, CPU)
    (heat,) = heats(by_class(subject))
    assert [name for name, _ in heat.groups] == ["image →", "text →"]
    assert list(heat.columns) == ["text", "image"]
    assert {name for name, _, _ in heat.rows} == {"ant", "bee", "cow"}
    for name, cells, _ in heat.rows:
        assert cells == pytest.approx([literal(subject, pair, name) for pair in ("image->text", "text->image")])
        assert all(heat.low <= cell <= heat.high for cell in cells if cell is not None)
    overall = [float(ends[0]) for _, _, ends in heat.rows]
    assert overall == sorted(overall)


def test_seeds_with_rows_of_their_own_have_no_common_classes(group: Path) -> None:
    subject = open_subject(group, TEST, CPU)
    found = replace(subject.answer.found, held_out={"image": 4})
    section = by_class(replace(subject, answer=replace(subject.answer, found=found)))
    assert section is not None
    assert not section.blocks
    assert section.notes == ["every seed held out rows of its own: look at the classes of one run"]


def test_a_protocol_without_classes_has_no_section(paired: Path) -> None:
    assert by_class(open_subject(paired, TEST, CPU)) is None


def many(subject: Subject, modalities: Sequence[str], classes: int) -> Subject:
    """As if so many modalities and classes had been evaluated; class c has precision c / classes."""
    labels = np.repeat(np.arange(classes), 2)
    (result,) = subject.answer.results.values()
    one = next(iter(result.pairs.values()))
    values = torch.from_numpy(labels / classes)
    values[0] = torch.nan  # class 0 has one query in means
    pairs = {f"{a}->{b}": replace(one, by_query={"mAP@all": values}) for a in modalities for b in modalities if a != b}
    item = replace(next(iter(subject.answer.found.items.values())), labels=labels)
    names = [f"class {place}" for place in range(classes)]
    found = replace(subject.answer.found, items=dict.fromkeys(modalities, item), classes=names)
    return replace(subject, answer=replace(subject.answer, found=found, results={0: replace(result, pairs=pairs)}))


def test_many_classes_are_folded_and_many_pairs_divided(subject: Subject) -> None:
    shown, folded = heats(by_class(many(subject, "ab", 100)))
    assert [name for name, _, _ in shown.rows] == [f"class {place}" for place in range(20)]
    assert [name for name, _, _ in folded.rows] == [f"class {place}" for place in range(20, 100)]
    assert (shown.folded, folded.folded, folded.title) == (False, True, "The 80 classes that follow")
    assert shown.rows[1][1:] == ([0.01, 0.01], ["0.010", "4"])
    assert (shown.low, shown.high) == (folded.low, folded.high) == (0.0, 1.0)
    _, folded = heats(by_class(many(subject, "ab", 300)))
    assert folded.title == "The 180 classes that follow, 100 with the highest means left out"
    assert len(folded.rows) == 180
    three = heats(by_class(many(subject, "abcdef", 10)))
    assert [one.title for one in three] == ["Queries of a, b", "Queries of c, d", "Queries of e, f"]
    assert all(len(one.columns) == 10 for one in three)


@given(seed=st.integers(0, 99), rows=st.integers(1, 40), classes=st.integers(1, 6))
def test_the_mean_of_classes_by_their_queries_is_the_mean(seed: int, rows: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels, values = rng.integers(0, classes, rows), rng.random(rows)
    values[rng.random(rows) < 0.2] = np.nan
    means = class_means(values, labels, classes)
    hot = np.eye(classes, dtype=np.uint8)[labels]
    np.testing.assert_array_equal(means, class_means(values, hot, classes))
    counts = hot[~np.isnan(values)].sum(axis=0)
    assert np.array_equal(np.isnan(means), counts == 0)
    assert (np.nan_to_num(means) * counts).sum() == pytest.approx(np.nansum(values))
