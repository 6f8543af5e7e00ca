"""Queries and their results, against rankings worked out the long way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.report.reading import Page
from xfeat.report.blocks import Examples, Query
from xfeat.report.examples import HITS, choose, examples
from xfeat.report.media import Media, open_media
from xfeat.report.page import make_report, write_report
from xfeat.report.pairs import pairs_of
from xfeat.report.subject import Subject, open_subject
from xfeat.training.asked import Asked

CPU, TEST = torch.device("cpu"), Asked("test")


def blocks(subject: Subject) -> list[Examples]:
    section = examples(subject)
    assert section is not None
    return [block for block in section.blocks if isinstance(block, Examples)]


def queries(block: Examples) -> list[Query]:
    return [query for _, group in block.groups for query in group]


def relevant(subject: Subject, pair: str) -> np.ndarray:
    """(Q, N) what is right, from the labels or the keys."""
    query, _, gallery = pair.partition(" → ")
    found = subject.answer.found
    if found.protocol == "instance":
        return np.array([[a == b for b in found.keys[gallery]] for a in found.keys[query]])
    own, other = (np.asarray(found.items[name].labels) for name in (query, gallery))
    return own[:, None] == other if own.ndim == 1 else own.astype(int) @ other.T > 0


def scores(subject: Subject, pair: str) -> np.ndarray:
    query, _, gallery = pair.partition(" → ")
    items = subject.answer.found.items
    own, other = (np.asarray(items[name].vectors, np.float64) for name in (query, gallery))
    norms = [np.linalg.norm(rows, axis=1, keepdims=True) for rows in (own, other)]
    if items[query].similarity != "cosine":
        norms = [np.full_like(norm, norm.max()) for norm in norms]
    return (own / norms[0]) @ (other / norms[1]).T


@pytest.mark.parametrize("kind", ["trained", "multi", "paired"])
def test_hits_are_the_first_of_the_ranking_and_marked(kind: str, request: pytest.FixtureRequest) -> None:
    subject = open_subject(request.getfixturevalue(kind), TEST, CPU, queries=5)
    ids = subject.answer.found.ids
    for block in blocks(subject):
        query, _, gallery = block.title.partition(" → ")
        right, own = relevant(subject, block.title), scores(subject, block.title)
        assert len(queries(block)) == 5
        for one in queries(block):
            row = ids[query].index(one.item.id)
            order = np.argsort(-own[row], kind="stable")
            places = [ids[gallery].index(hit.item.id) for hit in one.hits]
            assert [hit.place for hit in one.hits] == list(range(1, HITS + 1))
            np.testing.assert_allclose(own[row, places], own[row, order[:HITS]], atol=1e-5)
            assert [hit.right for hit in one.hits] == right[row, places].tolist()
            np.testing.assert_allclose([float(hit.score) for hit in one.hits], own[row, places], atol=0.00501)
            first = 1 + int(np.argmax(right[row, order]))
            assert f"first right at rank {first} of {len(ids[gallery])}, {right[row].sum()} right in all" in one.says


def test_the_hardest_have_the_lowest_precision(subject: Subject) -> None:
    (pair, *_) = pairs_of(subject)
    values = pair.result.by_query["mAP@all"].tolist()
    (block, *_) = blocks(replace(subject, queries=8))
    groups = {name: [query.says.split(",")[0] for query in group] for name, group in block.groups}
    assert groups["Hardest"] == [f"AP {value:.3f}" for value in sorted(values)[:4]]
    assert groups["Best"] == [f"AP {value:.3f}" for value in sorted(values)[-2:]]
    assert len(groups["Typical"]) == 2


@given(
    values=st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, float("nan")]), max_size=40),
    count=st.integers(0, 20),
)
def test_queries_are_chosen_once_worst_first(values: list[float], count: int) -> None:
    badness = torch.tensor(values, dtype=torch.float64)
    groups = choose(badness, count)
    chosen = [row for group in groups.values() for row in group]
    known = [value for value in values if value == value]
    assert len(chosen) == len(set(chosen)) == min(count, len(known))
    picked = [values[row] for row in chosen]
    assert picked == sorted(picked, reverse=True)
    assert (
        sorted(picked)[::-1][: len(groups.get("Hardest", []))] == sorted(known)[::-1][: len(groups.get("Hardest", []))]
    )
    assert all(group for group in groups.values())
    if typical := groups.get("Typical"):
        middle = sorted(known)[len(known) // 2 - (len(known) % 2 == 0)], sorted(known)[len(known) // 2]
        assert len(known) < 2 * count or any(values[row] in middle for row in typical)


def test_pictures_of_a_group_are_of_its_first_run(group: Path) -> None:
    several, first = (open_subject(path, TEST, CPU, queries=3) for path in (group, group / "seed3"))
    assert blocks(several) == blocks(first)
    assert "by seed3" in examples(several).lead[0]  # type: ignore[union-attr]


def test_samples_of_all_kinds_are_shown(paired: Path, manifests: list[Path], tmp_path: Path) -> None:
    media = open_media([paired], manifests)
    write_report(tmp_path / "a.html", make_report([paired], TEST, CPU, [examples], media=media))
    page = Page(tmp_path / "a.html")
    assert (
        len(page.named("symbol")) == len(media.symbols) == len(page.named("image")) + page.text.count('class="strokes"')
    )
    assert {str(one["href"])[:22] for one in page.named("image")} == {"data:image/png;base64,"}
    assert {str(one["src"])[:22] for one in page.named("audio")} == {"data:audio/wav;base64,"}
    assert {str(one["href"]) for one in page.named("use")} == {f"#{name}" for name in media.symbols}
    assert all(one["aria-label"] for one in page.named("audio"))
    marks = [one["class"] for one in page.named("li") if one.get("class")]
    assert {"right", "wrong"} == set(marks)
    assert page.words("examples").count("✓ right") == marks.count("right")
    assert page.words("examples").count("✗ wrong") == marks.count("wrong")


def test_without_a_manifest_the_page_says_how(subject: Subject) -> None:
    section = examples(subject)
    assert section is not None
    assert "--manifest FILE" in section.notes[0]
    query = queries(blocks(subject)[0])[0]
    assert query.item.id.startswith("image/")
    assert query.item.classes in ("ant", "bee", "cow")
    assert query.item.shown is None


def test_none_are_asked_for(subject: Subject) -> None:
    assert examples(replace(subject, queries=0)) is None


def test_what_a_page_has_no_room_for_is_said(trained: Path, manifests: list[Path]) -> None:
    media = open_media([trained], manifests[:1])
    subject = open_subject(trained, TEST, CPU, media=Media(media._previews, most=400), queries=4)
    section = examples(subject)
    assert section is not None
    assert "the page would grow too large" in section.notes[0]
