from pathlib import Path

import pytest

from tests.search.building import BROKEN, UNLABELLED, WORDS, Made, name
from xfeat.errors import InputError
from xfeat.search.index import open_index
from xfeat.search.queries import by_file, by_id, by_text
from xfeat.search.searching import Answer, search


def found(answer: Answer) -> list[tuple[str, str]]:
    return [(hit.item.modality, hit.item.id) for hit in answer.hits]


@pytest.mark.parametrize("method", ["drcl", "sspc"])
def test_a_raw_file_finds_what_its_row_finds(made: Made, method: str) -> None:
    run: Path = getattr(made, method)
    index = open_index(run)
    raw = [by_file(made.media / "3.png"), by_text(f"{WORDS[1]} number 4")]
    stored = [by_id(f"image:{name(3)}"), by_id(f"text:{name(4)}")]
    if method == "drcl":
        raw.append(by_file(made.media / "6.wav"))
        stored.append(by_id(f"audio:{name(6)}"))
    answers = search(index, [*raw, *stored], 9, keep_self=True)
    for one, other in zip(answers[: len(raw)], answers[len(raw) :], strict=True):
        assert found(one) == found(other)
        assert [hit.score for hit in one.hits] == pytest.approx([hit.score for hit in other.hits], abs=1e-5)
        assert one.modality == other.modality
        assert {(hit.same_pair, hit.same_class) for hit in one.hits} == {(None, None)}


def test_its_own_row_is_left_out_unless_it_is_kept(made: Made) -> None:
    index = open_index(made.sspc)
    query = by_id(f"text:{name(4)}")
    (kept,) = search(index, [query], 99, keep_self=True)
    (without,) = search(index, [query], 99)
    assert ("text", name(4)) in found(kept)
    assert found(without) == [one for one in found(kept) if one != ("text", name(4))]
    assert [hit.rank for hit in without.hits] == list(range(1, len(index)))
    assert [hit.item.id for hit in kept.hits if hit.itself] == [name(4)]
    assert not any(hit.itself for hit in without.hits)


def test_what_is_shared(made: Made) -> None:
    index = open_index(made.drcl)
    answers = search(index, [by_id(f"image:{name(3)}"), by_id(f"text:{name(UNLABELLED)}")], 99)
    for answer, row in zip(answers, (3, UNLABELLED), strict=True):
        for hit in answer.hits:
            other = int(hit.item.id[-2:])
            assert hit.same_pair == (other == row)
            assert hit.same_class is (None if UNLABELLED in (row, other) else other % 3 == row % 3)


def test_a_row_outside_of_what_is_searched(made: Made) -> None:
    index = open_index(made.drcl, ["audio"], splits=["test"])
    (answer,) = search(index, [by_id(f"text:{name(BROKEN)}")], 3)
    assert [hit.item.modality for hit in answer.hits] == ["audio"] * 3
    assert {hit.item.split for hit in answer.hits} == {"test"}


def test_fewer_rows_than_hits(made: Made) -> None:
    index = open_index(made.drcl, ["audio"], splits=["test"], classes=["green"])
    rows = [index.item(place).id for place in range(len(index))]
    (answer,) = search(index, [by_id(f"audio:{rows[0]}")], 99)
    assert sorted(hit.item.id for hit in answer.hits) == sorted(rows[1:])


def test_refuses_no_hits(made: Made) -> None:
    with pytest.raises(InputError, match="k is 0"):
        search(open_index(made.drcl, ["audio"]), [by_text("red")], 0)
