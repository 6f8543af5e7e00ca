"""`filters:hog`: histograms of oriented gradients with colour statistics; no learned weights.

Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005: centred differences, the channel of
largest gradient, votes shared linearly between neighbouring bins and cells, overlapping 2 x 2-cell blocks under L2-Hys.
Gradients keep their sign, and the cells are coarse (12.8 pixels of 64): on handwritten strokes both measured better
than unsigned gradients and 8-pixel cells. Colour is a grid of means and deviations in opponent space (van de Sande et
al., "Evaluating Color Descriptors for Object and Scene Recognition", TPAMI 2010) and one joint RGB histogram.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.backbones.images import MAX_PIXELS, open_image
from xfeat.cache.tokens import Tokens, offsets_of
from xfeat.errors import SampleError

SIDE = 64
CELLS = 5
BINS = 12
CLIP = 0.2
EPSILON = 0.02
COLOUR_GRID = 4
COLOUR_LEVELS = 4
BLOCKS = (CELLS - 1) ** 2
BLOCK_DIM = 4 * BINS

Image64 = NDArray[np.uint8]
Floats = NDArray[np.float64]


class HogBackbone:
    """Image to a vector of oriented gradients (shape) and opponent colours, every value within [-1, 1].

    Layout of the 928 numbers: 768 gradients (4 x 4 overlapping blocks of 2 x 2 cells of 12 signed directions), 96
    colour means and deviations (4 x 4 cells, 3 channels), 64 histogram values (4 levels of R, G and B, square-rooted).
    """

    kind = "image"
    name = "filters:hog"
    dim = BLOCKS * BLOCK_DIM + COLOUR_GRID**2 * 6 + COLOUR_LEVELS**3
    token_dim = BLOCK_DIM

    def fingerprint(self) -> dict[str, Any]:
        """Every setting that changes the numbers, JSON-able."""
        from PIL import __version__ as pillow_version

        return {
            "backbone": self.name,
            "algorithm": 1,
            "side": SIDE,
            "resize": "bicubic, antialiased, aspect not kept",
            "alpha": "over white",
            "orientation": "exif",
            "frame": "first",
            "gradients": {"cells": CELLS, "bins": BINS, "signed": True},
            "block": {"cells": 2, "stride": 1, "norm": "l2-hys", "clip": CLIP, "epsilon": EPSILON},
            "colour": {"grid": COLOUR_GRID, "space": "opponent", "levels": COLOUR_LEVELS},
            "max_pixels": MAX_PIXELS,
            "dim": self.dim,
            "versions": {"numpy": np.__version__, "pillow": pillow_version},
        }

    def load(self, source: Path | str) -> Image64:
        """Decode one image file to (64, 64, 3) uint8 RGB.

        Raises:
            SampleError: missing, empty, corrupt, truncated, over 89 million pixels, or non-finite.
        """
        return np.array(open_image(source, _small_rgb), dtype=np.uint8)

    def from_image(self, image: Any) -> Image64:
        """Bring a Pillow image that is already decoded to what ``load`` gives for a file."""
        return np.array(_small_rgb(image), dtype=np.uint8)

    def encode(self, items: Sequence[Image64]) -> NDArray[np.float32]:
        """Filter n loaded images, each on its own so that no row depends on its batch; returns (n, 928) float32."""
        rows = [_describe(item) for item in items]
        return np.stack(rows).astype(np.float32) if rows else np.zeros((0, self.dim), np.float32)

    def token_fingerprint(self) -> dict[str, Any]:
        """Which tokens they are: the blocks of gradients, row by row; colours are left out."""
        return {"unit": "block", "layer": "oriented gradients, l2-hys", "grid": [CELLS - 1, CELLS - 1]}

    def encode_tokens(self, items: Sequence[Image64]) -> tuple[NDArray[np.float32], Tokens]:
        """As ``encode``, and for each image its 16 blocks of 48 oriented gradients, row by row."""
        rows = self.encode(items)
        tokens = rows[:, : BLOCKS * BLOCK_DIM].reshape(-1, BLOCK_DIM)
        return rows, Tokens(tokens, offsets_of(np.full(len(rows), BLOCKS)))


def _small_rgb(image: Any) -> Any:
    """Apply the EXIF orientation, bring any mode to RGB (wide values scaled, transparency over white) and resize."""
    from PIL import Image, ImageOps

    upright, size = ImageOps.exif_transpose(image), (SIDE, SIDE)
    if upright.mode.startswith(("I", "F")):
        upright = Image.fromarray(_eight_bit(np.asarray(upright).astype(np.float32), upright.mode[0] == "I"))
    if not upright.has_transparency_data:
        return upright.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    # Pillow weighs colours by alpha as it resizes, so this equals the blend at full size and costs less memory.
    rgba = upright.convert("RGBA").resize(size, Image.Resampling.BICUBIC)
    return Image.alpha_composite(Image.new("RGBA", size, "white"), rgba).convert("RGB")


def _eight_bit(values: NDArray[np.float32], whole: bool) -> Image64:
    """Scale whole numbers by 16 bits and fractions by 0..1; values outside those ranges by their own range."""
    if not np.isfinite(values).all():
        raise SampleError("non-finite pixel")
    low, high, full = float(values.min()), float(values.max()), 65535.0 if whole else 1.0
    if low >= 0 and high <= full:
        low, high = 0.0, full
    if low == high:
        return np.zeros(values.shape, np.uint8)
    # Halves, because high - low may overflow.
    return np.rint((values / 2 - low / 2) / (high / 2 - low / 2) * 255).astype(np.uint8)


def _describe(image: Image64) -> Floats:
    rgb = image.astype(np.float64) / 255
    return np.concatenate([_l2_hys(_histogram(*_gradients(rgb))), _colour_cells(rgb), _colour_histogram(image)])


def _gradients(rgb: Floats) -> tuple[Floats, Floats]:
    """Magnitude and angle in [0, 2 pi) of centred differences, each pixel from the channel where it is steepest."""
    padded = np.pad(rgb, ((1, 1), (1, 1), (0, 0)), mode="edge")
    dx = padded[1:-1, 2:] - padded[1:-1, :-2]
    dy = padded[2:, 1:-1] - padded[:-2, 1:-1]
    steepest = (dx**2 + dy**2).argmax(axis=2)[..., None]
    dx, dy = np.take_along_axis(dx, steepest, 2)[..., 0], np.take_along_axis(dy, steepest, 2)[..., 0]
    return np.hypot(dx, dy), np.arctan2(dy, dx) % (2 * np.pi)


def _spread() -> Floats:
    """(CELLS, SIDE) weights of a pixel's votes for its two nearest cells, falling linearly with distance."""
    centres = (np.arange(CELLS) + 0.5) * SIDE / CELLS
    distance = np.abs(np.arange(SIDE) + 0.5 - centres[:, None]) * CELLS / SIDE
    return np.asarray(np.maximum(0.0, 1.0 - distance))


def _histogram(magnitude: Floats, angle: Floats) -> Floats:
    """(CELLS, CELLS, BINS) gradient votes, shared linearly between the two nearest directions and cells."""
    position = angle.ravel() * (BINS / (2 * np.pi)) - 0.5
    lower = np.floor(position)
    upper_share = position - lower
    index, pixel = lower.astype(np.int64) % BINS, np.arange(SIDE * SIDE)
    votes = np.zeros((SIDE * SIDE, BINS))
    votes[pixel, index] = magnitude.ravel() * (1 - upper_share)
    votes[pixel, (index + 1) % BINS] = magnitude.ravel() * upper_share
    spread = _spread()
    rows = np.tensordot(spread, votes.reshape(SIDE, SIDE, BINS), axes=(1, 0))
    return np.asarray(np.tensordot(rows, spread, axes=(1, 1)).transpose(0, 2, 1))


def _l2_hys(cells: Floats) -> Floats:
    """Norm each 2 x 2-cell block to 1, clip, norm again (Dalal and Triggs, section 6.4); flat blocks stay near 0."""
    blocks = np.lib.stride_tricks.sliding_window_view(cells, (2, 2), axis=(0, 1)).reshape(-1, 4 * BINS)
    clipped = np.minimum(_unit_rows(blocks), CLIP)
    return _unit_rows(clipped).ravel()


def _unit_rows(rows: Floats) -> Floats:
    return np.asarray(rows / np.sqrt((rows**2).sum(axis=1, keepdims=True) + EPSILON**2))


def _colour_cells(rgb: Floats) -> Floats:
    """Mean and standard deviation of intensity, red-green and yellow-blue over a 4 x 4 grid, within [-1, 1]."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    opponent = np.stack([(red + green + blue) / 3, (red - green) / 2, (red + green - 2 * blue) / 4], axis=2)
    step = SIDE // COLOUR_GRID
    cells = opponent.reshape(COLOUR_GRID, step, COLOUR_GRID, step, 3)
    return np.concatenate([cells.mean(axis=(1, 3)).ravel(), cells.std(axis=(1, 3)).ravel()])


def _colour_histogram(image: Image64) -> Floats:
    """Joint RGB histogram of 4 levels each, square-rooted (Hellinger), norm 1."""
    level = (image.reshape(-1, 3) >> 6).astype(np.int64)
    counts = np.bincount(level @ np.array([16, 4, 1]), minlength=COLOUR_LEVELS**3)
    return np.asarray(np.sqrt(counts / counts.sum()))
