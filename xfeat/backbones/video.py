"""`video:SPEC`: a video as the mean of its frames' features, by any image backbone.

The frames' features themselves are its tokens, in order of time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.backbones.base import Backbone, Setup, Spec
from xfeat.backbones.registry import open_backbone
from xfeat.backbones.saved import import_extra
from xfeat.backbones.video_frames import CONTAINERS, READING, read_frames
from xfeat.cache.tokens import Tokens, offsets_of
from xfeat.errors import InputError


def open_frames(spec: Spec, setup: Setup) -> "VideoBackbone":
    """Load the image backbone of ``video:SPEC``.

    Args:
        spec: ``video:`` and the SPEC of an image backbone, weights included.
        setup: how it runs; ``frames`` says how many are sampled.

    Raises:
        InputError: the package for videos is missing or too old; a number of frames below 1; as ``open_backbone``.
    """
    av = import_extra("av", "video")
    if not hasattr(av.VideoFrame, "rotation"):
        raise InputError(f'av {av.__version__} does not read how a video is turned: pip install -U "xfeat[video]"')
    if setup.frames < 1:
        raise InputError(f"{setup.frames} frames of a video: take at least 1")
    if ":" not in spec.model:
        raise InputError(f"backbone {spec}: write video: and an image backbone, for example video:filters:hog")
    inner = open_backbone(spec.model + (f"@{spec.weights}" if spec.weights else ""), "image", setup)
    return VideoBackbone(inner, setup.frames)


@dataclass(frozen=True)
class FrameReader:
    """Reads the frames of one video and prepares each as the image backbone does; can be pickled if that can.

    Attributes:
        from_image: a Pillow RGB image to what the image backbone loads.
        frames: how many are sampled.
        collate: the image backbone's, or None. What is sent between processes is then one tensor for each video.
    """

    from_image: Callable[[Any], Any]
    frames: int
    collate: Callable[[list[Any]], Any] | None = None

    def __call__(self, source: Path | str) -> Any:
        """At least one prepared frame, in order of time: a list, or what ``collate`` makes of it.

        Raises:
            SampleError: not a video that can be read whole; see ``read_frames``.
        """
        frames = read_frames(Path(source), self.frames, self.from_image)
        return frames if self.collate is None else self.collate(frames)


class VideoBackbone:
    """Video files to the mean of the features of sampled frames; fewer frames where a video has fewer.

    Raises:
        InputError: an image backbone that reads files only.
    """

    kind = "video"

    def __init__(self, inner: Backbone, frames: int) -> None:
        self.name, self.dim, self.token_dim = f"video:{inner.name}", inner.dim, inner.dim
        self.device, self.compiled = getattr(inner, "device", "cpu"), getattr(inner, "compiled", False)
        self._inner, self._frames = inner, frames
        from_image = getattr(inner.load, "from_image", None) or getattr(inner, "from_image", None)
        if from_image is None:
            raise InputError(f"backbone {self.name}: {inner.name} reads image files only, not frames of a video")
        self._collate = getattr(inner, "collate", None)
        self.load = FrameReader(from_image, frames, self._collate)

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON."""
        import av

        libraries = {name: ".".join(map(str, av.library_versions[name])) for name in sorted(av.library_versions)}
        return {
            "backbone": self.name,
            "kind": self.kind,
            "frames": self._frames,
            "pooling": "mean of the frames",
            "reading": {**READING, "containers": CONTAINERS},
            "inner": self._inner.fingerprint(),
            "versions": {"av": av.__version__, **libraries},
        }

    def token_fingerprint(self) -> dict[str, Any]:
        """Which tokens they are, as JSON."""
        return {"unit": "frame", "layer": "features of the image backbone", "order": "time"}

    def encode(self, items: Sequence[Sequence[Any]]) -> NDArray[np.float32]:
        """Encode n loaded videos: (n, D) float32."""
        return self.encode_tokens(items)[0]

    def encode_tokens(self, items: Sequence[Sequence[Any]]) -> tuple[NDArray[np.float32], Tokens]:
        """As ``encode``, and each video's features by frame."""
        frames = [frame for item in items for frame in item]
        offsets = offsets_of(np.array([len(item) for item in items], np.int64))
        # As many frames at a time as there are videos: a smaller batch of videos then needs less memory.
        chunks = [
            self._encode(frames[start : start + len(items)]) for start in range(0, len(frames), max(1, len(items)))
        ]
        values = np.concatenate([np.zeros((0, self.dim), np.float32), *chunks])
        sums = np.add.reduceat(values, offsets[:-1], axis=0, dtype=np.float64) if len(items) else values
        return (sums / np.diff(offsets)[:, None]).astype(np.float32), Tokens(values, offsets)

    def _encode(self, frames: list[Any]) -> NDArray[np.float32]:
        return self._inner.encode(frames if self._collate is None else self._collate(frames))
