"""Embeddings of one modality with their labels, and the checks that make them fit to evaluate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.errors import InputError
from xfeat.evaluation.similarity import Similarity

Array: TypeAlias = Tensor | NDArray[Any]
Keys: TypeAlias = Sequence[str] | Sequence[int] | Array


@dataclass(frozen=True, eq=False)
class Embedded:
    """One modality's items in the common space.

    ``vectors`` is (N, d) numbers; ``labels`` is (N,) integers, the class of each item, or (N, C) multi-hot 0 or 1,
    None where no protocol needs them; ``similarity`` is what the vectors were made to be compared by; ``keys`` is (N,)
    strings or integers, the instance of each item: items of the same key belong together, within a modality too.
    ``cameras`` is (N,) names of what took each item, the same name for the same camera (or place) in every modality,
    empty where it is not known; ``ids`` is (N,) different names of the items, by which rows are drawn. Each of the
    last three is None where no protocol needs it.
    """

    vectors: Array
    labels: Array | None
    similarity: Similarity = "cosine"
    keys: Keys | None = None
    cameras: Sequence[str] | None = None
    ids: Sequence[str] | None = None


def checked_vectors(embeddings: Mapping[str, Embedded], device: torch.device | str | None = None) -> dict[str, Tensor]:
    """The vectors of every modality as tensors, all fit to be compared.

    Args:
        embeddings: by modality.
        device: to move them to; None leaves them where they are.

    Returns:
        (N, d) by modality, with one d.

    Raises:
        InputError: fewer than two modalities, no rows, dimensions that differ, an entry that is not a finite number.
    """
    if len(embeddings) < 2:
        names = ", ".join(embeddings) or "none"
        raise InputError(f"cross-modal evaluation needs two modalities or more, got {names}: give another one")
    vectors = {name: _vectors(name, item, device) for name, item in embeddings.items()}
    dims = {name: rows.shape[1] for name, rows in vectors.items()}
    if len(set(dims.values())) > 1:
        listed = ", ".join(f"{name} {dim}" for name, dim in dims.items())
        raise InputError(f"embedding dimensions differ ({listed}): modalities compare only in one common space")
    return vectors


def common_similarity(embeddings: Mapping[str, Embedded]) -> Similarity:
    """What all modalities are compared by.

    Raises:
        InputError: they differ.
    """
    found = {item.similarity for item in embeddings.values()}
    if len(found) > 1:
        listed = ", ".join(f"{name} by {item.similarity}" for name, item in embeddings.items())
        raise InputError(f"embeddings are made for different similarities ({listed}): train their branches alike")
    return found.pop()


def checked_classes(name: str, item: Embedded, device: torch.device, protocol: str = "category") -> Tensor:
    """Class labels as a (N,) int64 tensor.

    Raises:
        InputError: labels that are not one integer per row, or a negative one; it names the ``protocol``.
    """
    labels = _labels(name, item, device)
    if labels.ndim != 1:
        raise InputError(
            f"labels of {name} have shape {tuple(labels.shape)}, protocol {protocol} needs one class per row: "
            f"use protocol multi-label for multi-hot labels"
        )
    _refuse_rows(labels < 0, f"{name}: no class (label below 0) at row", "leave such rows out or label them")
    return labels.long()


def checked_multi_hot(name: str, item: Embedded, device: torch.device) -> Tensor:
    """Multi-hot labels as a (N, C) uint8 tensor.

    Raises:
        InputError: labels that are not (N, C) zeros and ones, or a row without any class.
    """
    labels = _labels(name, item, device)
    if labels.ndim != 2:
        raise InputError(
            f"labels of {name} have shape {tuple(labels.shape)}, protocol multi-label needs (rows, classes) multi-hot: "
            f"use protocol category for one class per row"
        )
    other = ((labels != 0) & (labels != 1)).any(1)
    _refuse_rows(other, f"{name}: multi-hot label other than 0 or 1 at row", "write 1 where the item has the class")
    _refuse_rows(~labels.bool().any(1), f"{name}: no class at row", "leave such rows out or label them")
    return labels.to(torch.uint8)


def key_codes(embeddings: Mapping[str, Embedded], device: torch.device) -> dict[str, Tensor]:
    """Instance keys as numbers: equal keys of any modality are equal numbers, in the order of their first item.

    Returns:
        (N,) int64 by modality, in [0, number of different keys).

    Raises:
        InputError: a modality without keys, or without one for each item.
    """
    codes: dict[str | int, int] = {}
    found = {}
    for name, item in embeddings.items():
        if item.keys is None:
            raise InputError(f"{name} has no instance keys: protocol instance needs one for each embedding")
        keys = item.keys if not isinstance(item.keys, Tensor | np.ndarray) else item.keys.tolist()
        if len(keys) != len(item.vectors):
            raise InputError(f"{name} has {len(item.vectors)} embeddings but {len(keys)} instance keys")
        own = [codes.setdefault(key, len(codes)) for key in keys]
        found[name] = torch.tensor(own, dtype=torch.int64, device=device)
    return found


def camera_codes(embeddings: Mapping[str, Embedded], device: torch.device) -> dict[str, Tensor]:
    """Cameras as numbers: equal names of any modality are equal numbers.

    Returns:
        (N,) int64 by modality, 0 or more, and -1 for an item without a camera.

    Raises:
        InputError: a modality with cameras, but not one for each item.
    """
    codes: dict[str, int] = {}
    found = {}
    for name, item in embeddings.items():
        cameras = [""] * len(item.vectors) if item.cameras is None else item.cameras
        if len(cameras) != len(item.vectors):
            raise InputError(f"{name} has {len(item.vectors)} embeddings but {len(cameras)} cameras")
        own = [codes.setdefault(camera, len(codes)) if camera else -1 for camera in cameras]
        found[name] = torch.tensor(own, dtype=torch.int64, device=device)
    return found


def _vectors(name: str, item: Embedded, device: torch.device | str | None) -> Tensor:
    rows = _tensor(name, "embeddings", item.vectors, device)
    if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] == 0 or rows.is_complex():
        raise InputError(
            f"embeddings of {name} must be (rows, dims) real numbers, got {tuple(rows.shape)} {rows.dtype}"
        )
    _refuse_rows(~rows.isfinite().all(1), f"{name}: embedding not finite at row", "look at the branch that made it")
    return rows


def _labels(name: str, item: Embedded, device: torch.device) -> Tensor:
    if item.labels is None:
        raise InputError(f"{name} has no labels: this protocol needs them")
    labels = _tensor(name, "labels", item.labels, device)
    if labels.is_floating_point() or labels.is_complex():
        raise InputError(f"labels of {name} must be integers, got {labels.dtype}")
    if labels.ndim == 0 or len(labels) != len(item.vectors):
        raise InputError(f"{name} has {len(item.vectors)} embeddings but labels of shape {tuple(labels.shape)}")
    return labels


def _tensor(name: str, what: str, array: Array, device: torch.device | str | None) -> Tensor:
    try:
        # A copy only where numpy would hand out memory that torch may not write to.
        source = array if isinstance(array, Tensor) else np.require(array, requirements=["C", "W"])
        return torch.as_tensor(source, device=device)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} of {name} are not an array of numbers: {error}") from error


def _refuse_rows(bad: Tensor, what: str, remedy: str) -> None:
    rows = bad.nonzero().flatten()
    if len(rows):
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        raise InputError(f"{what} {int(rows[0])}{more}: {remedy}")
