"""What reading refuses is tested with the spectrogram filter; here, what it gives."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from xfeat.backbones.audio import read_mono, resample, unit_wave
from xfeat.errors import SampleError


def test_channels_are_averaged(tmp_path: Path) -> None:
    channels = np.random.default_rng(0).uniform(-1, 1, (500, 3)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", channels, 22_050, subtype="FLOAT")
    wave, rate = read_mono(tmp_path / "x.wav")
    assert (rate, wave.dtype) == (22_050, np.float64)
    np.testing.assert_allclose(wave, [sum(map(float, sample)) / 3 for sample in channels], atol=1e-7)


@pytest.mark.parametrize(("rate", "target"), [(8_000, 48_000), (44_100, 16_000), (48_000, 48_000)])
def test_a_tone_stays_where_it_is(rate: int, target: int) -> None:
    before, after = (np.sin(2 * np.pi * 300 * np.arange(each) / each) for each in (rate, target))
    changed = resample(before, rate, target)
    assert len(changed) == target
    np.testing.assert_allclose(changed[200:-200], after[200:-200], atol=2e-3)


def test_levels() -> None:
    wave = np.array([0.0, 2e30, -1e30])
    np.testing.assert_allclose(unit_wave(wave), [-1 / 6, 5 / 6, -2 / 3])
    for silent in (np.zeros(4), np.full(4, 0.5), np.array([1e-7, -1e-7])):
        with pytest.raises(SampleError, match="silent audio"):
            unit_wave(silent)
