"""A trained run with its caches and branches, each opened when it is first needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from xfeat.backbones.registry import closest
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.evaluation.similarity import Similarity
from xfeat.search.rows import Rows
from xfeat.training.loading import Embedder, load_branch
from xfeat.training.run import Run, RunConfig
from xfeat.training.sspc_store import Weights

ALL = "all"


@dataclass(frozen=True)
class Opened:
    """One modality of a run.

    Attributes:
        cache: what it was trained on.
        branch: what embeds its features.
        rows: the columns of the cache.
    """

    cache: FeatureCache
    branch: Embedder
    rows: Rows


class OpenRun:
    """A run to be searched.

    Args:
        path: its folder.
        device: where to compute; None: on the CPU.
        weights: which, of a run that has two sets.
        allow_changed: take caches that changed since the training.

    Raises:
        InputError: no run there, or a group of seeds.
    """

    def __init__(
        self, path: Path, device: torch.device | None = None, *, weights: Weights = "kept", allow_changed: bool = False
    ) -> None:
        self.path, self.device = path, device or torch.device("cpu")
        self.config: RunConfig = Run(path).load_config()
        self._weights, self._allow_changed = weights, allow_changed
        self._caches: dict[str, FeatureCache] = {}
        self._opened: dict[str, Opened] = {}

    @property
    def modalities(self) -> list[str]:
        """Their names, in the order they were given to the training."""
        return list(self.config.modalities)

    def chosen(self, words: Sequence[str]) -> list[str]:
        """The modalities that are named, each once, in the run's order; all of them by ``all`` or where none is.

        Raises:
            InputError: the run has no such modality.
        """
        for word in words:
            if word != ALL:
                self.check(word)
        return [name for name in self.modalities if not words or ALL in words or name in words]

    def check(self, modality: str) -> None:
        """Refuse a modality that the run does not have.

        Raises:
            InputError: says which there are.
        """
        if modality not in self.config.modalities:
            hint = closest(modality, self.modalities)
            raise InputError(f"{self.path} has no modality {modality!r}{hint}: it has {', '.join(self.modalities)}")

    def cache(self, modality: str) -> FeatureCache:
        """The cache of a modality.

        Raises:
            InputError: the run has no such modality, or its cache is gone or changed.
        """
        self.check(modality)
        if modality not in self._caches:
            source = self.config.modalities[modality]
            self._caches[modality] = Run(self.path).open_cache(modality, source, allow_changed=self._allow_changed)
        return self._caches[modality]

    def __getitem__(self, modality: str) -> Opened:
        """A modality with its branch and the columns of its rows.

        Raises:
            InputError: as of ``cache``, or a branch that is missing or damaged.
        """
        if modality not in self._opened:
            cache = self.cache(modality)
            branch = load_branch(Run(self.path).branch_file(modality), self._weights)
            self._opened[modality] = Opened(cache, branch, Rows(cache))
        return self._opened[modality]

    def similarity(self, modalities: Sequence[str]) -> Similarity:
        """What embeddings of these modalities are compared by.

        Raises:
            InputError: they differ.
        """
        found = {name: self[name].branch.similarity for name in modalities}
        if len(set(found.values())) > 1:
            listed = ", ".join(f"{name} by {word}" for name, word in found.items())
            raise InputError(f"{self.path}: embeddings are made for different similarities ({listed})")
        return next(iter(found.values()))
