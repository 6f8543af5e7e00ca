"""The gradients are checked against a loop over pixels; the rest by laws and by files that real folders contain."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from xfeat.backbones.filters_image import HogBackbone
from xfeat.errors import SampleError

HOG = HogBackbone()
SHAPE = 768


def literal_gradients(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Vote pixel by pixel, norm block by block."""
    rgb, cells = image / 255, np.zeros((5, 5, 12))
    for y in range(64):
        for x in range(64):
            steps = [
                (
                    rgb[y, min(x + 1, 63), c] - rgb[y, max(x - 1, 0), c],
                    rgb[min(y + 1, 63), x, c] - rgb[max(y - 1, 0), x, c],
                )
                for c in range(3)
            ]
            dx, dy = max(steps, key=lambda step: step[0] ** 2 + step[1] ** 2)
            direction = (math.atan2(dy, dx) % (2 * math.pi)) / (2 * math.pi) * 12
            for row in range(5):
                for column in range(5):
                    near = max(0.0, 1 - abs(y + 0.5 - (row + 0.5) * 12.8) / 12.8)
                    near *= max(0.0, 1 - abs(x + 0.5 - (column + 0.5) * 12.8) / 12.8)
                    if near == 0:
                        continue
                    for bin_ in range(12):
                        apart = abs(direction - (bin_ + 0.5)) % 12
                        share = max(0.0, 1 - min(apart, 12 - apart))
                        cells[row, column, bin_] += near * share * math.hypot(dx, dy)
    blocks = []
    for row in range(4):
        for column in range(4):
            block = cells[row : row + 2, column : column + 2].transpose(2, 0, 1).ravel()
            block = np.minimum(block / math.sqrt((block**2).sum() + 0.02**2), 0.2)
            blocks.append(block / math.sqrt((block**2).sum() + 0.02**2))
    return np.concatenate(blocks)


def noise(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_equal_the_loop_over_pixels(seed: int) -> None:
    np.testing.assert_allclose(HOG.encode([noise(seed)])[0, :SHAPE], literal_gradients(noise(seed)), atol=1e-6)


@given(seed=st.integers(0, 999), n=st.integers(1, 4))
def test_a_row_does_not_depend_on_its_batch(seed: int, n: int) -> None:
    images = [noise(seed + i) for i in range(n)]
    together = HOG.encode(images)
    assert together.shape == (n, HOG.dim)
    assert together.dtype == np.float32
    assert np.abs(together).max() <= 1
    np.testing.assert_array_equal(together, np.concatenate([HOG.encode([image]) for image in images]))


def test_no_images_give_no_rows() -> None:
    assert HOG.encode([]).shape == (0, HOG.dim)


def test_flat_image_has_no_gradients_and_its_own_colour() -> None:
    red, blue = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = blue[..., 2] = 255
    features = HOG.encode([red, blue])
    assert np.abs(features[:, :SHAPE]).max() == 0
    means = features[:, SHAPE : SHAPE + 48].reshape(2, 16, 3)
    np.testing.assert_allclose(means[0], np.broadcast_to([1 / 3, 1 / 2, 1 / 4], (16, 3)), atol=1e-6)
    np.testing.assert_allclose(means[1], np.broadcast_to([1 / 3, 0, -1 / 2], (16, 3)), atol=1e-6)
    assert features[0, SHAPE + 96 :].tolist() == [0.0] * 48 + [1.0] + [0.0] * 15


def test_brightness_scale_hardly_moves_the_gradients() -> None:
    image = noise(3)
    bright, dim = HOG.encode([image, image // 2])[:, :SHAPE]
    assert bright @ dim / np.linalg.norm(bright) / np.linalg.norm(dim) > 0.999


def test_opposite_gradients_differ() -> None:
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 4, 64, axis=0).repeat(3, axis=2)
    left, right = HOG.encode([ramp, ramp[:, ::-1]])[:, :SHAPE]
    assert left @ right < 1e-6 < left @ left


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_loads_as_the_same_picture(tmp_path: Path, mode: str) -> None:
    shape = Image.new("L", (40, 30), 255)
    shape.paste(0, (10, 5, 20, 25))
    path = tmp_path / ("x.jpg" if mode in ("CMYK", "YCbCr") else "x.png")
    (shape.convert("RGB").convert(mode) if mode != "LA" else shape.convert(mode)).save(path, quality=100)
    expected = np.asarray(shape.convert("RGB").resize((64, 64), Image.Resampling.BICUBIC), dtype=int)
    assert np.abs(HOG.load(path) - expected).max() <= (12 if path.suffix == ".jpg" else 1)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 32896, np.uint16)).save(tmp_path / "x.png")
    assert (HOG.load(tmp_path / "x.png") == 128).all()


@pytest.mark.parametrize(
    ("values", "expected"), [((0.0, 0.5, 1.0), 128), ((-4.0, 0.0, 4.0), 128), ((7.0, 7.0, 7.0), 0)]
)
def test_float_pixels_take_their_own_range(tmp_path: Path, values: tuple[float, ...], expected: int) -> None:
    Image.fromarray(np.tile(np.array(values, np.float32)[:, None], (1, 64)).repeat(20, axis=0)).save(tmp_path / "x.tif")
    assert abs(int(HOG.load(tmp_path / "x.tif")[32, 32, 0]) - expected) <= 1


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(tmp_path / "rgba.png")
    palette = Image.new("P", (9, 9), 0)
    palette.putpalette([0, 0, 0])
    palette.save(tmp_path / "p.png", transparency=0)
    assert (HOG.load(tmp_path / "rgba.png") == 255).all()
    assert (HOG.load(tmp_path / "p.png") == 255).all()


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(noise(5)).resize((32, 16))
    exif = Image.Exif()
    exif[274] = 6  # shot with the camera on its side: turn clockwise to view
    image.save(tmp_path / "turned.png", exif=exif)
    image.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright.png")
    np.testing.assert_array_equal(HOG.load(tmp_path / "turned.png"), HOG.load(tmp_path / "upright.png"))


def test_one_pixel_is_an_image(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (9, 8, 7)).save(tmp_path / "x.png")
    assert np.isfinite(HOG.encode([HOG.load(tmp_path / "x.png")])).all()


def test_fingerprint_is_json() -> None:
    fingerprint = HOG.fingerprint()
    assert json.loads(json.dumps(fingerprint)) == fingerprint


def write_truncated(path: Path) -> None:
    Image.fromarray(noise(0)).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def write_huge(path: Path) -> None:
    Image.new("1", (10_000, 9_000)).save(path)


def write_bomb(path: Path) -> None:
    Image.new("1", (20_000, 9_000)).save(path)


def write_non_finite(path: Path) -> None:
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(path)


@pytest.mark.parametrize(
    ("write", "name", "reason"),
    [
        (lambda path: None, "x.png", "file not found"),
        (lambda path: path.touch(), "x.png", "empty file"),
        (lambda path: path.mkdir(), "x.png", "unreadable image"),
        (lambda path: path.write_text("not an image"), "x.png", "not an image in a known format"),
        (write_truncated, "x.png", "unreadable image"),
        (write_truncated, "x.jpg", "unreadable image"),
        (write_huge, "x.png", "over the limit of 89478485 pixels"),
        (write_bomb, "x.png", "over the limit of 89478485 pixels"),
        (write_non_finite, "x.tif", "non-finite pixel"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    tmp_path: Path, write: Callable[[Path], object], name: str, reason: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(SampleError, match=reason) as caught:
        HOG.load(tmp_path / name)
    assert tmp_path.name not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tokens_are_the_blocks_of_gradients() -> None:
    images = [noise(seed) for seed in range(3)]
    rows, tokens = HOG.encode_tokens(images)
    np.testing.assert_array_equal(rows, HOG.encode(images))
    assert tokens.lengths.tolist() == [16, 16, 16]
    assert tokens.values.shape[1] == HOG.token_dim
    expected = np.concatenate([literal_gradients(image).reshape(16, 48) for image in images])
    np.testing.assert_allclose(tokens.values, expected, atol=1e-6)
    assert len(HOG.encode_tokens([])[1]) == 0


def test_a_decoded_image_loads_as_its_file(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    image.save(tmp_path / "x.png")
    np.testing.assert_array_equal(HOG.from_image(image), HOG.load(tmp_path / "x.png"))
