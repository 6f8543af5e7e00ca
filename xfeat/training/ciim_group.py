"""Trains CIIM for many seeds, each into a run of its own beside the others."""

from collections.abc import Sequence
from pathlib import Path

import torch

from xfeat.cache import FeatureCache
from xfeat.methods.ciim_settings import CiimSettings
from xfeat.training.ciim import METHOD, CiimOutcome, begin, train
from xfeat.training.ciim_data import read, resolved
from xfeat.training.group import check_new_group, claim_group, is_group, member_path
from xfeat.training.side_by_side import train_members


def train_group(
    caches: Sequence[FeatureCache],
    out: Path,
    settings: CiimSettings,
    seeds: Sequence[int],
    *,
    device: torch.device | None = None,
    resume: bool = False,
    processes: int | None = None,
) -> dict[int, CiimOutcome]:
    """Train one run for every seed, ``out/seed0``, ``out/seed1``..., side by side.

    Args:
        caches: one per modality, labelled.
        out: the group's folder.
        settings: of the method.
        seeds: different.
        device: where to train; the CPU by default.
        resume: continue a group; finished runs are kept.
        processes: how many runs train at a time; None takes one for every core of a CPU, one on a GPU.

    Raises:
        InputError: as ``train``, or a folder that holds something else.
    """
    device = device or torch.device("cpu")
    check_new_group(out, resume)
    # Whatever is wrong with the caches is said before anything is written.
    _, config, chosen = begin(caches, member_path(out, seeds[0]), settings, seeds[0], device, True)
    if not is_group(out):
        resolved(chosen, read(caches, config.classes, chosen, seeds[0], device))
    claim_group(out, seeds, METHOD, resume)
    return train_members(train, caches, out, settings, seeds, device, processes)
