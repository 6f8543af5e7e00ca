"""A video is the mean of its frames: what the image backbone says of each frame alone is the oracle."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xfeat.backbones.base import Setup
from xfeat.backbones.filters_image import HogBackbone
from xfeat.backbones.registry import open_backbone
from xfeat.backbones.video import VideoBackbone
from xfeat.backbones.video_frames import read_frames
from xfeat.errors import InputError, SampleError


def write(path: Path, frames: int, seed: int = 0) -> Path:
    """Random colours in blocks, another picture in every frame."""
    import av

    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(frames):
            pixels = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8).repeat(16, axis=0).repeat(16, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def videos(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / f"{place}.mp4", frames, place) for place, frames in enumerate((30, 3, 1, 12))]


def opened(frames: int = 5, spec: str = "video:filters:hog") -> VideoBackbone:
    backbone = open_backbone(spec, setup=Setup(device="cpu", frames=frames))
    assert isinstance(backbone, VideoBackbone)
    return backbone


def alone(backbone: Any, video: Path, frames: int, folder: Path) -> Any:
    """Each frame written to a file of its own, and encoded from there on its own."""
    rows = []
    for image in read_frames(video, frames, lambda image: image):
        image.save(folder / "frame.png")
        rows.append(backbone.encode([backbone.load(folder / "frame.png")])[0])
    return np.stack(rows)


def test_mean_and_tokens_are_those_of_the_frames(videos: list[Path], tmp_path: Path) -> None:
    backbone = opened()
    expected = [alone(HogBackbone(), video, 5, tmp_path) for video in videos]
    items = [backbone.load(video) for video in videos]
    features, tokens = backbone.encode_tokens(items)
    assert tokens.lengths.tolist() == [5, 3, 1, 5]
    np.testing.assert_allclose(tokens.values, np.concatenate(expected), atol=1e-6)
    np.testing.assert_allclose(features, [rows.mean(axis=0) for rows in expected], atol=1e-6)
    np.testing.assert_array_equal(features, backbone.encode(items))
    assert features.dtype == tokens.values.dtype == np.float32
    assert (backbone.kind, backbone.name, backbone.dim) == ("video", "video:filters:hog", HogBackbone.dim)
    assert backbone.token_dim == backbone.dim
    assert backbone.encode([]).shape == (0, backbone.dim)
    assert len(backbone.encode_tokens([])[1]) == 0


def test_a_row_does_not_depend_on_its_batch(videos: list[Path]) -> None:
    backbone = opened()
    items = [backbone.load(video) for video in videos]
    np.testing.assert_array_equal(backbone.encode(items), np.concatenate([backbone.encode([item]) for item in items]))


class Counting(HogBackbone):
    """Remembers how much it is given at once."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def encode(self, items: Any) -> Any:
        self.sizes.append(len(items))
        return super().encode(items)


def test_no_more_frames_at_a_time_than_videos(videos: list[Path]) -> None:
    inner = Counting()
    backbone = VideoBackbone(inner, 5)
    backbone.encode([backbone.load(video) for video in videos])
    assert inner.sizes == [4, 4, 4, 2]


def test_the_loader_travels(videos: list[Path]) -> None:
    backbone = opened()
    load = pickle.loads(pickle.dumps(backbone.load))
    np.testing.assert_array_equal(load(videos[0]), backbone.load(videos[0]))


def test_networks_too(videos: list[Path], tmp_path: Path) -> None:
    """A random network, whose loader prepares images for it."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model("resnet10t.c3_in1k", pretrained=False)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    spec = f"timm:resnet10t.c3_in1k@{tmp_path / 'w.safetensors'}"
    inner, backbone = open_backbone(spec, "image", Setup(device="cpu")), opened(2, f"video:{spec}")
    items = [pickle.loads(pickle.dumps(backbone.load))(video) for video in videos[:2]]
    expected = [alone(inner, video, 2, tmp_path).mean(axis=0) for video in videos[:2]]
    np.testing.assert_allclose(backbone.encode(items), expected, atol=1e-4)
    assert backbone.fingerprint()["inner"] == inner.fingerprint()
    assert str(tmp_path) not in json.dumps(backbone.fingerprint())


def test_fingerprint_tells_what_decides_the_numbers() -> None:
    first = opened().fingerprint()
    assert json.loads(json.dumps(first)) == first
    assert first["inner"] == HogBackbone().fingerprint()
    assert first["versions"]["libavcodec"]
    assert opened(6).fingerprint() != first
    assert opened().token_fingerprint()["unit"] == "frame"


@pytest.mark.parametrize(
    ("spec", "frames", "reason"),
    [
        ("video:hog", 8, "write video: and an image backbone"),
        ("video:filters:logmel", 8, "reads audio, not image"),
        ("video:filters:hogs", 8, "did you mean hog"),
        ("video:video:filters:hog", 8, "reads video, not image"),
        ("video:filters:hog", 0, "take at least 1"),
    ],
)
def test_refuses_in_words(spec: str, frames: int, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        opened(frames, spec)


class FilesOnly:
    kind, name, dim = "image", "other:files", 1

    def load(self, source: Any) -> Any:
        return Image.open(source)


def test_an_image_backbone_must_take_images() -> None:
    with pytest.raises(InputError, match="other:files reads image files only"):
        VideoBackbone(FilesOnly(), 8)  # type: ignore[arg-type]


def test_a_file_that_is_no_video_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("text")
    with pytest.raises(SampleError, match="not a video"):
        opened().load(tmp_path / "x.mp4")
