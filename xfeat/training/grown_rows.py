"""The rows of a cache that grew: what they hold, and which of them choose the epoch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.training.checkpoint import read_tensors, write_tensors
from xfeat.training.run import Run, Source
from xfeat.training.selection import Selection, select_rows

IMPORT = "import"
ROWS = "rows"


@dataclass(frozen=True)
class GrownCache:
    """A cache with rows of new classes, and the one that its branch was trained on.

    Attributes:
        cache: the grown one.
        before: the one of the run; None where it is no longer there as it was.
        classes: of the run when the branch was trained.
    """

    cache: FeatureCache
    before: FeatureCache | None
    classes: Sequence[str]

    @property
    def modality(self) -> str:
        """Its modality."""
        return self.cache.manifest.modality

    def unknown(self, classes: Sequence[str]) -> list[str]:
        """Classes of the cache that are not among ``classes``."""
        return [name for name in self.cache.manifest.classes if name not in set(classes)]

    def trained(self, classes: Sequence[str]) -> set[str]:
        """Those of ``classes`` that have rows in split ``train``; ``classes`` must hold all of the cache's."""
        counts = select_rows(self.cache, classes).counts()
        return {name for name, count in zip(classes, counts.tolist(), strict=True) if count > 0}

    def selection(self, classes: Sequence[str], run: Run, fraction: float, seed: int) -> Selection:
        """The usable rows; what was held out from the branch stays held out.

        Where there is no split ``val``: rows of the cache before, found by their ids, keep their part. Of all others
        ``fraction`` is held out as in training.

        Args:
            classes: of the grown run.
            run: before it grew.
            fraction: share to hold out.
            seed: of the run.
        """
        found = select_rows(self.cache, classes)
        if found.val.any() or self.before is None:
            return found.held_out(fraction, self.modality, seed)
        earlier = self._earlier(self.before, run, fraction, seed)
        earlier_ids = _ids(self.before)[earlier.rows]
        ids = _ids(self.cache)[found.rows]
        fresh = ~np.isin(ids, earlier_ids)
        val = np.isin(ids, earlier_ids[earlier.val])
        if fresh.any():
            val[fresh] = _held_out(_part(found, fresh), fraction, self.modality, seed)
        if not val.any() or val.all():
            return found.held_out(fraction, self.modality, seed)
        return replace(found, val=val)

    def leaked(self) -> int:
        """Rows of split ``test`` that the branch was trained on, by their ids; 0 where the cache before is gone."""
        if self.before is None:
            return 0
        block = self.cache.load(("test",), ok_only=False, check=False, with_features=False)
        return int(np.isin(np.array(block.ids), _ids(self.before)[select_rows(self.before, self.classes).rows]).sum())

    def _earlier(self, before: FeatureCache, run: Run, fraction: float, seed: int) -> Selection:
        """The rows that the branch was trained on and chosen by."""
        found = select_rows(before, self.classes)
        file = held_out_file(run, self.modality)
        if found.val.any() or not file.is_file():
            return found.held_out(fraction, self.modality, seed)
        tensors, _ = read_tensors(file)
        return replace(found, val=np.isin(found.rows, tensors[ROWS].numpy()))


def held_out_file(run: Run, modality: str) -> Path:
    """Which rows of its cache were held out from a branch that grew: they are no longer what a seed alone gives."""
    return run.path / "held_out" / f"{modality}.safetensors"


def save_held_out(run: Run, modality: str, selection: Selection) -> None:
    """Note the rows that chose the epoch."""
    write_tensors(held_out_file(run, modality), {ROWS: torch.from_numpy(selection.rows[selection.val])}, {})


def grown_cache(run: Run, cache: FeatureCache, source: Source, classes: Sequence[str]) -> GrownCache:
    """A cache beside the one its modality was trained on.

    Features must come from the same backbone. The fingerprint of an import is that of its content, which cannot be the
    same: there the modality and D must do.

    Args:
        run: that grows.
        cache: of one of its modalities.
        source: what the run noted of that modality.
        classes: of the run when the branch was trained.

    Raises:
        InputError: another width, or features made in another way.
    """
    m = cache.manifest
    if m.dim != source.dim:
        raise InputError(
            f"{cache.path} has {m.dim} dimensions, the {m.modality} branch of {run.path} takes {source.dim}: "
            "extract or import the grown samples in the way the run's were"
        )
    try:
        before = run.open_cache(m.modality, source)
    except InputError:
        before = None
    imported = m.fingerprint.get("family") == IMPORT
    if before is not None:
        imported = imported and before.manifest.fingerprint.get("family") == IMPORT
    if not imported and m.fingerprint_sha256 != source.fingerprint:
        raise InputError(
            f"{cache.path} has fingerprint {m.fingerprint_sha256[:12]}, {m.modality} of {run.path} was trained on "
            f"{source.fingerprint[:12]}: extract the grown samples with the same backbone and settings"
        )
    return GrownCache(cache, before, classes)


def _ids(cache: FeatureCache) -> NDArray[np.str_]:
    return np.array(cache.load(ok_only=False, check=False, with_features=False).ids)


def _part(selection: Selection, mine: NDArray[np.bool_]) -> Selection:
    rows, labels, val = selection.rows[mine], selection.labels[mine], selection.val[mine]
    return Selection(rows, labels, val, selection.classes, 0)


def _held_out(part: Selection, fraction: float, modality: str, seed: int) -> NDArray[np.bool_]:
    try:
        return part.held_out(fraction, modality, seed).val
    except InputError:
        return part.val  # one row of each class: all are trained on
