"""What CIIM reads of its caches: labelled rows of every modality, and nothing of the test split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.methods.ciim import Labelled
from xfeat.methods.ciim_settings import CiimSettings
from xfeat.training.class_rows import Column, ResidentClasses
from xfeat.training.classes import listed
from xfeat.training.data import ModalityRows, check_rows
from xfeat.training.memory import memory_budget
from xfeat.training.resident import PIECE, InputScale, fit_scale


@dataclass(frozen=True)
class Trained:
    """The rows of one modality that count.

    Attributes:
        train: training rows.
        val: rows to validate on; None where there are none.
        lacking: names of the classes that it has no training row of.
        unlabelled: rows left out because they have no label.
        outside: rows left out because they are of classes that are not trained on.
    """

    train: Column
    val: Labelled | None
    lacking: list[str]
    unlabelled: int
    outside: int

    @property
    def scale(self) -> InputScale:
        """Of the inputs."""
        return self.train.scale


Data = dict[str, Trained]
"""By modality, in order of names: what is trained does not depend on the order of the caches."""


def check_caches(caches: Sequence[FeatureCache], classes: Sequence[str], memory: str, device: torch.device) -> None:
    """Refuse what can be refused before all features are read.

    Raises:
        InputError: no labels or several a row, no training rows, or features that do not fit or are all the same.
    """
    limit, total = memory_budget(memory, device), 0
    for cache in caches:
        m = cache.manifest
        if m.label_kind == "multi":
            raise InputError(
                f"{cache.path} has rows of several classes: CIIM needs one class a row; drcl takes several"
            )
        check_rows(cache, classes)
        total += m.rows * m.dim * np.dtype(m.dtype).itemsize
    if total > limit:
        raise InputError(
            f"the features take {total >> 20:,} MB and may take {limit >> 20:,}: CIIM draws rows by class and holds "
            "them in memory; raise it (--set memory=...), or cache fewer dimensions"
        )


def read(
    caches: Sequence[FeatureCache], classes: Sequence[str], settings: CiimSettings, seed: int, device: torch.device
) -> Data:
    """The rows of a training; nothing is written.

    Args:
        caches: one per modality.
        classes: of the run, in the run's order.
        settings: those with ``classes`` train on these alone.
        seed: of the run; where val rows choose the epoch and a cache has none, it draws those that are held out.
        device: where features go.

    Raises:
        InputError: as ``check_caches``, no training row of the chosen classes, or nothing that can be held out.
    """
    chosen = settings.classes or list(classes)
    number = {name: place for place, name in enumerate(chosen)}
    places = np.array([number.get(name, -1) for name in classes], dtype=np.int64)
    ordered = sorted(caches, key=lambda cache: cache.manifest.modality)
    return {cache.manifest.modality: _rows(cache, classes, chosen, places, settings, seed, device) for cache in ordered}


def _rows(
    cache: FeatureCache,
    classes: Sequence[str],
    chosen: Sequence[str],
    places: NDArray[np.int64],
    settings: CiimSettings,
    seed: int,
    device: torch.device,
) -> Trained:
    rows = ModalityRows(cache, classes, device, 1 << 62)
    assert rows.table is not None
    selection, labels = rows.selection, places[rows.selection.labels]
    there = np.flatnonzero(labels >= 0)
    # Rows of other classes are gone before any is held out: they have no part in which.
    kept = replace(selection, rows=selection.rows[there], labels=labels[there], val=selection.val[there])
    if kept.val.all():
        raise InputError(f"{cache.path}: no training row is of the chosen classes ({listed(chosen, 60)})")
    holds_out = settings.val_fraction if settings.holds_out else 0.0
    kept = replace(kept, classes=len(chosen)).held_out(holds_out, cache.manifest.modality, seed)
    train, val = there[~kept.val], there[kept.val]
    features = rows.table.features[torch.from_numpy(train).to(device)]
    pieces = range(0, len(train), PIECE)
    scale = fit_scale(
        lambda: (features[start : start + PIECE].cpu().numpy() for start in pieces),
        features.shape[1],
        settings.standardize,
    )
    trained = set(labels[train].tolist())
    return Trained(
        Column(features, labels[train], scale),
        Column(rows.table.features[torch.from_numpy(val).to(device)], labels[val], scale).all() if len(val) else None,
        [name for place, name in enumerate(chosen) if place not in trained],
        selection.unlabelled,
        int((labels < 0).sum()),
    )


def training_rows(data: Data, classes: int, settings: CiimSettings) -> ResidentClasses:
    """What is trained on.

    Args:
        data: by modality.
        classes: C that are trained on.
        settings: resolved.
    """
    columns = {name: one.train for name, one in data.items()}
    return ResidentClasses(columns, classes, settings.batch_classes or 1, settings.batch_samples or 1)


def validation_rows(data: Data) -> Mapping[str, Labelled]:
    """What is looked at after an epoch, by modality."""
    return {name: one.val for name, one in data.items() if one.val is not None}


def resolved(settings: CiimSettings, data: Data) -> CiimSettings:
    """The settings with everything filled in; a class counts where a modality has training rows of it.

    Raises:
        InputError: settings that do not fit the data.
    """
    labels = [one.train.labels for one in data.values()]
    return settings.resolved(max(map(len, labels)), len(np.unique(np.concatenate(labels))))
