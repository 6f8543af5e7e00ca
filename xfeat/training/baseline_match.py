"""Which rows of which modalities belong together in a CCA: those of one pair key, or those of one class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.methods.baseline_settings import CcaSettings
from xfeat.methods.cca import class_weights
from xfeat.training.baseline_data import TrainRows, all_rows, labelled_rows, targets
from xfeat.training.pairing import Pairing, pair_rows

KEYS, CLASS = "keys", "class"


@dataclass(frozen=True)
class Matched:
    """Rows in groups that all modalities share.

    Attributes:
        by: ``keys`` or ``class``.
        rows: by modality.
        shares: (n, G) of each row in the groups, sparse, by modality.
        weights: (G,) of the groups, summing to 1.
    """

    by: str
    rows: dict[str, TrainRows]
    shares: dict[str, Any]
    weights: NDArray[np.float64]

    def counts(self, modality: str) -> NDArray[np.float64]:
        """(G,) rows of each group."""
        return np.asarray(self.shares[modality].sum(axis=0), dtype=np.float64).ravel()


def match_rows(caches: Sequence[FeatureCache], classes: Sequence[str], settings: CcaSettings) -> Matched:
    """Find what belongs together.

    Args:
        caches: one per modality.
        classes: of the run.
        settings: ``match=auto`` takes pair keys where caches share any, else classes.

    Raises:
        InputError: neither keys nor classes that two modalities share, or a modality without any.
    """
    if settings.match == CLASS or (settings.match == "auto" and not _share_keys(caches)):
        return _by_class(caches, classes, settings.classes or list(classes))
    return _by_key(caches, settings.classes)


def _share_keys(caches: Sequence[FeatureCache]) -> bool:
    owners: dict[str, int] = {}
    for cache in caches:
        own = cache.load(("train",), check=False, with_features=False).pair
        if own is None:
            return False
        for key in set(own) - {""}:
            owners[key] = owners.get(key, 0) + 1
    return any(count > 1 for count in owners.values())


def _by_key(caches: Sequence[FeatureCache], chosen: Sequence[str]) -> Matched:
    rows = {cache.manifest.modality: all_rows(cache) for cache in caches}
    blocks = {c.manifest.modality: c.load(("train",), check=False, with_features=False) for c in caches}
    pairing = pair_rows(caches, blocks, chosen)
    found, shares = {}, {}
    for name in rows:
        found[name], shares[name] = _keyed(name, rows[name], pairing)
    return Matched(KEYS, found, shares, np.full(len(pairing), 1 / len(pairing)))


def _keyed(name: str, rows: TrainRows, pairing: Pairing) -> tuple[TrainRows, Any]:
    members = pairing.members[name]
    if not len(members.rows):
        raise InputError(f"no training row of {name} shares its pair key with another modality: leave {name} out")
    keys = np.repeat(np.arange(len(pairing)), members.counts)
    order = np.argsort(members.rows)
    ones, where = np.ones(len(keys)), (np.arange(len(keys)), keys[order])
    shares = scipy.sparse.csr_matrix((ones, where), shape=(len(keys), len(pairing)))
    left_out = {"alone_rows": pairing.alone[name], "outside_rows": pairing.outside[name]}
    return TrainRows(rows.cache, rows.index[members.rows[order]], None, left_out), shares


def _by_class(caches: Sequence[FeatureCache], classes: Sequence[str], chosen: Sequence[str]) -> Matched:
    for cache in caches:
        if not cache.manifest.classes:
            raise InputError(
                f"{cache.path} has no labels, and the caches share no pair keys: cca needs one or the other (a `pair` "
                "or a `label` column in the manifest)"
            )
    rows, shares = {}, {}
    for cache in caches:
        one = rows[cache.manifest.modality] = labelled_rows(cache, classes, chosen)
        assert one.labels is not None
        shares[cache.manifest.modality] = scipy.sparse.csr_matrix(targets(one.labels, len(chosen)))
    found = Matched(CLASS, rows, shares, np.zeros(len(chosen)))
    weights = class_weights(np.stack([found.counts(name) for name in rows]))
    if not weights.any():
        raise InputError("no class has training rows in two modalities: nothing to match by")
    for name in rows:
        if not weights[found.counts(name) > 0].any():
            raise InputError(f"no training row of {name} is of a class that another modality has: leave {name} out")
    return Matched(CLASS, rows, shares, weights)
