"""What SSPC reads of its caches: paired rows, the scale of every modality, and nothing of the test split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xfeat.cache import Block, FeatureCache
from xfeat.errors import InputError
from xfeat.methods.sspc_settings import SspcSettings
from xfeat.training.memory import memory_budget
from xfeat.training.paired import Column, make_column
from xfeat.training.pairing import Pairing, pair_rows
from xfeat.training.resident import PIECE, InputScale, fit_scale


@dataclass(frozen=True)
class Data:
    """What a training reads of its caches.

    Attributes:
        columns: rows of the splits ``train`` and, where there are pairs, ``val``, by modality.
        pairings: which of them are one instance, by split.
        scales: of the inputs, by modality.
        tokens: whether token sequences are read, by modality.
    """

    columns: dict[str, dict[str, Column]]
    pairings: dict[str, Pairing]
    scales: dict[str, InputScale]
    tokens: dict[str, bool]


def read(caches: Sequence[FeatureCache], settings: SspcSettings, device: torch.device) -> tuple[Data, SspcSettings]:
    """The rows of a training, and its settings with everything filled in; nothing is written.

    Modalities are in order of their names: what is trained does not depend on the order of the caches.

    Raises:
        InputError: data that cannot be trained on, or settings that do not fit them.
    """
    data = _read(sorted(caches, key=lambda cache: cache.manifest.modality), settings, device)
    resolved = settings.resolved(len(data.pairings["train"]))
    if settings.select == "best" and "val" not in data.pairings:
        raise InputError("select=best chooses the epoch by val rows: give every cache a val split of paired rows")
    _check_queues(data.pairings["train"], resolved)
    return data, resolved


def _check_queues(pairing: Pairing, settings: SspcSettings) -> None:
    """Refuse a queue that a modality's rows never fill: its consistency would never begin."""
    if not settings.beta:
        return
    for name, members in pairing.members.items():
        passing = int((members.counts > 0).sum()) * settings.views * (settings.epochs or 1)
        if passing <= (settings.queue or 0):
            raise InputError(
                f"the queue of {settings.queue:,} samples never fills with {name}, of which training sees {passing:,}: "
                f"--set queue={max(1, passing // 4)}, say"
            )


def check_memory(caches: Sequence[FeatureCache], settings: SspcSettings, device: torch.device) -> None:
    """Refuse features that do not fit.

    Raises:
        InputError: they take more than they may.
    """
    limit, total = memory_budget(settings.memory, device), 0
    for cache in caches:
        m = cache.manifest
        values = m.tokens * m.token_dim if _takes_tokens(cache, settings) else m.rows * m.dim
        total += values * np.dtype(m.dtype).itemsize
    if total > limit:
        raise InputError(
            f"the features take {total >> 20:,} MB and may take {limit >> 20:,}: SSPC draws paired rows at random and "
            "holds them in memory; raise it (--set memory=...), or cache fewer dimensions"
        )


def _takes_tokens(cache: FeatureCache, settings: SspcSettings) -> bool:
    return settings.tokens == "auto" and cache.manifest.token_dim > 0


def _read(caches: Sequence[FeatureCache], settings: SspcSettings, device: torch.device) -> Data:
    columns: dict[str, dict[str, Column]] = {}
    pairings: dict[str, Pairing] = {}
    scales: dict[str, InputScale] = {}
    tokens = {cache.manifest.modality: _takes_tokens(cache, settings) for cache in caches}
    for split in ("train", "val"):
        if split == "val" and not all("val" in cache.manifest.counts["split"] for cache in caches):
            continue
        blocks = {
            name: cache.load((split,), with_tokens=tokens[name])
            for cache in caches
            for name in (cache.manifest.modality,)
        }
        if split == "train":
            _check_rows(caches, blocks)
        try:
            pairings[split] = pair_rows(caches, blocks, settings.classes)
        except InputError:
            if split == "train":
                raise
            continue  # val rows that are no pairs choose nothing
        if split == "train":
            scales = {name: _scale(name, blocks[name], pairings[split], tokens[name], settings) for name in blocks}
        columns[split] = {
            name: make_column(block, scales[name], device, tokens=tokens[name]) for name, block in blocks.items()
        }
    return Data(columns, pairings, scales, tokens)


def _check_rows(caches: Sequence[FeatureCache], blocks: Mapping[str, Block]) -> None:
    for cache in caches:
        if not len(blocks[cache.manifest.modality]):
            there = ", ".join(cache.manifest.counts.get("split", {})) or "none"
            raise InputError(f"{cache.path}: no rows in split 'train' (splits there: {there})")


def _scale(name: str, block: Block, pairing: Pairing, tokens: bool, settings: SspcSettings) -> InputScale:
    """Statistics of the rows that are trained on.

    Raises:
        InputError: a modality in no pair, or whose features are all the same.
    """
    rows = np.unique(pairing.members[name].rows)
    if not len(rows):
        raise InputError(f"no training row of {name} shares its pair key with another modality: leave {name} out")
    values: NDArray[Any] = block.features[rows]
    if tokens and block.tokens is not None:
        values = block.tokens.rows(rows).values
    if (values == values[:1]).all():
        raise InputError(
            f"the features of {name} are the same in all {len(rows):,} training rows: nothing can be told apart by them"
        )
    pieces = range(0, len(values), PIECE)
    return fit_scale(lambda: (values[start : start + PIECE] for start in pieces), values.shape[1], settings.standardize)
