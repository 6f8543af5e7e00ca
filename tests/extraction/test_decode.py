import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from xfeat.backbones.base import Cut
from xfeat.cache import OK, Columns
from xfeat.errors import SampleError
from xfeat.extraction.decode import NOTHING, REASON_WIDTH, Decoded, Decoder
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


def key(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def test_a_good_file_gives_its_item(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"good")
    assert Decoder(samples(tmp_path, "a"), Bytes().load)(0) == Decoded(0, b"good", OK, key(b"good"))


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
    assert Decoder(samples(tmp_path, "a"), Bytes().load)(0).status.replace(" /a", " a") == status


def test_no_file_outside_the_root_is_opened(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "file-link").symlink_to(tmp_path / "secret")
    (root / "folder-link").symlink_to(tmp_path)
    outside = ["../secret", str(tmp_path / "secret"), "file-link", "folder-link/secret", "x/../../secret", "a\0b"]
    decode = Decoder(samples(root, *outside), Bytes().load)
    assert {decode(row).status for row in range(len(outside))} == {"path leaves the root folder"}


def test_a_link_that_stays_inside_the_root_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"good")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert Decoder(samples(tmp_path, "b"), Bytes().load)(0).item == b"good"


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    decode = Decoder(samples(tmp_path, "folder", "pipe", ""), Bytes().load)
    assert [decode(row).status for row in range(3)] == ["not a regular file", "not a regular file", "no path given"]


def test_texts_are_taken_as_they_are(tmp_path: Path) -> None:
    decode = Decoder(samples(tmp_path, "/etc/passwd", " ", kind="text"), Texts().load)
    assert decode(0).item == "/etc/passwd"
    assert decode(1).status == "empty text"


def test_text_files_are_read_as_utf8(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes("\ufeffläuft".encode())
    (tmp_path / "bad").write_bytes(b"\xff\xfe\x00")
    decode = Decoder(samples(tmp_path, "good", "bad", "none", kind="text"), Texts().load, text_files=True)
    assert decode(0).item == "läuft"
    assert [decode(row).status for row in (1, 2)] == ["text file is not UTF-8", "file not found"]


def test_strokes_are_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"good")
    decode = Decoder(samples(tmp_path, "a", "b", kind="strokes"), Bytes().load)
    assert [decode(row).status for row in range(2)] == [OK, "file not found"]
    assert decode(0).item == b"good"


def test_the_content_key_is_of_the_bytes_of_a_file_whatever_its_name_and_of_a_text(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000  # more than one block of reading
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "c").write_bytes("läuft".encode())
    decode = Decoder(samples(tmp_path, "a", "b", "none", "../x"), Bytes().load)
    assert [decode(row).content for row in range(4)] == [key(data), key(data), NOTHING, NOTHING]
    assert [decode.key(row) for row in range(4)] == [key(data), key(data), NOTHING, NOTHING]
    literal = Decoder(samples(tmp_path, "läuft", kind="text"), Texts().load)
    from_file = Decoder(samples(tmp_path, "c", kind="text"), Texts().load, text_files=True)
    assert literal(0).content == from_file(0).content == literal.key(0) == key("läuft".encode())


def test_a_sample_that_fails_has_its_content_key(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"value")
    assert Decoder(samples(tmp_path, "a"), Bytes().load)(0).content == key(b"value")


def test_a_sample_that_was_cut_says_so(tmp_path: Path) -> None:
    decode = Decoder(samples(tmp_path, "long", kind="text"), Cut)
    assert decode(0) == Decoded(0, "long", OK, key(b"long"), cut=True)


def test_a_decoder_can_be_pickled(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"good")
    assert pickle.loads(pickle.dumps(Decoder(samples(tmp_path, "a"), Bytes().load)))(0).item == b"good"
