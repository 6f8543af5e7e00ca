"""Videos of known grey levels, one per frame, written with ffmpeg's own encoders, show which frames were read."""

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from xfeat.backbones import video_frames
from xfeat.backbones.video_frames import middles, read_frames
from xfeat.errors import SampleError

STEP = 8  # between the grey levels of one frame and the next


def write(
    path: Path,
    frames: int,
    codec: str = "mpeg4",
    *,
    size: tuple[int, int] = (64, 48),
    times: Sequence[int] | None = None,
    noise: bool = False,
    rate: int = 10,
    **options: str,
) -> Path:
    """Frames at a rate, or at given times in its units; frame n has the grey level 8 n."""
    import av

    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = *size, "yuv420p", 5
        stream.bit_rate, stream.codec_context.time_base = 2_000_000, Fraction(1, rate)
        rng = np.random.default_rng(0)
        for place, time in enumerate(times or range(frames)):
            pixels = np.full((size[1], size[0], 3), STEP * place, np.uint8)
            if noise:
                pixels = rng.integers(0, 256, pixels.shape, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def seen(path: Path, count: int) -> list[int]:
    """The numbers of the frames that are read."""
    return [round(float(np.asarray(image).mean()) / STEP) for image in read_frames(path, count, lambda image: image)]


@given(
    gaps=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    start=st.integers(-100, 100),
    tail=st.integers(1, 50),
    count=st.integers(1, 40),
)
def test_middles_by_hand(gaps: list[int], start: int, tail: int, count: int) -> None:
    times = [start + sum(gaps[:place]) for place in range(len(gaps))]
    end = times[-1] + tail
    shown = middles(times, end, count)
    if len(times) <= count:
        assert shown == times
        return
    expected = []
    for part in range(count):
        middle = start + Fraction(2 * part + 1, 2 * count) * (end - start)
        expected.append(max(time for time in times if time <= middle))
    assert shown == expected


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("x.mp4", "mpeg4"),
        ("x.mp4", "libx264"),  # with frames that are stored out of order
        ("x.avi", "mpeg4"),
        ("x.avi", "libx264"),  # whose container gives no times for them
        ("x.mkv", "libx264"),
        ("x.webm", "libvpx"),
        ("x.ts", "libx264"),
        ("x.mpg", "mpeg2video"),
        ("x.h264", "libx264"),  # no container at all
    ],
)
@pytest.mark.parametrize(("count", "expected"), [(1, [15]), (4, [3, 11, 18, 26]), (60, list(range(30)))])
def test_frames_of_every_container(tmp_path: Path, name: str, codec: str, count: int, expected: list[int]) -> None:
    import av

    if codec not in av.codecs_available:
        pytest.skip(f"this ffmpeg has no encoder {codec}")
    rate = 25 if codec == "mpeg2video" else 10  # MPEG-2 knows few rates
    assert seen(write(tmp_path / name, 30, codec, rate=rate), count) == expected


def test_an_animated_picture_is_a_video(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), STEP * place) for place in range(6)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:], duration=100)
    assert seen(tmp_path / "x.gif", 3) == [1, 3, 5]


def test_times_count_and_not_frames(tmp_path: Path) -> None:
    # Frame 4 is shown from 0.4 s to 3.0 s: of middles at 0.55, 1.65 and 2.75 s it fills all.
    path = write(tmp_path / "x.mkv", 8, "libx264", times=[0, 1, 2, 3, 4, 30, 31, 32])
    assert seen(path, 3) == [4, 4, 4]
    assert seen(path, 6) == [2, 4, 4, 4, 4, 5]


def test_colours_are_kept(tmp_path: Path) -> None:
    import av

    colours = [(200, 30, 30), (30, 160, 40), (20, 40, 210)]
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for colour in np.repeat(colours, 10, axis=0):
            pixels = np.broadcast_to(colour.astype(np.uint8), (48, 64, 3)).copy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    images = read_frames(tmp_path / "x.mp4", 3, lambda image: image)
    assert all(image.mode == "RGB" and image.size == (64, 48) for image in images)
    means = [np.asarray(image).reshape(-1, 3).mean(axis=0) for image in images]
    np.testing.assert_allclose(means, colours, atol=8)


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((1, 0, 0, 1), lambda pixels: pixels),
        ((0, 1, -1, 0), lambda pixels: np.rot90(pixels, -1)),  # a quarter clockwise, as telephones write it
        ((-1, 0, 0, -1), lambda pixels: np.rot90(pixels, 2)),
        ((0, -1, 1, 0), lambda pixels: np.rot90(pixels, 1)),
    ],
)
def test_frames_are_turned_upright(tmp_path: Path, matrix: tuple[int, ...], turned: Callable[[Any], Any]) -> None:
    import av

    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:16, :16] = 240  # bright at the upper left
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    data = bytearray((tmp_path / "x.mp4").read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # ISO 14496-12: the matrix of a track header, 16.16 fixed point
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "x.mp4").write_bytes(data)
    (image,) = read_frames(tmp_path / "x.mp4", 3, lambda image: image)
    np.testing.assert_allclose(np.asarray(image), turned(pixels), atol=40)


def cut_short(name: str, **options: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = write(folder / name, 30, noise=True, **options)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return path

    return make


def damaged(folder: Path) -> Path:
    path = write(folder / "x.mp4", 30, noise=True)
    data = bytearray(path.read_bytes())
    for place in np.random.default_rng(0).integers(len(data) // 4, len(data) * 3 // 4, 400):
        data[place] ^= 0xFF
    path.write_bytes(data)
    return path


def sound_alone(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import soundfile

        soundfile.write(folder / name, np.random.default_rng(0).uniform(-0.1, 0.1, 8_000), 8_000)
        return folder / name

    return make


def no_frames(folder: Path) -> Path:
    import av

    with av.open(str(folder / "x.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return folder / "x.avi"


def play_list(folder: Path) -> Path:
    write(folder / "inner.ts", 5)
    (folder / "x.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ninner.ts\n#EXT-X-ENDLIST\n")
    return folder / "x.m3u8"


def written(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def picture(folder: Path) -> Path:
    Image.new("RGB", (8, 8)).save(folder / "x.png")
    return folder / "x.png"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder / "none.mp4", "file not found"),
        (written("x.mp4", b""), "empty file"),
        (written("x.mp4", b"no video but a text\n" * 50), "not a video in a known format"),
        (written("x.mp4", bytes(5_000)), "not a video in a known format"),
        (picture, "not a video in a known format"),
        (play_list, "not a video in a known format"),
        (sound_alone("x.wav"), "not a video in a known format"),
        (sound_alone("x.ogg"), "no video in the file"),
        (no_frames, "no video|not a video"),
        (cut_short("x.mp4"), "cut short"),
        (cut_short("x.mp4", movflags="faststart"), r"truncated video: \d+ of 30 frames"),
        (cut_short("x.avi"), r"truncated video: \d+ of 30 frames"),
        (cut_short("x.mkv"), r"truncated video: \d\.\d of 3\.0 s"),
        (damaged, "damaged video|unreadable video"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, make: Callable[[Path], Path], reason: str) -> None:
    path = make(tmp_path)
    with pytest.raises(SampleError, match=reason) as caught:
        read_frames(path, 8, lambda image: image)
    assert tmp_path.name not in str(caught.value)
    assert path.name not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_huge_frames_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.y4m").write_bytes(b"YUV4MPEG2 W12000 H8000 F10:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(1_000))
    with pytest.raises(SampleError, match="video of 12000x8000 is over the limit"):
        read_frames(tmp_path / "x.y4m", 2, lambda image: image)


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("MAX_PIXELS", 64 * 48 - 1, "video of 64x48 is over the limit"),
        ("MAX_PACKETS", 9, "more than 9 packets"),
        ("MAX_SECONDS", -1.0, "takes longer"),
    ],
)
def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float, reason: str) -> None:
    path = write(tmp_path / "x.mp4", 10)
    assert len(seen(path, 3)) == 3
    monkeypatch.setattr(video_frames, limit, value)
    with pytest.raises(SampleError, match=reason):
        read_frames(path, 3, lambda image: image)
