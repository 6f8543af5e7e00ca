"""Which rows an evaluation is on: rows of chosen classes, caches of another data set, a number of instances."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.cache import Block, Manifest
from xfeat.cache.fingerprint import difference
from xfeat.errors import InputError
from xfeat.evaluation.embedded import Embedded

SEEN, UNSEEN = "seen", "unseen"
IMPORT = "import"  # family of fingerprints that are the content's digest: no two caches have the same


def chosen_classes(choice: str | Sequence[str], have: Sequence[str], seen: Sequence[str]) -> list[str]:
    """The class names that are meant, in the order of ``have``.

    Args:
        choice: ``seen``, ``unseen``, or names (as a sequence, or in a string: one name, or several with commas
            between); a name may be a shell pattern (``Latin/*``).
        have: classes of the caches.
        seen: classes that a run was trained on.

    Raises:
        InputError: no class is meant, or a name fits none.
    """
    if not have:
        raise InputError(f"classes {choice!r}: no cache has labels, so no row has a class (a `label` column)")
    if choice in (SEEN, UNSEEN):
        if not seen:
            raise InputError(f"classes {choice!r}: the classes that the training saw are not known; name the classes")
        known = set(seen)
        found = [name for name in have if (name in known) == (choice == SEEN)]
        if not found and choice == UNSEEN:
            raise InputError(
                f"the run saw all {len(have)} classes of the caches: none is unseen (train with `classes`)"
            )
        if not found:
            raise InputError(f"the caches have none of the {len(known)} classes that the run saw")
        return found
    if isinstance(choice, str):
        wanted = [choice] if choice in have else [name.strip() for name in choice.split(",")]
    else:
        wanted = list(choice)
    for pattern in wanted:
        if not any(_fits(name, pattern) for name in have):
            few = ", ".join(repr(name) if "," in name else name for name in have[:5])
            few += ", ..." if len(have) > 5 else ""
            raise InputError(f"{pattern!r} is no class of the caches (there is {few})")
    return [name for name in have if any(_fits(name, pattern) for pattern in wanted)]


def rows_of_classes(
    blocks: Mapping[str, Block], classes: Mapping[str, Sequence[str]], chosen: Sequence[str], *, by_instance: bool
) -> dict[str, NDArray[np.bool_]]:
    """Which rows are of the chosen classes alone.

    Args:
        blocks: rows by modality.
        classes: the names that their labels stand for, by modality.
        chosen: names.
        by_instance: keep whole instances, those of which some row is of a chosen class and none of another; so a row
            without a label is of the classes of its instance, and a row without a pair key of none.

    Returns:
        (n,) bool by modality; without ``by_instance`` a row without a label is not kept.
    """
    inside, outside = {}, {}
    for name, block in blocks.items():
        inside[name], outside[name] = _by_label(block, classes[name], chosen)
    if not by_instance:
        return inside
    kept: set[str] = set()
    spoiled: set[str] = set()
    for name, block in blocks.items():
        keys = np.array(block.pair or [""] * len(block), dtype=object)
        kept.update(keys[inside[name]].tolist())
        spoiled.update(keys[outside[name]].tolist())
    kept -= spoiled
    return {
        name: np.array([key in kept for key in block.pair or [""] * len(block)], dtype=bool)
        for name, block in blocks.items()
    }


def check_like(cache: str, manifest: Manifest, trained: Manifest | None, fingerprint: str, dim: int) -> None:
    """Refuse features that a branch was not trained for.

    Imported features have no fingerprint but that of their content: there the width must do.

    Args:
        cache: its path, for messages.
        manifest: of the cache.
        trained: of the cache that the branch was trained on; None where that is gone.
        fingerprint: sha256 of the training cache's fingerprint.
        dim: width that the branch takes.

    Raises:
        InputError: another width, or features made in another way; what differs is printed.
    """
    name = manifest.modality
    if manifest.dim != dim:
        raise InputError(
            f"{cache} has {manifest.dim} dimensions, the {name} branch takes {dim}: extract it as the run's caches were"
        )
    if manifest.fingerprint_sha256 == fingerprint:
        return
    if trained is None:
        raise InputError(
            f"{cache} has fingerprint {manifest.fingerprint_sha256[:12]}, the {name} branch was trained on "
            f"{fingerprint[:12]}, whose cache is gone: move it back to see what differs"
        )
    if manifest.fingerprint.get("family") == IMPORT == trained.fingerprint.get("family"):
        return
    changes = difference(trained.fingerprint, manifest.fingerprint)
    raise InputError(
        f"{cache} was not made as the cache that the {name} branch was trained on ({changes}): extract it the same way"
    )


def sample_instances(embeddings: Mapping[str, Embedded], count: int, seed: int = 0) -> dict[str, Embedded]:
    """All rows of ``count`` instances that two modalities or more have.

    Which they are depends on the keys and the seed alone, and a smaller count takes some of those of a larger one.

    Raises:
        InputError: fewer instances, or a modality that has none of those chosen.
    """
    keys = {name: _strings(item) for name, item in embeddings.items()}
    owners: dict[str, int] = {}
    for own in keys.values():
        for key in set(own):
            owners[key] = owners.get(key, 0) + 1
    shared = [key for key, number in owners.items() if number > 1]
    if not 1 <= count <= len(shared):
        raise InputError(
            f"{count:,} instances asked for, {len(shared):,} are there in two modalities or more: ask for no more"
        )
    chosen = set(sorted(shared, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())[:count])
    sampled = {}
    for name, item in embeddings.items():
        rows = [row for row, key in enumerate(keys[name]) if key in chosen]
        if not rows:
            raise InputError(f"{name} has none of the {count:,} sampled instances: ask for more")
        sampled[name] = replace(
            item, vectors=_take(item.vectors, rows), labels=None, keys=[keys[name][row] for row in rows]
        )
    return sampled


def _strings(item: Embedded) -> list[str]:
    keys: Any = item.keys if item.keys is not None else []
    return [str(key) for key in (keys.tolist() if isinstance(keys, Tensor | np.ndarray) else keys)]


def _take(vectors: Tensor | NDArray[Any], rows: list[int]) -> Tensor | NDArray[Any]:
    if isinstance(vectors, Tensor):
        return vectors[torch.tensor(rows, device=vectors.device)]
    return vectors[rows]


def _by_label(block: Block, have: Sequence[str], chosen: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(n,) rows of chosen classes alone, and (n,) rows with another class."""
    none = np.zeros(len(block), dtype=bool)
    if block.labels is None:
        return none, none
    wanted = set(chosen)
    counts = np.array([name in wanted for name in have], dtype=bool)
    if block.labels.ndim == 2:
        hot = block.labels.astype(bool)
        labelled, outside = np.asarray(hot.any(axis=1)), np.asarray(hot[:, ~counts].any(axis=1))
        return labelled & ~outside, outside
    labelled = np.asarray(block.labels >= 0)
    inside = np.asarray(labelled & np.append(counts, False)[block.labels])  # -1, no label, looks at the last
    return inside, labelled & ~inside


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)
