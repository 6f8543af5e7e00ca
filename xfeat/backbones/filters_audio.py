"""`filters:logmel`: log-mel spectrogram statistics; no learned weights.

Bands follow the HTK mel formula (Young et al., The HTK Book, section 5.4), deltas the regression over two frames either
side (same book, eq. 5.16). Means over equal time segments keep the order of sounds, which a mean over the
clip would lose.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.backbones.audio import CHANNELS, LIMITS, RESAMPLING, SILENCE, Floats, read_mono, resample, unit_wave
from xfeat.cache.tokens import Tokens, offsets_of
from xfeat.errors import SampleError

RATE = 16_000
FRAME = 400
HOP = 160
FFT = 512
BANDS = 64
LOW_HZ, HIGH_HZ = 50.0, 8_000.0
FLOOR_DB = 80.0
TRIM_DB = 40.0
SEGMENTS = 5


class LogMelBackbone:
    """Audio to statistics of its 64-band log-mel spectrogram, loudness and outer silence removed.

    Layout of the 576 numbers, 64 bands each: mean, standard deviation, mean absolute delta and maximum over the clip,
    then the mean of each of 5 equal time segments.
    Decibels are divided by 20, so values lie within [-4, 4].
    """

    kind = "audio"
    name = "filters:logmel"
    dim = BANDS * (SEGMENTS + 4)
    token_dim = BANDS

    def fingerprint(self) -> dict[str, Any]:
        """Every setting that changes the numbers, JSON-able."""
        import scipy
        import soundfile

        return {
            "backbone": self.name,
            "algorithm": 1,
            "rate": RATE,
            "channels": CHANNELS,
            "resample": RESAMPLING,
            "frame": FRAME,
            "hop": HOP,
            "fft": FFT,
            "window": "hann",
            "mel": {"formula": "htk", "bands": BANDS, "low_hz": LOW_HZ, "high_hz": HIGH_HZ, "peak": 1},
            "level": "0 dB at the loudest band of the clip",
            "floor_db": FLOOR_DB,
            "trim_db": TRIM_DB,
            "segments": SEGMENTS,
            "limits": dict(LIMITS),
            "silence": SILENCE,
            "dim": self.dim,
            "versions": {
                "numpy": np.__version__,
                "scipy": scipy.__version__,
                "libsndfile": soundfile.__libsndfile_version__,
            },
        }

    def load(self, source: Path | str) -> NDArray[np.float32]:
        """Decode one audio file to a mono waveform at 16 kHz, (samples,) float32, mean 0, peak 1.

        Raises:
            SampleError: missing, empty, corrupt, truncated, non-finite, silent, shorter than a frame (25 ms), longer
                than 10 minutes, or at a sampling rate outside 1 kHz to 768 kHz.
        """
        wave, rate = read_mono(Path(source))
        wave = resample(unit_wave(wave), rate, RATE)
        if len(wave) < FRAME:
            raise SampleError(f"audio shorter than one frame ({1000 * FRAME // RATE} ms)")
        loudest = float(np.abs(wave).max())
        if loudest < SILENCE:  # everything lay above the new Nyquist frequency
            raise SampleError("silent audio")
        return np.asarray(wave / loudest, dtype=np.float32)

    def encode(self, items: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Filter n loaded waveforms, each on its own so that no row depends on its batch; returns (n, 576) float32."""
        rows = [_statistics(scaled) for scaled in _scaled(items)]
        return np.stack(rows).astype(np.float32) if rows else np.zeros((0, self.dim), np.float32)

    def token_fingerprint(self) -> dict[str, Any]:
        """Which tokens they are: one per frame of the spectrogram, outer silence left out."""
        return {"unit": "time step", "layer": "log-mel spectrogram, dB / 20", "seconds": HOP / RATE}

    def encode_tokens(self, items: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], Tokens]:
        """As ``encode``, and n sequences of (frames, 64) log-mel bands, one frame every 10 ms, within [-4, 0]."""
        frames = list(_scaled(items))
        if not frames:
            return np.zeros((0, self.dim), np.float32), Tokens(np.zeros((0, BANDS), np.float32), np.zeros(1, np.int64))
        rows = np.stack([_statistics(scaled) for scaled in frames]).astype(np.float32)
        offsets = offsets_of(np.array([len(scaled) for scaled in frames]))
        return rows, Tokens(np.concatenate(frames).astype(np.float32), offsets)


def _scaled(items: Sequence[NDArray[np.float32]]) -> Iterator[Floats]:
    """The spectrograms (frames, BANDS) of n waveforms in units of 20 dB, one after the other."""
    window, filters = np.hanning(FRAME + 1)[:-1], mel_filters()
    for item in items:
        yield _log_mel(item.astype(np.float64), window, filters) / 20


def mel_filters() -> Floats:
    """(BANDS, FFT // 2 + 1) triangles of peak 1, evenly spaced on the HTK mel scale 2595 log10(1 + f / 700)."""
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (LOW_HZ, HIGH_HZ))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    hz = np.arange(FFT // 2 + 1) * RATE / FFT
    rising = (hz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - hz) / (edges[2:] - edges[1:-1])[:, None]
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)))


def _log_mel(wave: Floats, window: Floats, filters: Floats) -> Floats:
    """(frames, BANDS) decibels in [-80, 0], 0 at the loudest band; outer frames 40 dB under the loudest are cut."""
    wave = np.pad(wave, (0, -(len(wave) - FRAME) % HOP))  # the last samples fill a frame too
    frames = np.lib.stride_tricks.sliding_window_view(wave, FRAME)[::HOP]
    energy = np.einsum("ij,ij->i", frames, frames)
    heard = np.flatnonzero(energy > energy.max() * 10 ** (-TRIM_DB / 10))
    frames = frames[heard[0] : heard[-1] + 1]
    power = np.abs(np.fft.rfft(frames * window, FFT, axis=1)) ** 2
    bands = power @ filters.T
    decibels = 10 * np.log10(np.maximum(bands, 1e-30))
    return np.asarray(np.maximum(decibels - decibels.max(), -FLOOR_DB))


def _statistics(scaled: Floats) -> Floats:
    """Summarise (frames, BANDS) decibels over 20 into (dim,) numbers."""
    parts = [scaled.mean(axis=0), scaled.std(axis=0), np.abs(_deltas(scaled)).mean(axis=0), scaled.max(axis=0)]
    count = len(scaled)
    for segment in range(SEGMENTS):
        start = segment * count // SEGMENTS
        stop = max(start + 1, (segment + 1) * count // SEGMENTS)
        parts.append(scaled[start:stop].mean(axis=0))
    return np.concatenate(parts)


def _deltas(frames: Floats) -> Floats:
    """Regression slope over two frames either side, edges repeated."""
    padded = np.pad(frames, ((2, 2), (0, 0)), mode="edge")
    return np.asarray((padded[3:-1] - padded[1:-3] + 2 * (padded[4:] - padded[:-4])) / 10)
