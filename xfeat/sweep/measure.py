"""What trials are scored by: protocol and metric follow from the config and the caches, before anything is trained."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import torch

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.evaluation.embedded import Embedded
from xfeat.evaluation.instance import INSTANCE
from xfeat.evaluation.zero_shot import ZERO_SHOT
from xfeat.sweep.config import SweepConfig, default_metric
from xfeat.training.asked import Asked, by_modality, started
from xfeat.training.held_out import VAL, has_val
from xfeat.training.measuring import measured

MADE_UP = ("a", "b")  # classes of two rows that are evaluated for the names of their metrics alone


def settled(config: SweepConfig) -> SweepConfig:
    """The config with its metric, which the caches decide where the file names none.

    Raises:
        InputError: two caches of a modality, a metric that the protocol does not have, rows without the labels or pair
            keys that it needs, or modalities that share none.
    """
    caches = by_modality([FeatureCache(path) for path in config.caches])
    protocol = _protocol(config, caches)
    metric, known = config.metric or default_metric(protocol), _metrics(protocol, caches)
    if metric not in known:
        raise InputError(f"metric {metric} is none of protocol {protocol}: choose {', '.join(known)}")
    _check_rows(protocol, caches)
    return config.model_copy(update={"metric": metric})


def _protocol(config: SweepConfig, caches: Mapping[str, FeatureCache]) -> str:
    """That of the trials, as `xfeat.training.embedding.embed_run` chooses it."""
    if config.scored_as is not None:
        return config.scored_as
    labelled = any(cache.manifest.classes for cache in caches.values())
    return started(list(caches.values()), None).protocol if labelled else INSTANCE


def _metrics(protocol: str, caches: Mapping[str, FeatureCache]) -> list[str]:
    """Names of the metrics, of an evaluation of two rows of each modality; it refuses labels of the wrong kind too."""
    found = started(list(caches.values()), protocol)
    found.classes = found.unseen = list(MADE_UP)
    labels = np.eye(2, dtype=np.uint8) if found.multi_label else np.arange(2)
    for name in caches:
        found.items[name] = Embedded(torch.eye(2), labels, keys=MADE_UP, ids=MADE_UP)
    sources = found if protocol == ZERO_SHOT else None
    means = measured(found, sources, Asked(split=VAL, protocol=protocol), torch.device("cpu")).mean
    return [name for name in means if not name.startswith("chance ")]


def _check_rows(protocol: str, caches: Mapping[str, FeatureCache]) -> None:
    what = "pair key" if protocol == INSTANCE else "label"
    marks = {}
    for name, cache in caches.items():
        # Where there is no split val, rows of train are held out; which, the training decides.
        split = VAL if has_val(cache) else "train"
        marks[name] = _keys(cache, split) if protocol == INSTANCE else _classes(cache, split)
        if not marks[name]:
            raise InputError(f"{cache.path}: no row of split {split} has a {what}, and protocol {protocol} needs them")
    if protocol != ZERO_SHOT and not any(one & other for one, other in combinations(marks.values(), 2)):
        listed = ", ".join(marks)
        raise InputError(f"no two of {listed} have rows of the same {what}: protocol {protocol} has nothing to find")


def _keys(cache: FeatureCache, split: str) -> set[str]:
    block = cache.load((split,), with_features=False)
    return set(block.pair or ()) - {""}


def _classes(cache: FeatureCache, split: str) -> set[str]:
    labels = cache.load((split,), with_features=False).labels
    if labels is None:
        return set()
    there = labels.any(axis=0).nonzero()[0] if labels.ndim == 2 else np.unique(labels[labels >= 0])
    return {cache.manifest.classes[place] for place in there}
