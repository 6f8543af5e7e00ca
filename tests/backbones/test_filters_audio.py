"""The filter bank is checked against the formula, the features by laws of sound and by real speech."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from xfeat.backbones.filters_audio import BANDS, LogMelBackbone, mel_filters
from xfeat.errors import SampleError

LOGMEL = LogMelBackbone()


def tone(hz: float, seconds: float = 0.4, rate: int = 16_000) -> NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)


def features(
    folder: Path, wave: NDArray[np.float64], rate: int = 16_000, subtype: str = "FLOAT"
) -> NDArray[np.float32]:
    soundfile.write(folder / "x.wav", wave, rate, subtype=subtype)
    return LOGMEL.encode([LOGMEL.load(folder / "x.wav")]).ravel()


def test_filters_follow_the_mel_formula() -> None:
    low, high = 2595 * math.log10(1 + 50 / 700), 2595 * math.log10(1 + 8000 / 700)
    edge = [700 * (10 ** ((low + i * (high - low) / (BANDS + 1)) / 2595) - 1) for i in range(BANDS + 2)]
    filters = mel_filters()
    for band in range(BANDS):
        for bin_ in range(257):
            hz = bin_ * 31.25
            rising = (hz - edge[band]) / (edge[band + 1] - edge[band])
            falling = (edge[band + 2] - hz) / (edge[band + 2] - edge[band + 1])
            assert filters[band, bin_] == pytest.approx(max(0.0, min(rising, falling)), abs=1e-9)
    assert (filters.sum(axis=1) > 0).all()


@pytest.mark.parametrize("hz", [200.0, 697.0, 1477.0, 5000.0])
def test_a_tone_is_loudest_in_its_band(tmp_path: Path, hz: float) -> None:
    expected = int(mel_filters()[:, round(hz / 31.25)].argmax())
    assert abs(int(features(tmp_path, tone(hz))[:BANDS].argmax()) - expected) <= 1


def test_loudness_does_not_matter(tmp_path: Path) -> None:
    wave = tone(500) + 0.1 * np.random.default_rng(0).normal(size=6400)
    np.testing.assert_allclose(features(tmp_path, wave), features(tmp_path, 0.001 * wave), atol=1e-4)


def test_outer_silence_does_not_matter(tmp_path: Path) -> None:
    wave, hush = np.concatenate([tone(500), tone(900)]), np.zeros(1600)
    padded = features(tmp_path, np.concatenate([hush, hush, wave, hush]))
    assert np.abs(padded - features(tmp_path, wave)).mean() < 0.15
    assert np.abs(padded - features(tmp_path, wave[::-1])).mean() > 0.3


def test_order_in_time_matters(tmp_path: Path) -> None:
    up, down = (features(tmp_path, np.concatenate(pair)) for pair in ((tone(500), tone(900)), (tone(900), tone(500))))
    np.testing.assert_allclose(up[:BANDS], down[:BANDS], atol=0.1)
    assert np.abs(up[4 * BANDS :] - down[4 * BANDS :]).max() > 1


def test_rates_and_channels_of_one_sound_agree(tmp_path: Path) -> None:
    reference = features(tmp_path, tone(700))[: BANDS // 2].argmax()
    for rate in (8_000, 22_050, 44_100, 48_000):
        stereo = np.repeat(tone(700, rate=rate)[:, None], 2, axis=1)
        assert features(tmp_path, stereo, rate, "PCM_16")[:BANDS].argmax() == reference


@given(seed=st.integers(0, 999), lengths=st.lists(st.integers(400, 5000), min_size=1, max_size=4))
def test_a_row_does_not_depend_on_its_batch(seed: int, lengths: list[int]) -> None:
    rng = np.random.default_rng(seed)
    waves = [rng.uniform(-1, 1, length).astype(np.float32) for length in lengths]
    together = LOGMEL.encode(waves)
    assert together.shape == (len(lengths), LOGMEL.dim)
    assert together.dtype == np.float32
    assert np.abs(together).max() <= 4
    np.testing.assert_array_equal(together, np.concatenate([LOGMEL.encode([wave]) for wave in waves]))


def test_no_audio_gives_no_rows() -> None:
    assert LOGMEL.encode([]).shape == (0, LOGMEL.dim)


def test_one_frame_is_enough(tmp_path: Path) -> None:
    assert np.isfinite(features(tmp_path, tone(800, 0.025))).all()


def test_a_click_after_the_last_whole_frame_is_heard(tmp_path: Path) -> None:
    wave = np.zeros(450)
    wave[440] = 1.0
    assert np.isfinite(features(tmp_path, wave)).all()


@pytest.mark.parametrize("value", [1e-30, 1e30])
def test_huge_and_tiny_floats(tmp_path: Path, value: float) -> None:
    if value < 1:
        with pytest.raises(SampleError, match="silent audio"):
            features(tmp_path, tone(500) * value)
    else:
        np.testing.assert_allclose(features(tmp_path, tone(500) * value), features(tmp_path, tone(500)), atol=1e-3)


@pytest.mark.parametrize(
    ("wave", "rate", "reason"),
    [
        (np.zeros(4000), 16_000, "silent audio"),
        (np.full(4000, 0.3), 16_000, "silent audio"),
        (np.full(4000, np.nan), 16_000, "non-finite"),
        (np.array([np.inf, -np.inf] * 2000), 16_000, "non-finite"),
        (tone(500, 0.02), 16_000, "shorter than one frame"),
        (np.zeros(0), 16_000, "no audio samples"),
        (np.ones(4000), 500, "sampling rate of 500 Hz"),
        (np.zeros(601 * 1000), 1_000, "over the limit"),
    ],
)
def test_audio_that_cannot_be_used_says_why(tmp_path: Path, wave: NDArray[np.float64], rate: int, reason: str) -> None:
    with pytest.raises(SampleError, match=reason):
        features(tmp_path, wave, rate)


def write_truncated(path: Path) -> None:
    soundfile.write(path, tone(500), 16_000)
    path.write_bytes(path.read_bytes()[:-3000])


def write_endless_chunks(path: Path) -> None:
    path.write_bytes(b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 5000)


@pytest.mark.parametrize(
    ("write", "name", "reason"),
    [
        (lambda path: None, "x.wav", "file not found"),
        (lambda path: path.touch(), "x.wav", "empty file"),
        (lambda path: path.write_text("not audio"), "x.wav", "unreadable audio"),
        (write_truncated, "x.wav", "truncated audio: 9800 of 12800 bytes"),
        (write_truncated, "x.flac", "audio"),
        (write_endless_chunks, "x.wav", "unreadable audio"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    tmp_path: Path, write: Callable[[Path], object], name: str, reason: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(SampleError, match=reason) as caught:
        LOGMEL.load(tmp_path / name)
    assert tmp_path.name not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wav_from_a_pipe_has_no_length_and_still_loads(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone(500), 16_000)
    data = (tmp_path / "x.wav").read_bytes()
    at = data.index(b"data") + 4
    (tmp_path / "piped.wav").write_bytes(data[:4] + b"\xff" * 4 + data[8:at] + b"\xff" * 4 + data[at + 4 :])
    np.testing.assert_array_equal(LOGMEL.load(tmp_path / "piped.wav"), LOGMEL.load(tmp_path / "x.wav"))


def test_fingerprint_is_json() -> None:
    fingerprint = LOGMEL.fingerprint()
    assert json.loads(json.dumps(fingerprint)) == fingerprint


def test_spoken_digits_are_told_apart(shared_data: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    takes: dict[bool, tuple[list[NDArray[np.float32]], list[str]]] = {True: ([], []), False: ([], [])}
    for path in sorted((shared_data / "fsdd").glob("*.wav")):
        digit, _, take = path.stem.split("_")
        if int(take) < 10 or int(take) > 13:
            takes[int(take) < 10][0].append(LOGMEL.load(path))
            takes[int(take) < 10][1].append(digit)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    model.fit(LOGMEL.encode(takes[True][0]), takes[True][1])
    assert model.score(LOGMEL.encode(takes[False][0]), takes[False][1]) > 0.94


def test_tokens_are_the_frames_that_the_statistics_are_of(tmp_path: Path) -> None:
    waves = [tone(500), np.concatenate([tone(300), tone(900)]), tone(800, 0.025)]
    items = []
    for wave in waves:
        soundfile.write(tmp_path / "x.wav", wave, 16_000, subtype="FLOAT")
        items.append(LOGMEL.load(tmp_path / "x.wav"))
    rows, tokens = LOGMEL.encode_tokens(items)
    np.testing.assert_array_equal(rows, LOGMEL.encode(items))
    assert tokens.values.dtype == np.float32
    assert tokens.values.shape[1] == LOGMEL.token_dim
    assert tokens.lengths[-1] == 1
    for place, row in enumerate(rows):
        frames = tokens.values[tokens.offsets[place] : tokens.offsets[place + 1]]
        np.testing.assert_allclose(frames.mean(axis=0), row[:BANDS], atol=1e-5)
        np.testing.assert_allclose(frames.max(axis=0), row[3 * BANDS : 4 * BANDS], atol=1e-5)
    both = tokens.values[tokens.offsets[1] : tokens.offsets[2]]
    low, high = (int(mel_filters()[:, round(hz / 31.25)].argmax()) for hz in (300, 900))
    assert abs(int(both[2].argmax()) - low) <= 1
    assert abs(int(both[-3].argmax()) - high) <= 1
    assert LOGMEL.encode_tokens([])[1].values.shape == (0, BANDS)


def test_one_token_by_hand(tmp_path: Path) -> None:
    """A single frame: its spectrum by the sum over samples, its bands by the filters, against its loudest band."""
    soundfile.write(tmp_path / "x.wav", tone(1000, 0.025), 16_000, subtype="FLOAT")
    item = LOGMEL.load(tmp_path / "x.wav")
    windowed = [float(item[n]) * (0.5 - 0.5 * math.cos(2 * math.pi * n / 400)) for n in range(400)]
    turns = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
    decibels = 10 * np.log10(np.maximum(mel_filters() @ np.abs(turns @ windowed) ** 2, 1e-30))
    expected = np.maximum(decibels - decibels.max(), -80) / 20
    np.testing.assert_allclose(LOGMEL.encode_tokens([item])[1].values, expected[None], atol=1e-5)
