import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xfeat.backbones.images import ImageReader, open_rgb
from xfeat.errors import SampleError


def test_opens_upright(tmp_path: Path) -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: turn by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(np.asarray(open_rgb(tmp_path / "a.png")), np.rot90(pixels, -1))


def test_lays_transparency_over_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert np.asarray(open_rgb(tmp_path / "a.png")).min() == 255


def test_scales_sixteen_bits_instead_of_clipping_them(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257 * 7, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(open_rgb(tmp_path / "a.png"))[0, :, 1].tolist() == [0, 7, 255]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: b"no image at all", "not an image in a known format"),
        (lambda data: None, "file not found"),
    ],
)
def test_says_in_one_line_without_a_path_why_not(tmp_path: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    data = damage(path.read_bytes())
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(SampleError, match=message) as caught:
        open_rgb(path)
    assert str(tmp_path) not in str(caught.value)


def test_refuses_a_decompression_bomb_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (10_000, 9_000)).save(path)
    with pytest.raises(SampleError, match="over the limit"):
        open_rgb(path)


def test_a_reader_opens_prepares_and_can_be_pickled(tmp_path: Path) -> None:
    Image.new("L", (2, 3), 7).save(tmp_path / "a.png")
    reader = pickle.loads(pickle.dumps(ImageReader(np.asarray)))
    assert reader(tmp_path / "a.png").tolist() == np.full((3, 2, 3), 7).tolist()
