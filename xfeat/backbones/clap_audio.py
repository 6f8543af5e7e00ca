"""An audio file to the log-mel spectrogram that a CLAP model takes, by rules without chance.

The library cuts long clips at random places, and marks a random clip of a batch as long where none is. Here a clip's
numbers depend on nothing but the clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.backbones.audio import Floats, read_mono, resample, unit_wave
from xfeat.backbones.base import Cut
from xfeat.errors import SampleError

# For the fingerprint: what becomes of clips that are longer than the model's.
LONG_CLIPS = {"cut": "middle", "fusion": "the whole shrunk, and the middle of each third"}


@dataclass(frozen=True)
class ClipReader:
    """Reads one file; can be pickled.

    Attributes:
        extractor: the model's own ``ClapFeatureExtractor``.
    """

    extractor: Any

    def __call__(self, source: Path | str) -> NDArray[np.float32] | Cut:
        """Log-mel spectrogram (views, frames, bands) float32 of a file.

        There are four views of a longer clip in a fusion model, else one; a ``Cut`` where a longer clip lost its ends.

        Raises:
            SampleError: as ``audio.read_mono``; silent, or shorter than one window.
        """
        wave, most = self._wave(Path(source)), int(self.extractor.nb_max_samples)
        if len(wave) <= most:
            return self._mel(wave, most)
        if self.extractor.truncation == "fusion":
            return self._views(wave, most)
        start = (len(wave) - most) // 2
        return Cut(self._mel(wave[start : start + most], most))

    def _wave(self, path: Path) -> Floats:
        wave, rate = read_mono(path)
        unit_wave(wave)  # refuses silence; the model has its own way with levels
        target, window = int(self.extractor.sampling_rate), int(self.extractor.fft_window_size)
        heard = resample(wave, rate, target)
        if len(heard) < window:
            raise SampleError(f"audio shorter than one window ({1000 * window // target} ms)")
        return heard

    def _mel(self, wave: Floats, length: int) -> NDArray[np.float32]:
        """(1, frames, bands) of a wave that is filled up to a length as the extractor does."""
        given = self.extractor(
            wave, max_length=length, sampling_rate=self.extractor.sampling_rate, return_tensors="np"
        )["input_features"][0]
        return np.asarray(given[:1], dtype=np.float32)

    def _views(self, wave: Floats, most: int) -> NDArray[np.float32]:
        """(4, frames, bands) for feature fusion: the whole clip shrunk, and a part from the middle of each third."""
        import torch

        whole = self._mel(wave, len(wave))[0]
        frames = most // int(self.extractor.hop_length) + 1
        if len(whole) <= frames:  # longer by less than a frame
            return np.asarray(whole[None, :frames])
        starts = [
            int(third[len(third) // 2]) for third in np.array_split(np.arange(len(whole) - frames + 1), 3) if len(third)
        ]
        starts += [0] * (3 - len(starts))
        shrunk = torch.nn.functional.interpolate(
            torch.from_numpy(whole)[None, None], size=(frames, whole.shape[1]), mode="bilinear", align_corners=False
        )[0, 0].numpy()
        return np.stack([shrunk, *(whole[start : start + frames] for start in starts)])


@dataclass(frozen=True)
class ClipBatch:
    """Stacks loaded clips; for ``collate``.

    Attributes:
        fusion: the model takes four views of a clip, and whether it is longer than the model's length.
    """

    fusion: bool

    def __call__(self, items: Sequence[NDArray[np.float32]]) -> Any:
        """Loaded clips to one tensor (n, views, frames, bands) float32; in fusion, a fifth view is 1 in long clips."""
        import torch

        if not self.fusion:
            return torch.from_numpy(np.stack(list(items)))
        batch = np.zeros((len(items), 5, *items[0].shape[1:]), np.float32)
        for row, item in zip(batch, items, strict=True):
            row[:4] = item  # one view of a short clip stands for four equal ones
            row[4] = len(item) > 1
        return torch.from_numpy(batch)

    def views(self, batch: Any) -> tuple[Any, Any]:
        """A batch to the views (n, views, frames, bands) and which clips are long (n, 1) bool."""
        return batch[:, :4], batch[:, 4:, 0, 0] > 0
