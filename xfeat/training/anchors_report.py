"""What is said of a run's anchors: by modality and space, and of the run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import exp
from pathlib import Path
from typing import Any, Literal

from xfeat.methods.sspc_settings import SspcSettings
from xfeat.training.anchors import Agreement, Anchor, entropy

Space = Literal["input", "joint"]
SPACES: tuple[Space, ...] = ("input", "joint")


@dataclass(frozen=True)
class SpaceReport:
    """The anchors of one modality in one space, and the split's samples of that modality.

    Attributes:
        modality: whose anchors they are.
        space: ``input``: its input embeddings and input anchors; ``joint``: its joint embeddings and joint anchors.
        samples: n.
        pieces: in how many parts the samples were assigned.
        anchors: K of them.
        duplicates: pairs of anchors of cosine above 0.99.
        agreement: by other modality: its joint embeddings, assigned to this modality's joint anchors, against the sets
            here. With the sets of the input space that is what consistency trains.
    """

    modality: str
    space: Space
    samples: int
    pieces: int
    anchors: tuple[Anchor, ...]
    duplicates: list[tuple[int, int, float]]
    agreement: dict[str, Agreement]

    @property
    def dead(self) -> list[int]:
        """Anchors that no sample has among its `required` nearest."""
        return [anchor.number for anchor in self.anchors if not anchor.near]

    @property
    def never_nearest(self) -> list[int]:
        """Anchors that are the nearest of no sample; the dead among them."""
        return [anchor.number for anchor in self.anchors if not anchor.usage]

    @property
    def entropy(self) -> float:
        """Of the shares of samples that each anchor is the nearest of, in nats."""
        return entropy([anchor.usage for anchor in self.anchors])

    @property
    def perplexity(self) -> float:
        """Effective number of anchors, 1 to K."""
        return exp(self.entropy)

    @property
    def mean_agreement(self) -> float | None:
        """Mean Jaccard index over the other modalities; None where no instance is in two."""
        found = [one.jaccard for one in self.agreement.values()]
        return sum(found) / len(found) if found else None

    @property
    def mean_chance(self) -> float | None:
        """Mean chance level over the other modalities."""
        found = [one.chance for one in self.agreement.values() if one.chance is not None]
        return sum(found) / len(found) if found else None

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        summary = {name: getattr(self, name) for name in ("dead", "never_nearest", "entropy", "perplexity")}
        found = asdict(self)
        anchors = found.pop("anchors")
        return {**found, **summary, "anchors": list(anchors)}


@dataclass(frozen=True)
class AnchorReport:
    """The anchors of a run.

    Attributes:
        path: the run.
        split: whose samples were looked at.
        seed: of the run.
        weights: which set, ``raw`` or ``ema``.
        settings: of the run, resolved.
        required: anchors that a sample holds.
        backbones: what made the features, by modality; empty where that is not known.
        spaces: by modality and space.
        notes: what a reader should know, a line each.
    """

    path: Path
    split: str
    seed: int
    weights: str
    settings: SspcSettings
    required: int
    backbones: Mapping[str, str]
    spaces: list[SpaceReport]
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Everything, for a file."""
        s = self.settings
        return {
            "run": str(self.path),
            "split": self.split,
            "seed": self.seed,
            "weights": self.weights,
            "anchors": s.anchors,
            "required": self.required,
            "assignment": {"kind": s.assignment, "slices": s.slices, "eps": s.eps, "iterations": s.iterations},
            "notes": self.notes,
            "spaces": [one.to_json() for one in self.spaces],
        }
