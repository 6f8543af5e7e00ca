import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.search.building import Made
from xfeat.errors import InputError
from xfeat.search.opened import OpenRun
from xfeat.search.queries import STDIN, Query, branch_of, by_file, by_id, by_text, read_queries


def test_ids_may_hold_colons() -> None:
    query = by_id("image:set:00")
    assert (query.form, query.modality, query.value) == ("id", "image", "set:00")


@pytest.mark.parametrize("word", ["cat.png", ":cat", "image:", ""])
def test_ids_without_a_modality(word: str) -> None:
    with pytest.raises(InputError, match="write MODALITY:ID"):
        by_id(word)


@pytest.mark.parametrize("text", ["", " \t"])
def test_empty_texts(text: str) -> None:
    with pytest.raises(InputError, match="empty text"):
        by_text(text)


def parts(queries: list[Query]) -> list[tuple[str, str, str]]:
    return [(query.form, query.value, query.modality) for query in queries]


EXPECTED = [("id", "set:00", "image"), ("text", "two, cats", ""), ("file", "a/b.png", ""), ("text", "x", "caption")]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("q.csv", 'id,text,file,as\nimage:set:00,,,\n,"two, cats",,\n,,a/b.png,\n,x,,caption\n'),
        (
            "q.jsonl",
            '{"id": "image:set:00"}\n\n{"text": "two, cats", "file": null}\n{"file": "a/b.png"}\n'
            '{"text": "x", "as": "caption"}',
        ),
        ("q.txt", 'id image:set:00\ntext two, cats\nfile a/b.png\n{"text": "x", "as": "caption"}\n'),
    ],
)
def test_lists_of_every_form(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / file).write_text(content, encoding="utf-8")
    found = read_queries(tmp_path / file)
    assert parts(found) == EXPECTED
    assert found[2].root == tmp_path.resolve()
    assert [query.modality for query in read_queries(tmp_path / file, "words")] == [
        "image",
        "words",
        "words",
        "caption",
    ]


def test_standard_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    lines = "id image:set:00\ntext two, cats\nfile a/b.png\n"
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(lines.encode())))
    found = read_queries(STDIN)
    assert parts(found) == EXPECTED[:3]
    assert found[2].root == tmp_path.resolve()


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("q.txt", "id image:a\nfind cats\n", "q.txt, line 2: a query is one of"),
        ("q.txt", '{"text": "a", "id": "b:c"}', "line 1: a query is one of"),
        ("q.txt", '{"text": 3}', "line 1: a query is one of"),
        ("q.txt", "{text}", "line 1: not JSON"),
        ("q.txt", "text\n", "line 1: a query is one of"),
        ("q.txt", "id cat\n", "line 1: id 'cat': write MODALITY:ID"),
        ("q.txt", "file ../secret.png\n", "line 1: path '../secret.png' leaves the root"),
        ("q.txt", "file /etc/passwd\n", "line 1: path '/etc/passwd' is absolute"),
        ("q.txt", "\n", "holds no query"),
        ("q.csv", "id,text\nimage:a,b\n", "q.csv, line 2: a query is one of"),
        ("q.csv", "name\nb\n", "q.csv, line 2: a query is one of"),
        ("none.txt", None, "none.txt cannot be read"),
    ],
)
def test_lists_that_are_refused(tmp_path: Path, file: str, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_queries(tmp_path / file)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_branch_follows_from_the_file(made: Made) -> None:
    run = OpenRun(made.drcl)
    for file, modality in (("a.png", "image"), ("a.JPG", "image"), ("a.wav", "audio"), ("a.txt", "text")):
        assert branch_of(by_file(Path(file)), run) == modality
    assert branch_of(by_text("words"), run) == "text"
    assert branch_of(by_file(Path("a.dat"), "audio"), run) == "audio"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (by_file(Path("a.dat")), "say --as MODALITY"),
        (by_file(Path("a.mp4")), "no modality reads video"),
        (by_text("red", "image"), "reads image, not text"),
        (by_text("red", "imag"), "no modality 'imag' (did you mean image?)"),
        (by_id("video:a"), "no modality 'video'"),
    ],
)
def test_branches_that_cannot_be_told(made: Made, query: Query, words: str) -> None:
    with pytest.raises(InputError) as caught:
        branch_of(query, OpenRun(made.drcl))
    assert words in str(caught.value)
