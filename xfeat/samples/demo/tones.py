"""Digits as sound: the dual tones of a telephone keypad (DTMF), with the faults of a bad line.

Frequencies and their tolerance of 1.5 % are those of ITU-T Recommendations Q.23 and Q.24.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfeat.samples.demo.rows import Row, deal_splits

RATE = 8_000
LOW_HZ = (697.0, 770.0, 852.0, 941.0)
HIGH_HZ = (1209.0, 1336.0, 1477.0)
TOLERANCE = 0.015
SNR_DB = (-11.0, 12.0)


def tone_frequencies(digit: int) -> tuple[float, float]:
    """Return the row and the column frequency in Hz of a digit's key: 1 2 3 / 4 5 6 / 7 8 9 / * 0 #."""
    row, column = (3, 1) if digit == 0 else divmod(digit - 1, 3)
    return LOW_HZ[row], HIGH_HZ[column]


def write_tones(folder: Path, seed: int, per_class: int = 80) -> list[Row]:
    """Write noisy key tones as 8 kHz 16-bit mono WAV files of 0.3 to 0.5 s under ``folder/audio``; one row per file."""
    import soundfile

    rng = np.random.default_rng([seed, 3])
    labels = np.repeat(np.arange(10), per_class)
    splits = deal_splits(labels, rng)
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for index, (digit, split) in enumerate(zip(labels, splits, strict=True)):
        path = f"audio/{index:04d}.wav"
        wav = io.BytesIO()  # libsndfile writes a file in many small pieces
        soundfile.write(wav, make_tone(int(digit), rng), RATE, format="WAV", subtype="PCM_16")
        (folder / path).write_bytes(wav.getvalue())
        rows.append(Row(f"audio-{index:04d}", split, str(digit), audio=path))
    return rows


def make_tone(digit: int, rng: np.random.Generator, snr_db: tuple[float, float] = SNR_DB) -> NDArray[np.float64]:
    """One press of a key, (samples,) within [-0.9, 0.9].

    At random: clip length, start and length of the press, detuning of each tone within tolerance, their phases and
    level difference (up to 6 dB), white noise at ratios within ``snr_db``, and the level of the whole. A mains hum is
    added under the noise.
    """
    total = int(rng.uniform(0.3, 0.5) * RATE)
    length = int(rng.uniform(0.1, 0.2) * RATE)
    start = int(rng.integers(0, total - length))
    time = np.arange(length) / RATE
    low, high = (hz * (1 + rng.uniform(-TOLERANCE, TOLERANCE)) for hz in tone_frequencies(digit))
    twist = 10 ** (rng.uniform(-3, 3) / 20)
    low_phase, high_phase, hum_phase = rng.uniform(0, 2 * np.pi, 3)
    press = np.sin(2 * np.pi * low * time + low_phase) * twist + np.sin(2 * np.pi * high * time + high_phase) / twist
    ramp = np.minimum(1.0, np.minimum(time, time[::-1]) / 0.005)  # 5 ms without a click
    noise_level = np.sqrt((press**2).mean()) * 10 ** (-rng.uniform(*snr_db) / 20)
    wave = rng.normal(0, noise_level, total)
    wave += 0.3 * noise_level * np.sin(2 * np.pi * 50 * np.arange(total) / RATE + hum_phase)
    wave[start : start + length] += press * ramp
    return np.asarray(wave / np.abs(wave).max() * rng.uniform(0.1, 0.9))
