"""What a prior is like: how its columns lie to each other, and which candidates it was chosen from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.training.prior_files import read_run_prior
from xfeat.training.run import Run
from xfeat.training.store import Prior, load_prior


@dataclass(frozen=True)
class PriorReport:
    """A prior W (O x C) in numbers.

    Attributes:
        path: the run, or the prior's own file.
        sha256: of the prior's file.
        classes: (C,) names of its columns.
        shape: (O, C).
        note: the run's note of it (candidates, scores, which one was chosen); empty for a file alone.
        singular_values: (min(O, C),) float64, largest first.
        rank: numerical rank at float32's precision.
        cosines: (C, C) float64 in [-1, 1] between columns; 0 where a column is zero.
    """

    path: Path
    sha256: str
    classes: Sequence[str]
    shape: tuple[int, int]
    singular_values: NDArray[np.float64]
    rank: int
    cosines: NDArray[np.float64]
    note: dict[str, Any] = field(default_factory=dict)

    @property
    def condition(self) -> float:
        """Largest over smallest singular value: how much pinv(W) may stretch an error; infinite if one is zero."""
        largest, smallest = float(self.singular_values[0]), float(self.singular_values[-1])
        return largest / smallest if smallest > 0 else math.inf

    @property
    def mean_abs_cosine(self) -> float | None:
        """Mean |cosine| between different classes, 0 for an orthogonal prior; None where there is one class."""
        pairs = np.triu_indices(len(self.classes), 1)
        return float(np.abs(self.cosines[pairs]).mean()) if len(pairs[0]) else None

    def closest(self, limit: int) -> list[tuple[str, str, float]]:
        """The most similar pairs of different classes: both names and their cosine, highest first."""
        rows, columns = np.triu_indices(len(self.classes), 1)
        values = self.cosines[rows, columns]
        best = np.argsort(-values, kind="stable")[:limit]
        return [(self.classes[rows[i]], self.classes[columns[i]], float(values[i])) for i in best]

    def to_json(self, limit: int = 10) -> dict[str, Any]:
        """Everything but the matrix; numbers that are infinite are null."""
        return {
            "source": str(self.path),
            "sha256": self.sha256,
            "shape": list(self.shape),
            "classes": list(self.classes),
            **{name: self.note.get(name) for name in ("prior", "chosen", "score")},
            "candidates": self.note.get("candidates", {}),
            "singular_values": self.singular_values.tolist(),
            "condition": self.condition if math.isfinite(self.condition) else None,
            "rank": self.rank,
            "mean_abs_cosine": self.mean_abs_cosine,
            "closest": [{"classes": [one, other], "cosine": value} for one, other, value in self.closest(limit)],
        }


def prior_report(path: Path) -> PriorReport:
    """Look at the prior of a run, or at a prior's file.

    Args:
        path: a run directory or a ``.safetensors`` file.

    Raises:
        InputError: neither of the two, or damaged.
    """
    if path.is_file():
        return _measured(path, load_prior(path), {})
    prior, note = read_run_prior(Run(path))
    return _measured(path, prior, note)


def _measured(path: Path, prior: Prior, note: dict[str, Any]) -> PriorReport:
    weight = prior.weight.double().numpy()
    values = np.linalg.svd(weight, compute_uv=False)
    # numpy's rule for the rank, at the precision W is stored in.
    tolerance = values[0] * max(weight.shape) * np.finfo(np.float32).eps
    lengths = np.linalg.norm(weight, axis=0)
    unit = weight / np.where(lengths > 0, lengths, 1)
    return PriorReport(
        path,
        prior.sha256,
        prior.classes,
        (weight.shape[0], weight.shape[1]),
        values,
        int((values > tolerance).sum()),
        np.clip(unit.T @ unit, -1, 1),
        note,
    )
