"""Reads frames of a video file at even distances in time, upright and in RGB; or says in one line why it cannot.

A first pass lists when each frame is shown, without decoding; a second decodes from the nearest key frames. Only the
containers named here are opened: others, such as play lists, may name further files.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from xfeat.backbones.images import MAX_PIXELS
from xfeat.errors import SampleError

CONTAINERS = (
    "asf,avi,dv,flv,gif,h264,hevc,ivf,m4v,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mpeg,mpegts,mpegvideo,mxf,nut,ogg,rm,"
    "yuv4mpegpipe"
)
MAX_PACKETS = 2_000_000
MAX_SECONDS = 300.0  # on the wall clock
_COVER = 0x400  # ffmpeg's disposition of a picture that comes with a piece of music
_OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
_TURNS = {1: "ROTATE_90", 2: "ROTATE_180", 3: "ROTATE_270"}

# For the fingerprint of whoever reads videos with this.
READING = {
    "frames": "shown at the middles of equal parts of the duration; all where there are no more",
    "stream": "the first that is no cover picture",
    "rgb": "swscale's default",
    "orientation": "display matrix, quarter turns",
    "pixel_aspect": "as stored",
    "max_pixels": MAX_PIXELS,
}

_T = TypeVar("_T")


def read_frames(path: Path, count: int, finish: Callable[[Any], _T]) -> list[_T]:
    """Decode frames that are shown at the middles of ``count`` equal parts of a video's duration.

    Args:
        path: the file.
        count: how many; a video with fewer frames gives each of them once.
        finish: called with each frame as a Pillow RGB image, in order of time.

    Raises:
        SampleError: missing, empty, not a video, no frames, truncated, damaged, over 89 million pixels, or beyond
            what is read of one file.
    """
    if not path.is_file():
        raise SampleError("file not found")
    if path.stat().st_size == 0:
        raise SampleError("empty file")
    clock = _Clock(monotonic() + MAX_SECONDS)
    with _in_words():
        times, keys, end = _timeline(path, clock)
        if times is not None:
            wanted = middles(times, end, count)
            found = _by_time(path, sorted(set(wanted)), keys, finish, clock)
            if found is not None:
                return [found[shown] for shown in wanted]
        return _in_order(path, count, finish, clock)


def middles(times: Sequence[int], end: int, count: int) -> list[int]:
    """What is shown at the middles of ``count`` equal parts from the first time to the end.

    Args:
        times: when each frame begins, ascending; not empty.
        end: when the last one ends.
        count: how many.

    Returns:
        ``count`` of the times, ascending, repeated where one frame is shown that long; all of them where there are no
        more than ``count``.
    """
    if len(times) <= count:
        return list(times)
    start = times[0]
    instants = (start + (2 * part + 1) * (end - start) // (2 * count) for part in range(count))
    return [times[max(0, bisect_right(times, instant) - 1)] for instant in instants]


@dataclass(frozen=True)
class _Clock:
    deadline: float

    def check(self) -> None:
        if monotonic() > self.deadline:
            raise SampleError(f"video takes longer than {MAX_SECONDS:.0f} s to read")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    import av

    try:
        container = av.open(str(path.absolute()), options=_OPTIONS)
    except EOFError:
        raise SampleError("no video frames") from None
    except (av.FFmpegError, ValueError):
        raise SampleError("not a video in a known format, or cut short") from None
    with container:
        streams = [s for s in container.streams.video if not int(getattr(s, "disposition", 0)) & _COVER]
        if not streams:
            raise SampleError("no video in the file")
        stream = streams[0]
        stream.codec_context.thread_count = 1  # decoding runs in several processes already
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # of frames larger than the head says
        _refuse_size(stream.codec_context.width, stream.codec_context.height)
        yield container, stream


@contextmanager
def _in_words() -> Iterator[None]:
    import av

    try:
        yield
    except (av.FFmpegError, EOFError) as error:
        # The message itself ends with the path; a status must read the same on every machine.
        raise SampleError(
            f"unreadable video ({(getattr(error, 'strerror', None) or type(error).__name__)[:100]})"
        ) from error


def _timeline(path: Path, clock: _Clock) -> tuple[list[int] | None, list[int], int]:
    """When each frame is shown, ascending (None where the file does not say); which are key frames; the end."""
    times, keys, packets, last = [], [], 0, 0
    timed = True
    with _opened(path) as (container, stream):
        for packet in container.demux(stream):
            if not packet.size or getattr(packet, "is_discard", False):
                continue
            clock.check()
            packets += 1
            if packets > MAX_PACKETS:
                raise SampleError(f"video of more than {MAX_PACKETS} packets")
            timed = timed and packet.pts is not None
            if not timed:
                continue
            times.append(packet.pts)
            last = max(last, packet.pts + max(0, packet.duration or 0))
            if packet.is_keyframe:
                keys.append(packet.pts)
        if not packets:
            raise SampleError("no video frames")
        if not timed or len(set(times)) < packets:
            _refuse_truncated(path, stream, packets, None)
            return None, [], 0
        times.sort()
        step = (times[-1] - times[0]) // max(1, packets - 1)
        end = last if last > times[-1] else times[-1] + max(1, step)
        _refuse_truncated(path, stream, packets, (end + step) * stream.time_base)
        return times, sorted(keys), end


def _refuse_truncated(path: Path, stream: Any, packets: int, end: Any) -> None:
    """Compare what was found with what the file's head promises: ffmpeg reads what is left and does not say so."""
    if "mp4" in stream.container.format.name and hasattr(stream, "index_entries"):
        size = path.stat().st_size
        there = sum(1 for entry in stream.index_entries if entry.pos + entry.size <= size)
        promised = len(stream.index_entries)
    else:
        there, promised = packets, stream.frames
    if there < promised:
        raise SampleError(f"truncated video: {there} of {promised} frames")
    declared = stream.metadata.get("DURATION", "").split(":")  # Matroska
    if end is not None and len(declared) == 3:
        try:
            seconds = int(declared[0]) * 3600 + int(declared[1]) * 60 + float(declared[2])
        except ValueError:
            return
        if float(end) + 0.1 < seconds:
            raise SampleError(f"truncated video: {float(end):.1f} of {seconds:.1f} s")


def _by_time(
    path: Path, wanted: list[int], keys: list[int], finish: Callable[[Any], _T], clock: _Clock
) -> dict[int, _T] | None:
    """The frames shown from the wanted times (ascending) on; None where the decoder's times are in disorder."""
    found: dict[int, _T] = {}
    with _opened(path) as (container, stream):
        frames, before, reached = container.decode(stream), None, None
        for target in wanted:
            key = keys[bisect_right(keys, target) - 1] if keys and keys[0] <= target else None
            if key is not None and key > (keys[0] if reached is None else reached):
                container.seek(key, stream=stream)
                frames, before = container.decode(stream), None
            while before is None or before.pts < target:
                frame = next(frames, None)
                clock.check()
                if frame is None:
                    break
                _refuse_damaged(frame)
                if frame.pts is None or (before is not None and frame.pts <= before.pts):
                    return None
                if before is None and frame.pts > target:  # the seek went too far
                    return None
                before = frame
            if before is None or before.pts != target:
                return None
            reached = target
            found[target] = finish(_upright(before))
    return found


def _in_order(path: Path, count: int, finish: Callable[[Any], _T], clock: _Clock) -> list[_T]:
    """The frames by the decoder's own times; shown equally long, in its order, where those are in disorder."""
    shown = [frame.pts for frame in _decoded(path, clock)]
    if not shown:
        raise SampleError("no video frames")
    total = len(shown)
    if None in shown or any(later <= earlier for earlier, later in pairwise(shown)):
        shown = list(range(total))
    wanted = middles(shown, shown[-1] + max(1, (shown[-1] - shown[0]) // max(1, total - 1)), count)
    places = set(wanted)
    found = {
        time: finish(_upright(frame))
        for time, frame in zip(shown, _decoded(path, clock), strict=False)
        if time in places
    }
    return [found[time] for time in wanted]


def _decoded(path: Path, clock: _Clock) -> Iterator[Any]:
    """All frames, in the decoder's order."""
    with _opened(path) as (container, stream):
        for frame in container.decode(stream):
            clock.check()
            _refuse_damaged(frame)
            yield frame


def _refuse_damaged(frame: Any) -> None:
    if frame.is_corrupt:
        raise SampleError("damaged video: a frame cannot be decoded whole")
    _refuse_size(frame.width, frame.height)


def _refuse_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise SampleError(f"video of {width}x{height} is over the limit of {MAX_PIXELS} pixels")


def _upright(frame: Any) -> Any:
    from PIL import Image

    image = frame.to_image()
    turns = round(frame.rotation / 90) % 4  # anticlockwise
    return image.transpose(Image.Transpose[_TURNS[turns]]) if turns else image
