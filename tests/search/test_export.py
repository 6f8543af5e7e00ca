import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.search.building import Made, name
from xfeat.errors import InputError
from xfeat.evaluation.top import top_items
from xfeat.search.export import FILES, export_index
from xfeat.search.index import open_index

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of SWIG's types, at import
    import faiss


@pytest.mark.parametrize("method", ["drcl", "sspc"])
def test_faiss_finds_what_a_search_finds(made: Made, tmp_path: Path, method: str) -> None:
    index = open_index(getattr(made, method))
    out = export_index(index, tmp_path / "out")
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    read = faiss.read_index(str(out / "index.faiss"))
    queries = index.embed_rows([("text", name(row)) for row in range(5)])
    vectors = queries.numpy().copy()
    if index.similarity == "cosine":
        faiss.normalize_L2(vectors)
    scores, places = read.search(vectors, 7)
    top = top_items(queries, index.vectors, 7, similarity=index.similarity)
    np.testing.assert_array_equal(places, top.items.numpy())
    torch.testing.assert_close(torch.from_numpy(scores), index.search(queries, 7).scores, rtol=0, atol=1e-5)


def test_rows_ids_and_what_it_is(made: Made, tmp_path: Path) -> None:
    index = open_index(made.drcl, ["text", "image"], splits=["test"], classes=["red", "blue"])
    out = export_index(index, tmp_path / "out")
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    items = [index.item(place) for place in range(len(index))]
    assert [(row["modality"], row["id"], row["label"], row["pair"]) for row in rows] == [
        (item.modality, item.id, list(item.label or ()), item.pair) for item in items
    ]
    assert json.loads((out / "ids.json").read_text()) == [f"{item.modality}:{item.id}" for item in items]
    about = json.loads((out / "meta.json").read_text())
    assert (about["rows"], about["dim"], about["normalised"]) == (len(index), 12, False)
    assert (about["gallery"], about["splits"], about["classes"]) == (index.counts, ["test"], ["red", "blue"])


def test_an_earlier_export_is_replaced_and_nothing_else(made: Made, tmp_path: Path) -> None:
    export_index(open_index(made.drcl), tmp_path / "out")
    export_index(open_index(made.drcl, ["text"]), tmp_path / "out")
    assert faiss.read_index(str(tmp_path / "out" / "index.faiss")).ntotal == 24
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"--export .* holds something else"):
        export_index(open_index(made.drcl, ["text"]), tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").is_file()


def test_without_faiss(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match=r'pip install "xfeat\[faiss\]"'):
        export_index(open_index(made.drcl, ["text"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()
