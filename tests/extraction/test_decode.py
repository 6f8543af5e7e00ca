import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from xfeat.cache import OK, Columns
from xfeat.errors import SampleError
from xfeat.extraction.decode import REASON_WIDTH, Decoded, Decoder, decode_ahead
from xfeat.samples.manifest import Samples


class Bytes:
    """Reads files as bytes; raises what the file's content asks for."""

    kind, name, dim = "image", "test:bytes", 1

    def fingerprint(self) -> dict[str, Any]:
        return {}

    def load(self, source: Path | str) -> Any:
        if self.kind == "text":
            return source
        data = Path(source).read_bytes()
        if data == b"sample":
            raise SampleError(f"cannot read {source}")
        if data == b"value":
            raise ValueError("first line\nsecond line\0")
        if data == b"long":
            raise OSError("x" * 1000)
        if data == b"elsewhere":
            raise OSError(2, "No such file", "/var/lib/secret/codec.so")
        return data

    def encode(self, items: Any) -> Any:
        raise NotImplementedError


class Texts(Bytes):
    kind, name = "text", "test:texts"


def samples(root: Path, *sources: str, kind: Any = "image") -> Samples:
    ids = [str(row) for row in range(len(sources))]
    return Samples(Columns(ids, ["train"] * len(ids)), list(sources), root, 0, kind)


def test_a_good_file_gives_its_item(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"good")
    assert Decoder(samples(tmp_path, "a"), Bytes())(0) == Decoded(0, b"good", OK)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", "empty file"),
        (b"sample", "cannot read a"),
        (b"value", "ValueError: first line second line"),
        (b"long", "OSError: " + "x" * (REASON_WIDTH - 12) + "..."),
        (b"elsewhere", "FileNotFoundError: [Errno 2] No such file: 'codec.so'"),
        (None, "file not found"),
    ],
)
def test_what_a_damaged_file_raises_becomes_a_short_status_without_a_path(
    tmp_path: Path, content: bytes | None, status: str
) -> None:
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    assert Decoder(samples(tmp_path, "a"), Bytes())(0).status.replace(" /a", " a") == status


def test_no_file_outside_the_root_is_opened(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "file-link").symlink_to(tmp_path / "secret")
    (root / "folder-link").symlink_to(tmp_path)
    outside = ["../secret", str(tmp_path / "secret"), "file-link", "folder-link/secret", "x/../../secret", "a\0b"]
    decode = Decoder(samples(root, *outside), Bytes())
    assert {decode(row).status for row in range(len(outside))} == {"path leaves the root folder"}


def test_a_link_that_stays_inside_the_root_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"good")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert Decoder(samples(tmp_path, "b"), Bytes())(0).item == b"good"


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    decode = Decoder(samples(tmp_path, "folder", "pipe", ""), Bytes())
    assert [decode(row).status for row in range(3)] == ["not a regular file", "not a regular file", "no path given"]


def test_texts_are_taken_as_they_are(tmp_path: Path) -> None:
    decode = Decoder(samples(tmp_path, "/etc/passwd", " ", kind="text"), Texts())
    assert decode(0).item == "/etc/passwd"
    assert decode(1).status == "empty text"


def test_text_files_are_read_as_utf8(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes("\ufeffläuft".encode())
    (tmp_path / "bad").write_bytes(b"\xff\xfe\x00")
    decode = Decoder(samples(tmp_path, "good", "bad", "none", kind="text"), Texts(), text_files=True)
    assert decode(0).item == "läuft"
    assert [decode(row).status for row in (1, 2)] == ["text file is not UTF-8", "file not found"]


def test_strokes_are_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"good")
    decode = Decoder(samples(tmp_path, "a", "b", kind="strokes"), Bytes())
    assert [decode(row).status for row in range(2)] == [OK, "file not found"]
    assert decode(0).item == b"good"


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 10])
def test_batches_come_in_order_and_at_most_one_ahead(batch_size: int) -> None:
    started: list[int] = []

    def decode(row: int) -> Decoded:
        started.append(row)
        return Decoded(row, row)

    rows = [5, 3, 8, 1, 9, 2, 7]
    seen: list[int] = []
    with ThreadPoolExecutor(3) as pool:
        for batch in decode_ahead(pool, decode, rows, batch_size):
            assert len(batch) <= batch_size
            assert len(started) <= len(seen) + 2 * batch_size
            seen += [sample.item for sample in batch]
    assert seen == rows
