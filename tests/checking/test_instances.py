from pathlib import Path

from tests.checking.planting import clean, kinds, read
from xfeat.checking.instances import split_instances


def test_an_instance_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    image, text = clean("image"), clean("text")
    image.pair = [f"p{row}" for row in range(60)]
    text.pair = list(image.pair)
    caches = [read(field.write(tmp_path / "clean")) for field in (image, text)]
    assert list(split_instances(caches)) == []

    assert (text.split[6], text.split[3], text.split[10]) == ("train", "val", "test")
    text.split[6] = "test"  # its picture is trained on
    text.split[3] = "test"
    text.split[10] = "spare"
    text.pair[11] = "p0"  # a second text of the instance, in test
    caches = [read(field.write(tmp_path / "split")) for field in (image, text)]
    (leak,) = split_instances(caches)
    assert kinds([leak]) == [("leak", "split-instances")]
    assert leak.title == "3 of 60 pair keys have rows in different splits"
    assert leak.lines[:3] == (
        "image in train, text in test: 2 keys",
        "image in val, text in test: 1 key",
        "text in train, text in test: 1 key",
    )
    told = [(e.word, e.row.cache, e.row.id, e.other.cache, e.other.id) for e in leak.examples if e.other]
    assert told == [
        ("pair p0", "image", "image/000", "text", "text/011"),
        ("pair p3", "image", "image/003", "text", "text/003"),
        ("pair p6", "image", "image/006", "text", "text/006"),
    ]


def test_unpaired_data_have_no_instances(tmp_path: Path) -> None:
    assert list(split_instances([read(clean().write(tmp_path))])) == []
