"""Reads an image file of any mode to upright RGB, or says in one line why it cannot."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xfeat.errors import SampleError

if TYPE_CHECKING:
    from PIL import Image as PillowImage

MAX_PIXELS = 89_478_485  # where Pillow itself begins to warn of a decompression bomb

# For the fingerprint of whoever reads images with this.
READING = {
    "orientation": "exif",
    "alpha": "over white",
    "frame": "first",
    "wide": "16 bits scaled to 8",
    "max_pixels": MAX_PIXELS,
}


@dataclass(frozen=True)
class ImageReader:
    """Decodes an image file and prepares it for a network; can be pickled, and holds no network.

    Attributes:
        transform: an RGB image to what the network takes.
    """

    transform: "Callable[[PillowImage.Image], Any]"

    def __call__(self, source: Path | str, /) -> Any:
        """Decode and prepare one file; for the usual transforms, a (3, height, width) float32 tensor.

        Raises:
            SampleError: the file is missing, corrupt, truncated or too large.
        """
        return self.transform(open_rgb(source))

    def from_image(self, image: "PillowImage.Image") -> Any:
        """Prepare an RGB image that is decoded already, such as a frame of a video."""
        return self.transform(image)


def open_rgb(source: Path | str) -> "PillowImage.Image":
    """Decode a file to an RGB image: first frame, EXIF orientation applied, transparency over white.

    Raises:
        SampleError: as ``open_image``, or floating-point values.
    """
    from PIL import ImageOps

    return open_image(source, lambda image: _rgb(ImageOps.exif_transpose(image)))


def open_image(source: Path | str, finish: "Callable[[PillowImage.Image], PillowImage.Image]") -> "PillowImage.Image":
    """Decode a file and finish it while it is open; whatever goes wrong becomes one short line without the path.

    Args:
        source: the file.
        finish: called with the decoded image.

    Raises:
        SampleError: missing, empty, corrupt, truncated, or over 89 million pixels.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        if Path(source).stat().st_size == 0:
            raise SampleError("empty file")
        with Image.open(source) as image:  # reads the header only
            if image.width * image.height > MAX_PIXELS:
                raise SampleError(f"image of {image.width}x{image.height} is over the limit of {MAX_PIXELS} pixels")
            image.load()
            return finish(image)
    except SampleError:
        raise
    except FileNotFoundError:
        raise SampleError("file not found") from None
    except UnidentifiedImageError:
        raise SampleError("not an image in a known format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise SampleError(f"image is over the limit of {MAX_PIXELS} pixels") from None
    except Exception as error:  # decoders raise nearly anything on damaged bytes: OSError, SyntaxError, struct.error...
        text = str(error).replace(repr(str(source)), "file").replace(str(source), "file").splitlines()
        raise SampleError(f"unreadable image ({(text[0] if text else type(error).__name__)[:100]})") from error


def _rgb(image: "PillowImage.Image") -> "PillowImage.Image":
    from PIL import Image

    if image.mode == "F":
        raise SampleError("floating-point image: its range of values is not known; store 8 or 16 bits")
    if image.mode.startswith("I"):  # Pillow's own conversion would clip 16 bits to white
        values = np.asarray(image, dtype=np.float64).clip(0, 65535)
        return Image.fromarray(np.rint(values / 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba).convert("RGB")
    return image.convert("RGB")
