import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.anchors_building import tone, write_media
from xfeat.errors import InputError
from xfeat.training.anchors_samples import MOST_AUDIO_BYTES, Preview, Previews, open_previews


def shown(previews: Previews, modality: str, sample: str) -> Preview:
    found = previews.find(modality, sample)
    assert found is not None
    return found


def test_kinds_follow_from_the_backbone_the_name_or_the_ending(tmp_path: Path) -> None:
    manifest = write_media(tmp_path, 3)
    columns = {"ink": "strokes", "stroke2": "strokes", "photo": "image", "talk": "audio", "words": "text"}
    previews = open_previews(manifest, columns, {"ink": "filters:strokes", "photo": "absent:model"})
    kinds = {name: shown(previews, name, "1").kind for name in columns}
    assert kinds == {"ink": "strokes", "stroke2": "strokes", "photo": "image", "talk": "audio", "words": "text"}
    assert not previews.knows("image")
    assert previews.find("image", "1") is None
    assert previews.find("photo", "4") is None


def test_an_image_is_made_small(tmp_path: Path) -> None:
    previews = open_previews(write_media(tmp_path, 3), {"image": "image"}, {})
    found = shown(previews, "image", "2")
    assert (found.width, found.height) == (96, 48)
    assert found.size == len(found.content)
    with Image.open(io.BytesIO(base64.b64decode(found.content.removeprefix("data:image/png;base64,")))) as image:
        assert (image.format, image.size) == ("PNG", (96, 48))
    assert previews.find("image", "2") is found


def drawn(tmp_path: Path, text: str) -> list[list[tuple[float, float]]]:
    (tmp_path / "d.txt").write_text(text)
    (tmp_path / "m.csv").write_text("id,strokes\n1,d.txt\n")
    found = shown(open_previews(tmp_path / "m.csv", {"strokes": "strokes"}, {}), "strokes", "1")
    return [[(float(x), float(y)) for x, y in (p.split(",") for p in line.split())] for line in found.lines]


def test_a_drawing_fills_its_square_and_stands_upright(tmp_path: Path) -> None:
    # Down on a device, where y grows downwards; the wider side reaches both margins.
    first, dot = drawn(tmp_path, "START\n0,10,0\n100,60,1\nBREAK\n50,35,2\n")
    assert (first[0], first[-1]) == ((8.0, 28.0), (88.0, 68.0))
    assert dot == [(48.0, 48.0), (48.0, 48.0)]
    # The same drawing where y grows upwards from below zero.
    assert drawn(tmp_path, "0,-10\n100,-60\nBREAK\n50,-35\n") == [first, dot]


def test_a_long_drawing_keeps_its_ends(tmp_path: Path) -> None:
    (line,) = drawn(tmp_path, "\n".join(f"{x},0" for x in range(2001)))
    assert len(line) < 500
    assert (line[0], line[-1]) == ((8.0, 48.0), (88.0, 48.0))


def test_a_text_is_cut(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(f"id,text\n1,two  words\n2,{'long ' * 99}\n")
    previews = open_previews(tmp_path / "m.csv", {"text": "text"}, {})
    assert shown(previews, "text", "1") == Preview("text", "two words")
    assert len(shown(previews, "text", "2").content) == 160
    assert shown(previews, "text", "2").content.endswith("…")


def test_texts_in_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("what it says")
    (tmp_path / "m.csv").write_text("text\na.txt\n")
    assert shown(open_previews(tmp_path / "m.csv", {"text": "text"}, {}), "text", "a.txt").content == "what it says"


def test_sounds_are_whole_or_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(tone(1))
    (tmp_path / "b.wav").write_bytes(bytes(MOST_AUDIO_BYTES + 1))
    (tmp_path / "c.aiff").write_bytes(b"x")
    (tmp_path / "m.csv").write_text("id,audio\n1,a.wav\n2,b.wav\n3,c.aiff\n")
    previews = open_previews(tmp_path / "m.csv", {"audio": "audio"}, {})
    assert base64.b64decode(shown(previews, "audio", "1").content.removeprefix("data:audio/wav;base64,")) == tone(1)
    assert shown(previews, "audio", "2") == Preview("none", "sound of over 96 kB, not put into the page")
    assert shown(previews, "audio", "3") == Preview("none", "a browser does not play .aiff")


def test_nothing_outside_the_root_is_opened(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "m.csv").write_text("id,image\n1,a.png\n")
    previews = open_previews(tmp_path / "in" / "m.csv", {"image": "image"}, {})
    (tmp_path / "in" / "a.png").symlink_to(tmp_path / "secret.png")  # after the manifest was read
    assert shown(previews, "image", "1") == Preview("none", "path leaves the root folder")
    (tmp_path / "in" / "m.csv").write_text("id,image\n1,../secret.png\n")
    with pytest.raises(InputError, match="leaves the root"):
        open_previews(tmp_path / "in" / "m.csv", {"image": "image"}, {})


def test_a_video_is_a_few_frames_side_by_side(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for grey in range(0, 240, 20):
            pixels = np.full((48, 64, 3), grey, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    (tmp_path / "m.csv").write_text("id,video\n1,v.mp4\n2,m.csv\n")
    previews = open_previews(tmp_path / "m.csv", {"video": "video"}, {})
    found = shown(previews, "video", "1")
    assert (found.kind, found.width, found.height) == ("image", 4 * 64, 48)
    with Image.open(io.BytesIO(base64.b64decode(found.content.removeprefix("data:image/png;base64,")))) as image:
        greys = [image.convert("L").getpixel((64 * place + 32, 24)) for place in range(4)]
    assert greys == pytest.approx([20, 80, 140, 200], abs=25)
    assert greys == sorted(greys)
    assert shown(previews, "video", "2").kind == "none"
