"""The library's feature extractor is the oracle; where it draws by lot, the middle of what it draws from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from xfeat.backbones.base import Cut
from xfeat.backbones.clap_audio import ClipBatch, ClipReader
from xfeat.errors import SampleError

RATE = 4_000


def reader(truncation: str) -> ClipReader:
    from transformers import ClapFeatureExtractor

    sizes = {"sampling_rate": RATE, "hop_length": 40, "max_length_s": 1, "fft_window_size": 256}
    return ClipReader(ClapFeatureExtractor(64, **sizes, frequency_max=2_000, truncation=truncation))


def noise(seconds: float, rate: int = RATE) -> NDArray[np.float64]:
    return np.random.default_rng(0).uniform(-0.4, 0.4, int(seconds * rate))


def load(folder: Path, wave: NDArray[np.float64], truncation: str = "rand_trunc", rate: int = RATE) -> Any:
    soundfile.write(folder / "x.wav", wave, rate, subtype="DOUBLE")
    return reader(truncation)(folder / "x.wav")


def middle_choice(options: Any) -> Any:
    return options[len(options) // 2]


@pytest.mark.parametrize("truncation", ["rand_trunc", "fusion"])
@pytest.mark.parametrize("seconds", [0.1, 0.7, 1.0])
def test_short_clips_equal_the_library(tmp_path: Path, truncation: str, seconds: float) -> None:
    given = reader(truncation).extractor(noise(seconds), sampling_rate=RATE, return_tensors="np")
    expected = given["input_features"][0]
    item = load(tmp_path, noise(seconds), truncation)
    assert item.dtype == np.float32
    assert item.shape == (1, *expected.shape[1:])
    np.testing.assert_allclose(np.broadcast_to(item, expected.shape), expected, atol=1e-3)


@pytest.mark.parametrize("seconds", [1.005, 1.5, 7.3])
def test_fusion_takes_the_middle_of_what_the_library_draws_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    item = load(tmp_path, noise(seconds), "fusion")
    monkeypatch.setattr(np.random, "choice", middle_choice)
    given = reader("fusion").extractor(noise(seconds), sampling_rate=RATE, return_tensors="np")
    expected = given["input_features"][0]
    np.testing.assert_allclose(np.broadcast_to(item, expected.shape), expected, atol=1e-3)
    assert len(item) == (4 if seconds > 1.01 else 1)


def test_a_long_clip_keeps_its_middle(tmp_path: Path) -> None:
    cut = load(tmp_path, noise(3.0))
    assert isinstance(cut, Cut)
    np.testing.assert_array_equal(cut.item, load(tmp_path, noise(3.0)[RATE : 2 * RATE]))
    np.testing.assert_array_equal(cut.item, load(tmp_path, noise(3.0)).item)


def test_another_rate_is_brought_to_the_models(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 500 * np.arange(16_000) / 16_000)
    item, expected = load(tmp_path, tone, rate=16_000), load(tmp_path, tone[::4])
    assert item.shape == expected.shape
    loud = expected.max() - 30  # dB
    np.testing.assert_allclose(item[expected > loud], expected[expected > loud], atol=0.5)


@pytest.mark.parametrize(
    ("wave", "rate", "reason"),
    [
        (np.zeros(4000), RATE, "silent audio"),
        (np.full(4000, 0.25), RATE, "silent audio"),
        (noise(0.05), RATE, r"shorter than one window \(64 ms\)"),
        (np.full(4000, np.nan), RATE, "non-finite"),
    ],
    ids=["zero", "constant", "short", "nan"],
)
def test_audio_that_cannot_be_used_says_why(tmp_path: Path, wave: NDArray[np.float64], rate: int, reason: str) -> None:
    with pytest.raises(SampleError, match=reason):
        load(tmp_path, wave, rate=rate)


def test_a_batch_tells_which_clips_are_long() -> None:
    short, long = np.ones((1, 5, 2), np.float32), np.arange(40, dtype=np.float32).reshape(4, 5, 2)
    views, longer = ClipBatch(True).views(ClipBatch(True)([short, long]))
    np.testing.assert_array_equal(views[0], np.repeat(short, 4, axis=0))
    np.testing.assert_array_equal(views[1], long)
    assert longer.tolist() == [[False], [True]]
    views, _ = ClipBatch(False).views(ClipBatch(False)([short, 2 * short]))
    np.testing.assert_array_equal(views, np.stack([short, 2 * short]))
