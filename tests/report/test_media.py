from pathlib import Path

import pytest

from tests.training.anchors_building import picture
from xfeat.errors import InputError
from xfeat.report.media import Media, open_media


def test_a_drawing_is_defined_once_and_a_sound_each_time(paired: Path, manifests: list[Path]) -> None:
    media = open_media([paired], manifests)
    image, again = media.show("image", "image/003"), media.show("image", "image/003")
    strokes, tone = media.show("strokes", "strokes/001"), media.show("audio", "audio/002")
    assert image is not None
    assert strokes is not None
    assert tone is not None
    assert image == again
    assert [image.symbol, strokes.symbol, tone.symbol] == ["s0", "s1", ""]
    assert list(media.symbols) == ["s0", "s1"]
    assert tone.preview.content.startswith("data:audio/wav;base64,")
    tight = Media(media._previews, most=tone.preview.size)
    assert tight.show("audio", "audio/002") == tone
    assert tight.show("audio", "audio/002") is None
    assert tight.crowded == {("audio", "audio/002")}


def test_samples_that_are_unknown_or_unreadable_are_counted(
    paired: Path, manifests: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "0.png").write_bytes(picture(0)[:30])
    (tmp_path / "m.csv").write_text("id,image\nimage/000,0.png\nimage/001,none.png\n")
    media = open_media([paired], [tmp_path / "m.csv"])
    broken = media.show("image", "image/000")
    assert broken is not None
    assert broken.preview.kind == "none"
    assert media.show("image", "image/004") is None
    assert media.show("audio", "audio/004") is None
    assert media.unknown == {("image", "image/000"), ("image", "image/004")}  # of audio there is no manifest
    # The first manifest that has the sample shows it.
    both = open_media([paired], [tmp_path / "m.csv", *manifests])
    assert both.show("image", "image/004") is not None


def test_columns_may_be_called_otherwise(paired: Path, manifests: list[Path], tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("id,photo\nimage/000,0.png\n")
    media = open_media([paired], [tmp_path / "m.csv"], {"image": "photo"}, manifests[0].parent)
    assert media.show("image", "image/000") is not None


def test_a_group_has_media_too(group: Path, manifests: list[Path]) -> None:
    media = open_media([group], manifests[:1])
    shown = media.show("text", "text/007")
    assert shown is not None
    assert shown.preview.content == "<i>word 7</i>"


def test_bad_manifests_are_refused(paired: Path, manifests: list[Path], tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("id,photo\nimage/000,0.png\n")
    with pytest.raises(InputError, match="has no column image or audio or strokes; it has: id, photo"):
        open_media([paired], [tmp_path / "m.csv"])
    with pytest.raises(InputError, match="no run has a modality 'video', only image, audio, strokes"):
        open_media([paired], manifests, {"video": "clip"})
    with pytest.raises(InputError, match="no manifest has a column 'photo'"):
        open_media([paired], manifests, {"image": "photo"})
    with pytest.raises(InputError, match=r"gone\.csv"):
        open_media([paired], [tmp_path / "gone.csv"])
    (tmp_path / "m.csv").write_text("id,image\nimage/000,../0.png\n")
    with pytest.raises(InputError, match="leaves the root"):
        open_media([paired], [tmp_path / "m.csv"])
    assert not open_media([tmp_path / "never read"], []).given
