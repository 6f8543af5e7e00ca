import io
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.cells import cell_len

from tests.cli.asking import refused
from tests.cli.conftest import Xfeat
from tests.search.building import BROKEN, ROWS, WORDS, Made, make, name
from xfeat.cli.search_text import cut, shares, show
from xfeat.search.index import open_index
from xfeat.search.queries import by_id
from xfeat.search.searching import search
from xfeat.training.group import write_group


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A trained run over media, to read only."""
    return make(tmp_path_factory.mktemp("search"), paired=False)


def test_the_table_and_the_json_say_the_same(xfeat: Xfeat, made: Made, tmp_path: Path) -> None:
    words = ("search", made.drcl, "--id", f"image:{name(3)}", "--in", "all", "-k", 4)
    code, out, err = xfeat(*words, "--json", tmp_path / "s.json")
    assert (code, err) == (0, "")
    document = json.loads((tmp_path / "s.json").read_text())
    assert document["gallery"] == {"image": ROWS - 1, "text": ROWS, "audio": ROWS - 1}
    assert (document["similarity"], document["k"], document["splits"]) == ("inner product", 4, None)
    assert set(document) >= {"run", "method", "seed", "keep_self", "classes", "seconds"}
    (answer,) = document["queries"]
    assert answer["query"] == {
        "modality": "image",
        "id": name(3),
        "split": "val",
        "label": ["red"],
        "pair": name(3),
    }
    (expected,) = search(open_index(made.drcl), [by_id(f"image:{name(3)}")], 4)
    for hit, other in zip(answer["hits"], expected.hits, strict=True):
        assert (hit["rank"], hit["modality"], hit["id"]) == (other.rank, other.item.modality, other.item.id)
        assert (hit["same_pair"], hit["same_class"], hit["itself"]) == (other.same_pair, other.same_class, False)
        assert hit["score"] == pytest.approx(other.score)
    lines = [line.split() for line in out.splitlines()]
    for hit in answer["hits"]:
        label = "|".join(hit["label"]) or "-"
        row = [str(hit["rank"]), f"{hit['score']:.4f}", hit["modality"], hit["id"], label, hit["split"], shares(hit)]
        assert row in lines
    assert f"image {name(3)} (class red, split val)" in out
    same = sum(hit["same_class"] for hit in answer["hits"] if hit["same_class"] is not None)
    assert f"{same} of {sum(hit['same_class'] is not None for hit in answer['hits'])} share a class" in out
    assert "inner product of embeddings" in out
    assert max(map(len, out.splitlines()[:-1])) <= 80
    assert out.splitlines()[-1] == f"json      {tmp_path / 's.json'}"


def test_raw_queries_of_three_kinds(xfeat: Xfeat, made: Made) -> None:
    raw = ("--text", f"{WORDS[1]} number 4", "--file", made.media / "3.png", "--file", made.media / "6.wav")
    rows = [word for query in ("text:set:04", "image:set:03", "audio:set:06") for word in ("--id", query)]
    found = []
    for words in (raw, rows):
        code, out, err = xfeat("search", made.drcl, *words, "--in", "text", "--keep-self", "-k", 5, "--json", "-")
        assert (code, err) == (0, "")
        found.append(json.loads(out)["queries"])
    # Rows come first on the command line, then texts, then files.
    for one, other in zip(*found, strict=True):
        assert one["query"]["modality"] == other["query"]["modality"]
        assert [hit["id"] for hit in one["hits"]] == [hit["id"] for hit in other["hits"]]
    assert found[0][0]["query"] == {
        "modality": "text",
        "text": f"{WORDS[1]} number 4",
        "id": None,
        "split": None,
        "label": None,
        "pair": None,
    }
    assert found[0][1]["query"]["file"] == str(made.media / "3.png")
    assert found[0][1]["hits"][0]["same_class"] is None


def test_a_list_on_standard_input_filters_and_one_modality(
    xfeat: Xfeat, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = f"id image:{name(0)}\ntext green\n".encode()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(lines)))
    words = ("--in", "audio", "--split", "train", "--split", "test", "--class", "red,blue", "-k", 50)
    code, out, err = xfeat("search", made.drcl, "--queries", "-", *words)
    assert (code, err) == (0, "")
    assert out.startswith("gallery   audio 11 rows; split train, test; class red, blue\n")
    assert "text 'green', as text" in out
    assert "rank   score  id  " in out
    assert max(map(len, out.splitlines())) <= 80


def test_an_index_for_faiss(xfeat: Xfeat, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = xfeat("search", made.drcl, "--export", tmp_path / "idx", "--in", "text", "--split", "train")
    assert (code, err) == (0, "")
    assert f"index     {tmp_path / 'idx'}: 12 rows of 12 numbers" in out
    assert (tmp_path / "idx" / "index.faiss").is_file()
    refused(xfeat("search", made.drcl, "--export", tmp_path / "no" / "idx"), "does not exist")
    refused(xfeat("search", made.drcl, "--export", tmp_path / "idx", "--text", "red"), "searches nothing")
    monkeypatch.setitem(sys.modules, "faiss", None)
    refused(xfeat("search", made.drcl, "--export", tmp_path / "other"), 'pip install "xfeat[faiss]"')


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), ("nothing to search by",)),
        (("--id", "image"), ("write MODALITY:ID",)),
        (("--id", "imag:set:00"), ("no modality 'imag'", "did you mean image?")),
        (("--id", "image:set:0"), ("no image sample 'set:0'", "did you mean set:00 or")),
        (("--id", "image:seet:03"), ("did you mean set:03",)),
        (("--id", f"image:{name(BROKEN)}"), ("has no features",)),
        (("--text", " "), ("empty text",)),
        (("--text", "red", "--as", "image"), ("image", "reads image, not text")),
        (("--text", "red", "--backbone", "filters:hog"), ("reads image, not text",)),
        (("--id", "image:set:00", "--backbone", "filters:hog"), ("there are none", "MODALITY=SPEC")),
        (("--text", "red", "--backbone", "video=filters:hashing"), ("has no modality 'video'",)),
        (("--file", "none.png"), ("none.png", "no such file")),
        (("--text", "red", "-k", 0), ("-k 0",)),
        (("--text", "red", "--in", "txt"), ("no modality 'txt'", "did you mean text?")),
        (("--text", "red", "--split", "tset"), ("no split 'tset'", "train, val, test")),
        (("--text", "red", "--class", "rde"), ("no class 'rde'", "did you mean red?")),
        (("--text", "red", "--weights", "best"), ("--weights best",)),
        (("--text", "red", "--json", "no/where.json"), ("--json",)),
        (("--text", "red", "--device", "gpu"), ("gpu",)),
    ],
)
def test_refusals(xfeat: Xfeat, made: Made, words: tuple[object, ...], said: tuple[str, ...]) -> None:
    refused(xfeat("search", made.drcl, *words), *said)


def test_files_that_cannot_be_read(xfeat: Xfeat, made: Made, tmp_path: Path) -> None:
    refused(xfeat("search", made.drcl, "--file", made.media / f"{BROKEN}.png"), f"{BROKEN}.png", "cannot be read")
    shutil.copy(made.media / "0.png", tmp_path / "picture")
    refused(xfeat("search", made.drcl, "--file", tmp_path / "picture"), "say --as MODALITY", "audio (audio)")
    code, out, _ = xfeat("search", made.drcl, "--file", tmp_path / "picture", "--as", "image", "-k", 1)
    assert code == 0
    assert ", as image" in out


def test_features_that_were_imported_know_no_backbone(xfeat: Xfeat, trained: Path, tmp_path: Path) -> None:
    refused(xfeat("search", trained, "--text", "red"), "no modality reads text", "text (imported, or not known)")
    refused(xfeat("search", trained, "--text", "red", "--as", "text"), "does not open by its name", "give --backbone")
    assert xfeat("search", trained, "--id", "image:image/000", "-k", 1)[0] == 0
    write_group(tmp_path, [3, 4], "drcl")
    refused(xfeat("search", tmp_path, "--id", "image:a"), "group of seeds")


def hit(**changes: Any) -> dict[str, Any]:
    same = {"rank": 1, "score": 0.5, "modality": "image", "id": "a", "split": "test", "label": None, "pair": None}
    return {**same, "same_pair": None, "same_class": None, "itself": False, **changes}


def test_long_names_are_cut_to_fit() -> None:
    long = hit(rank=100, score=-1234.5, modality="m" * 48, id="folder/" * 30, split="s" * 30, label=["class " * 9])
    query = {"modality": "m" * 48, "id": "folder/" * 30, "split": "s" * 30, "label": ["class " * 9], "pair": None}
    found = {
        "similarity": "cosine",
        "gallery": {"m" * 48: 10**6, "image": 10**6},
        "splits": None,
        "classes": ["class " * 5] * 9,
        "queries": [{"query": query, "hits": [long, hit(same_class=True)]}, {"query": query, "hits": []}],
    }
    lines = show(found).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "  no other row is left to be found"
    assert cut("0123456789", 10) == "0123456789"
    assert cut("0123456789a", 10) == "0123..789a"
    assert cut("a\n b", 10) == "a b"


def test_hits_line_up_in_every_script() -> None:
    some = [hit(id="猫の写真.png", label=["猫"]), hit(id="cat.png", label=["e\u0301t"]), hit(id="語" * 90, label=["b"])]
    query = {"modality": "画像", "id": "猫" * 90, "split": "test", "label": ["猫" * 9], "pair": None}
    found = {"similarity": "cosine", "gallery": {"image": 3}, "splits": None, "classes": ["猫の写真"] * 30}
    lines = show({**found, "queries": [{"query": query, "hits": some}]}).splitlines()
    assert sum(line.count("猫の写真") for line in lines) == 31
    assert max(map(cell_len, lines)) <= 80
    rows = [cell_len(line) for line in lines if line.endswith(" test")]
    assert rows == [rows[0]] * 3
    assert cut("猫" * 9, 10) == "猫猫..猫猫"
    assert cut("a\x1b]0;b\x07", 20) == "a?]0;b?"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "-"),
        ({"itself": True, "same_pair": True}, "itself"),
        ({"same_pair": True, "same_class": False}, "pair"),
        ({"same_pair": False, "same_class": True}, "class"),
        ({"same_pair": False}, "no"),
        ({"same_class": False}, "no"),
    ],
)
def test_what_a_hit_shares(changes: dict[str, Any], word: str) -> None:
    assert shares(hit(**changes)) == word
