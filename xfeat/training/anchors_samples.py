"""Small pictures, words and sounds of the samples of a manifest, for a page that must hold them itself."""

import base64
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from xfeat.backbones.images import open_rgb
from xfeat.backbones.registry import backbone_kinds
from xfeat.backbones.strokes import read_strokes
from xfeat.backbones.video_frames import read_frames
from xfeat.cache.columns import OK
from xfeat.errors import InputError, SampleError
from xfeat.extraction.decode import Decoder
from xfeat.samples.manifest import Kind, Samples, read_manifest

SIDE = 96  # pixels of the longer side of a thumbnail
COLOURS = 64
FRAMES = 4  # of a video
TEXT_LENGTH = 160
MOST_POINTS = 400  # of a drawing
MOST_AUDIO_BYTES = 96_000
KINDS = get_args(Kind)
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
AUDIO = {".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg", ".mp3": "audio/mpeg"}


@dataclass(frozen=True)
class Preview:
    """What is shown of one sample.

    Attributes:
        kind: ``image``, ``text``, ``audio`` or ``strokes``; ``none`` where it cannot be shown.
        content: a data URI, or the text; why it cannot be shown.
        width: of an image or a drawing.
        height: of an image or a drawing.
        lines: points ``x,y x,y ...`` of each stroke.
    """

    kind: Literal["image", "text", "audio", "strokes", "none"]
    content: str = ""
    width: int = 0
    height: int = 0
    lines: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Characters that it takes in a page."""
        return len(self.content) + sum(map(len, self.lines))


class Previews:
    """Samples of a manifest by modality and id; a sample is read when it is asked for, at most once.

    Args:
        samples: by modality.
        text_files: modalities whose texts are files.
    """

    def __init__(self, samples: Mapping[str, Samples], text_files: frozenset[str] = frozenset()) -> None:
        self._rows = {name: {i: row for row, i in enumerate(one.columns.ids)} for name, one in samples.items()}
        self._decoders = {
            name: Decoder(one, _MAKERS[one.kind], text_files=name in text_files) for name, one in samples.items()
        }
        self._made: dict[tuple[str, str], Preview] = {}

    def knows(self, modality: str) -> bool:
        """Whether the manifest was read for a modality."""
        return modality in self._rows

    def find(self, modality: str, sample: str) -> Preview | None:
        """The preview of a sample; None where the manifest does not have it."""
        row = self._rows.get(modality, {}).get(sample)
        if row is None:
            return None
        if (modality, sample) not in self._made:
            decoded = self._decoders[modality](row)
            self._made[modality, sample] = decoded.item if decoded.status == OK else Preview("none", decoded.status)
        return self._made[modality, sample]


def open_previews(
    manifest: Path, columns: Mapping[str, str], backbones: Mapping[str, str], root: Path | None = None
) -> Previews:
    """Read the manifest that a run's features were extracted from.

    What a modality's samples are follows from the backbone of its cache, from the modality's name, or from the files'
    endings, in this order; what none of them tells is text.

    Args:
        manifest: as ``read_manifest`` reads it.
        columns: by modality, the column that holds its paths or texts.
        backbones: by modality, what made its features; '' where that is not known.
        root: folder of the paths; None takes the manifest's.

    Raises:
        InputError: as ``read_manifest``.
    """
    found, files = {}, set()
    for name, column in columns.items():
        literal = read_manifest(manifest, name, column=column, root=root, kind="text")
        kind = _kind(name, backbones.get(name, ""), literal)
        in_files = kind == "text" and _are_files(literal)
        samples = literal
        if kind != "text" or in_files:
            samples = read_manifest(manifest, name, column=column, root=root, kind=kind, text_files=in_files)
        found[name] = samples
        if in_files:
            files.add(name)
    return Previews(found, frozenset(files))


def _kind(modality: str, backbone: str, samples: Samples) -> Kind:
    try:
        offered = backbone_kinds(backbone) if backbone else KINDS
    except InputError:  # a family that is not installed here
        offered = KINDS
    if len(offered) == 1:
        return cast(Kind, offered[0])
    named = [kind for kind in offered if re.match(rf"{kind.removesuffix('s')}s?(?![a-z])", modality.lower())]
    if named:
        return cast(Kind, named[0])
    ending = Path(next((cell for cell in samples.sources if cell.strip()), "")).suffix.lower()
    return "image" if ending in IMAGES else "audio" if ending in AUDIO else "text"


def _are_files(samples: Samples) -> bool:
    few = [cell.strip() for cell in samples.sources if cell.strip()][:8]
    return bool(few) and all(cell.endswith((".txt", ".md")) and len(cell) < 1024 for cell in few)


def _image(path: Path) -> Preview:
    image = open_rgb(path)
    image.thumbnail((SIDE, SIDE))
    return _drawn(image)


def _drawn(image: Any) -> Preview:
    """A small Pillow image as it is."""
    buffer = io.BytesIO()
    image.quantize(COLOURS).save(buffer, format="PNG", optimize=True)
    return Preview("image", _uri("image/png", buffer.getvalue()), image.width, image.height)


def _text(text: str) -> Preview:
    plain = " ".join(text.split())
    return Preview("text", plain if len(plain) <= TEXT_LENGTH else plain[: TEXT_LENGTH - 1] + "…")


def _audio(path: Path) -> Preview:
    media = AUDIO.get(path.suffix.lower())
    if media is None:
        raise SampleError(f"a browser does not play {path.suffix or 'this'}")
    if path.stat().st_size > MOST_AUDIO_BYTES:
        raise SampleError(f"sound of over {MOST_AUDIO_BYTES // 1000} kB, not put into the page")
    return Preview("audio", _uri(media, path.read_bytes()))


def _strokes(path: Path) -> Preview:
    strokes = read_strokes(path)
    if all((stroke[:, 1] <= 0).all() for stroke in strokes):
        strokes = [stroke * (1, -1) for stroke in strokes]  # y grew upwards; on a page it grows downwards
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = SIDE / 12
    reach = float((high - low).max()) or 1.0
    scale = (SIDE - 2 * margin) / reach
    step = -(-len(points) // MOST_POINTS)
    middle = (low + high) / 2
    lines = tuple(_line((stroke - middle) * scale + SIDE / 2, step) for stroke in strokes)
    return Preview("strokes", "", SIDE, SIDE, lines)


def _line(stroke: NDArray[np.float64], step: int) -> str:
    kept = np.concatenate([stroke[:-1:step], stroke[-1:], stroke[-1:]])  # a dot is a line to itself
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in kept.tolist())


def _uri(media: str, content: bytes) -> str:
    return f"data:{media};base64,{base64.b64encode(content).decode('ascii')}"


def _video(path: Path) -> Preview:
    """A few frames side by side."""
    try:
        frames = read_frames(path, FRAMES, _small)
    except ImportError:
        raise SampleError("no preview of a video without the package av") from None
    strip = frames[0].resize((sum(frame.width for frame in frames), max(frame.height for frame in frames)))
    left = 0
    for frame in frames:
        strip.paste(frame, (left, 0))
        left += frame.width
    return _drawn(strip)


def _small(frame: Any) -> Any:
    frame.thumbnail((SIDE, SIDE))
    return frame


_MAKERS: dict[Kind, Callable[[Any], Preview]] = {
    "image": _image,
    "text": _text,
    "audio": _audio,
    "strokes": _strokes,
    "video": _video,
}
