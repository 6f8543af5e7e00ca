from pathlib import Path

import numpy as np
import pytest
import torch

from tests.search.building import BROKEN, ROWS, SILENT, UNLABELLED, Made, name
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.search.index import Index, open_index
from xfeat.training.group import write_group
from xfeat.training.loading import load_branch
from xfeat.training.run import Run


def literal(run: Path, index: Index, query: np.ndarray, left_out: tuple[str, str] | None) -> list[tuple[str, str]]:
    """Every row of the index by (modality, id), best first, the first of equals first; in float64."""
    found = []
    for modality in index.counts:
        block = FeatureCache(Run(run).load_config().modalities[modality].cache).load(with_tokens=modality != "audio")
        vectors = load_branch(Run(run).branch_file(modality)).embed(
            block.features, torch.device("cpu"), tokens=block.tokens
        )
        for own, vector in zip(block.ids, vectors.double().numpy(), strict=True):
            score = float(vector @ query)
            if index.similarity == "cosine":
                score /= float(np.linalg.norm(vector) * np.linalg.norm(query))
            found.append((score, (modality, own)))
    kept = [(score, key) for score, key in found if key != left_out]
    return [key for _, key in sorted(kept, key=lambda one: -round(one[0], 6))]


@pytest.mark.parametrize("method", ["drcl", "sspc"])
def test_equals_the_literal_order(made: Made, method: str) -> None:
    run: Path = getattr(made, method)
    index = open_index(run)
    assert index.similarity == ("inner product" if method == "drcl" else "cosine")
    queries = [("image", name(0)), ("text", name(BROKEN)), ("text", name(9))]
    own = [index.place(*query) for query in queries]
    vectors = index.embed_rows(queries)
    top = index.search(vectors, len(index), without=own)
    for number, query in enumerate(queries):
        ranked = [(index.item(place).modality, index.item(place).id) for place in top.items[number].tolist()[:-1]]
        expected = literal(run, index, vectors[number].double().numpy(), query)
        assert len(ranked) == len(expected) == len(index) - 1
        # Places of equals may differ: scores of both orders are the same to the digits that float32 has.
        scores = dict(zip(ranked, top.scores[number].tolist(), strict=False))
        np.testing.assert_allclose([scores[key] for key in expected], top.scores[number, :-1], atol=2e-6)
        assert ranked[0] == expected[0]
    assert top.items[:, -1].tolist() == [-1] * len(queries)
    assert (top.scores[:, -1] == -torch.inf).all()


def test_scores_do_not_depend_on_other_queries(made: Made) -> None:
    index = open_index(made.drcl, ["text"])
    query = index.embed_rows([("image", name(0))])
    alone = index.search(query, 5)
    among = index.search(torch.cat([query, 1000 * query]), 5)
    assert among.items[0].tolist() == alone.items[0].tolist()
    torch.testing.assert_close(among.scores[0], alone.scores[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(alone.scores[0], (index.vectors @ query[0]).topk(5).values, rtol=1e-5, atol=0)


def test_failed_rows_are_not_there_and_the_order_is_that_of_the_caches(made: Made) -> None:
    index = open_index(made.drcl)
    assert index.counts == {"image": ROWS - 1, "text": ROWS, "audio": ROWS - 1}
    there = {
        "image": [name(row) for row in range(ROWS) if row != BROKEN],
        "text": [name(row) for row in range(ROWS)],
        "audio": [name(row) for row in range(ROWS) if row != SILENT],
    }
    items = [index.item(place) for place in range(len(index))]
    assert [(item.modality, item.id) for item in items] == [(m, one) for m, ids in there.items() for one in ids]
    assert [index.place(item.modality, item.id) for item in items] == list(range(len(index)))
    unlabelled = index.item(index.place("text", name(UNLABELLED)))
    assert (unlabelled.label, unlabelled.pair, unlabelled.split) == ((), name(UNLABELLED), "test")


def test_filters(made: Made) -> None:
    index = open_index(made.drcl, ["audio", "image"], splits=["test", "val"], classes=["red,blue"])
    assert list(index.counts) == ["image", "audio"]
    items = [index.item(place) for place in range(len(index))]
    wanted = [row for row in range(ROWS) if row // 3 % 4 in (1, 2) and row % 3 != 1 and row != UNLABELLED]
    expected = [("image", name(row)) for row in wanted if row != BROKEN]
    expected += [("audio", name(row)) for row in wanted if row != SILENT]
    assert [(item.modality, item.id) for item in items] == expected
    assert index.place("image", name(0)) == -1
    assert index.place("text", name(3)) == -1
    whole = open_index(made.drcl)
    places = [whole.place(item.modality, item.id) for item in items]
    torch.testing.assert_close(index.vectors, whole.vectors[places])


def test_embeds_rows_in_and_out_of_the_index(made: Made) -> None:
    index = open_index(made.drcl, ["image"], splits=["test"])
    whole = open_index(made.drcl)
    rows = [("text", name(23)), ("image", name(0)), ("text", name(2)), ("text", name(23))]
    torch.testing.assert_close(index.embed_rows(rows), whole.vectors[[whole.place(*row) for row in rows]])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modalities": ["txt"]}, "no modality 'txt' (did you mean text?)"),
        ({"splits": ["tset"]}, "no split 'tset' (did you mean test?)"),
        ({"classes": ["red", "grene"]}, "no class 'grene' (did you mean green?)"),
        ({"splits": ["unused"]}, "no split 'unused'"),
    ],
)
def test_refusals(made: Made, options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        open_index(made.drcl, **options)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refuses_vectors_that_are_no_queries_and_no_hits(made: Made) -> None:
    index = open_index(made.drcl, ["text"])
    with pytest.raises(InputError, match="12"):
        index.search(torch.zeros(1, 3), 1)
    with pytest.raises(InputError, match="k is 0"):
        index.search(index.vectors[:1], 0)
    with pytest.raises(InputError, match="not a finite"):
        index.search(torch.full((1, 12), torch.nan), 1)
    assert index.search(torch.zeros(0, 12), 3).items.shape == (0, 3)


def test_ids_that_are_not_there_and_those_that_failed(made: Made) -> None:
    index = open_index(made.drcl, ["text"])
    with pytest.raises(InputError, match="did you mean set:00 or set:01 or set:02"):
        index.embed_rows([("image", "set:0")])
    with pytest.raises(InputError, match="has no features"):
        index.embed_rows([("image", name(BROKEN))])


def test_a_group_is_refused(tmp_path: Path) -> None:
    write_group(tmp_path, [0, 1], "drcl")
    with pytest.raises(InputError, match="seed0"):
        open_index(tmp_path)


@pytest.mark.parametrize("method", ["drcl", "sspc"])
def test_any_batch_gives_what_single_queries_give(made: Made, method: str) -> None:
    index = open_index(getattr(made, method))
    rows = [("text", name(row)) for row in (4, 9, BROKEN, 4)] + [("image", name(3))]
    vectors = index.embed_rows(rows)
    together = index.search(vectors, 9)
    for number, row in enumerate(rows):
        assert torch.equal(index.embed_rows([row])[0], vectors[number])
        alone = index.search(vectors[number : number + 1], 9)
        assert torch.equal(alone.items[0], together.items[number])
        assert torch.equal(alone.scores[0], together.scores[number])
