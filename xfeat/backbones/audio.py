"""Reads an audio file to one channel, or says in one line why it cannot; changes sampling rates."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfeat.errors import SampleError

MAX_SECONDS = 600
MAX_SAMPLES = 2**26
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
SILENCE = 1e-6

# For the fingerprint of whoever reads audio with this.
CHANNELS = "mean"
RESAMPLING = "scipy.signal.resample_poly, kaiser 5.0"
LIMITS = {"seconds": MAX_SECONDS, "samples": MAX_SAMPLES, "rates": [LOWEST_RATE, HIGHEST_RATE]}

Floats = NDArray[np.float64]


def read_mono(path: Path) -> tuple[Floats, int]:
    """Decode a file: the mean of its channels (samples,) float64, and its sampling rate.

    Raises:
        SampleError: missing, empty, corrupt, truncated, non-finite, longer than 10 minutes, or at a sampling rate
            outside 1 kHz to 768 kHz; without the path.
    """
    import soundfile

    if not path.is_file():
        raise SampleError("file not found")
    if path.stat().st_size == 0:
        raise SampleError("empty file")
    _refuse_truncated_riff(path)
    try:
        with soundfile.SoundFile(path) as file:
            rate, frames, channels = int(file.samplerate), int(file.frames), int(file.channels)
            if not LOWEST_RATE <= rate <= HIGHEST_RATE:
                raise SampleError(f"sampling rate of {rate} Hz is outside {LOWEST_RATE} to {HIGHEST_RATE}")
            if frames > MAX_SECONDS * rate or frames * channels > MAX_SAMPLES:
                raise SampleError(f"audio of {frames / rate:.0f} s is over the limit: cut it into shorter clips")
            samples = file.read(frames, dtype="float32", always_2d=True)
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        # libsndfile puts the path before the reason; a status must read the same on every machine.
        reason = str(error).rpartition(": ")[2].replace(str(path), "file").strip() or type(error).__name__
        raise SampleError(f"unreadable audio ({reason[:100]})") from error
    if len(samples) == 0:
        raise SampleError("no audio samples")
    if len(samples) < frames:
        raise SampleError(f"truncated audio: {len(samples)} of {frames} frames")
    if not np.isfinite(samples).all():
        raise SampleError("non-finite audio samples")
    return np.asarray(samples.mean(axis=1, dtype=np.float64)), rate


def unit_wave(wave: Floats) -> Floats:
    """Scale a waveform to a peak of 1, then move its mean to 0.

    Raises:
        SampleError: nothing is heard: it is zero or constant.
    """
    peak = float(np.abs(wave).max())
    # Scaling before the mean keeps float files with huge values from overflowing.
    wave = wave / peak if peak > 0 else wave
    wave = wave - wave.mean()
    if peak < SILENCE or float(np.abs(wave).max()) < SILENCE:
        raise SampleError("silent audio")
    return wave


def resample(wave: Floats, rate: int, target: int) -> Floats:
    """Bring a waveform from one sampling rate to another; band-limited, no delay."""
    if rate == target:
        return wave
    from scipy.signal import resample_poly

    common = math.gcd(rate, target)
    return np.asarray(resample_poly(wave, target // common, rate // common), dtype=np.float64)


def _refuse_truncated_riff(path: Path) -> None:
    """Compare a WAV file's data chunk with the file's size: libsndfile reads what is left and does not say so."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(12)
        if header[:4] != b"RIFF" or header[8:12] != b"WAVE":
            return
        for _ in range(1_000):  # a file of nothing but empty chunks must not keep us
            name, length = file.read(4), int.from_bytes(file.read(4), "little")
            if name != b"data":
                file.seek(length + length % 2, 1)
                continue
            present = size - file.tell()
            if present < length < 0xFFFFFF00:  # a larger length comes from a writer to a pipe, who cannot know it
                raise SampleError(f"truncated audio: {present} of {length} bytes")
            return
