"""The anchors of an SSPC run against the samples of one split."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from xfeat.cache import Block, FeatureCache
from xfeat.errors import InputError
from xfeat.methods.settings import validated
from xfeat.methods.sspc import assign
from xfeat.methods.sspc_settings import QUEUES, SspcSettings
from xfeat.training.anchors import Names, agreement, duplicates, measure_anchors, top_sets
from xfeat.training.anchors_report import SPACES, AnchorReport, Space, SpaceReport
from xfeat.training.group import is_group, load_group, member_path
from xfeat.training.pairing import pair_rows
from xfeat.training.run import SSPC, Run, RunConfig
from xfeat.training.sspc_store import StoredGated, Weights, load_gated

CPU = torch.device("cpu")


@dataclass(frozen=True)
class _Seen:
    """One modality: its branch, the split's rows, and their embeddings."""

    branch: StoredGated
    cache: FeatureCache
    block: Block
    input: Tensor
    joint: Tensor

    @property
    def names(self) -> Names:
        return Names(self.block.ids, self.block.labels, self.cache.manifest.classes)


def read_anchors(
    path: Path,
    split: str = "train",
    *,
    modalities: Sequence[str] = (),
    spaces: Sequence[Space] = SPACES,
    examples: int = 8,
    weights: Weights = "kept",
    device: torch.device | None = None,
    allow_changed: bool = False,
) -> AnchorReport:
    """Which samples of a split the anchors of a run hold.

    Samples are assigned by the run's own rule, all of the split together, without a queue. A split that is longer than
    the queue is cut into parts of at most that length, each spread evenly over the split, and the parts are assigned
    one by one, as a training does.

    Args:
        path: a finished SSPC run.
        split: for example ``train``.
        modalities: whose anchors to look at; all if empty.
        spaces: which spaces.
        examples: at most so many samples of each anchor.
        weights: which set; ``kept`` are those that count.
        device: where to compute; the CPU by default.
        allow_changed: take caches whose samples or features changed since the run was trained.

    Raises:
        InputError: not such a run, anchors that were never trained, an unknown modality, no rows in the split.
    """
    run = Run(path)
    config = _config_of(run)
    if strange := [name for name in modalities if name not in config.modalities]:
        raise InputError(f"{path} has no modality {strange[0]!r}: it has {', '.join(config.modalities)}")
    asked = [name for name in config.modalities if not modalities or name in modalities]
    branches = {name: load_gated(run.branch_file(name), weights) for name in config.modalities}
    first = next(iter(branches.values()))
    settings = validated(SspcSettings, first.note["settings"])
    _check_trained(run, settings, int(first.note["epoch"]))
    seen = {}
    for name, branch in branches.items():
        cache = run.open_cache(name, config.modalities[name], allow_changed=allow_changed)
        block = cache.load((split,), with_tokens=branch.wants_tokens)
        if len(block):
            out = branch.both(block.features, device or CPU, block.tokens)
            seen[name] = _Seen(branch, cache, block, out.input, out.joint)
        elif name in asked:
            there = ", ".join(cache.manifest.counts["split"])
            raise InputError(f"{cache.path}: no rows in split {split!r} (splits there: {there})")
    reports = [one for name in asked for one in _of_modality(name, seen, settings, spaces, examples)]
    backbones = {name: str(one.cache.manifest.fingerprint.get("backbone", "")) for name, one in seen.items()}
    kind, notes = str(first.note["shown"]), _notes(asked, list(branches), settings)
    return AnchorReport(path, split, config.seed, kind, settings, _required(settings), backbones, reports, notes)


def _config_of(run: Run) -> RunConfig:
    if is_group(run.path):
        member = member_path(run.path, load_group(run.path)[0][0])
        raise InputError(f"{run.path} holds runs of several seeds: name one of them, for example {member}")
    config = run.load_config()
    if config.method != SSPC:
        raise InputError(f"anchors are SSPC's: {run.path} was trained with {config.method}")
    return config


def _check_trained(run: Run, settings: SspcSettings, epoch: int) -> None:
    if not settings.beta:
        raise InputError(f"{run.path} is contrastive only (beta=0): its anchors were never trained")
    known = [row["train_consistency"] for row in _log(run) if "train_consistency" in row and row["epoch"] <= epoch]
    if known and not any(known):
        raise InputError(
            f"{run.path}: consistency had not begun by epoch {epoch}, which was kept, so its anchors were never "
            f"trained: the queue of {settings.queue:,} samples was not full (train for longer, or set queue lower), or "
            "all pairs weigh 0"
        )


def _log(run: Run) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in run.log_file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):  # the log only explains; a run is whole without it
        return []


def _of_modality(
    name: str, seen: Mapping[str, _Seen], settings: SspcSettings, spaces: Sequence[Space], examples: int
) -> list[SpaceReport]:
    own, required = seen[name], _required(settings)
    others = {other: _joint_sets(own, seen[other], settings) for other in seen if other != name}
    rows = {other: _shared_rows(own, seen[other]) for other in others}
    found = []
    for space in spaces:
        cosines, anchors = _cosines(own, space)
        targets, pieces = assign_split(cosines, settings)
        values, soft = cosines.numpy(), targets.numpy()
        sets = top_sets(soft, values, required)
        agreements = {
            other: agreement(sets[mine], others[other][theirs]) for other, (mine, theirs) in rows.items() if len(mine)
        }
        measured = measure_anchors(values, soft, required, own.names, examples=examples)
        found.append(SpaceReport(name, space, len(values), pieces, measured, duplicates(anchors), agreements))
    return found


def assign_split(cosines: Tensor, settings: SspcSettings) -> tuple[Tensor, int]:
    """Soft memberships (n, K) of a whole split, and the number of parts it was assigned in.

    Args:
        cosines: (n, K), on the CPU.
        settings: resolved; parts are at most ``queue`` long, or 5,500 where there is none.
    """
    pieces = max(1, -(-len(cosines) // (settings.queue or QUEUES["paper"])))
    targets = torch.empty_like(cosines)
    # Every so many-th row: caches are often sorted by class, and a part has to be like the whole.
    for start in range(pieces):
        part = cosines[start::pieces]
        targets[start::pieces] = assign(part, part[:0], None, settings)
    return targets, pieces


def _cosines(one: _Seen, space: Space) -> tuple[Tensor, NDArray[np.float64]]:
    """A modality's own samples against its anchors (n, K), and the anchors (K, d)."""
    head = one.branch.head
    anchors = head.input_anchors if space == "input" else head.joint_anchors
    found = _against(one.input if space == "input" else one.joint, anchors)
    return found, anchors.detach().double().cpu().numpy()


def _joint_sets(owner: _Seen, other: _Seen, settings: SspcSettings) -> NDArray[np.bool_]:
    """(n, K) which of the owner's joint anchors the other modality's samples hold."""
    cosines = _against(other.joint, owner.branch.head.joint_anchors)
    return top_sets(assign_split(cosines, settings)[0].numpy(), cosines.numpy(), _required(settings))


@torch.no_grad()
def _against(embeddings: Tensor, anchors: Tensor) -> Tensor:
    """Cosines (n, K) on the CPU of unit rows and anchors of any length."""
    return (embeddings @ normalize(anchors, dim=1).T).cpu()


def _shared_rows(one: _Seen, other: _Seen) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the instances that both have; of several rows of an instance the first."""
    names = [part.cache.manifest.modality for part in (one, other)]
    try:
        pairing = pair_rows([one.cache, other.cache], dict(zip(names, (one.block, other.block), strict=True)))
    except InputError:  # a split without pairs agrees on nothing
        none = np.zeros(0, dtype=np.int64)
        return none, none
    first = [pairing.members[name] for name in names]
    return first[0].rows[first[0].starts[:-1]], first[1].rows[first[1].starts[:-1]]


def _required(settings: SspcSettings) -> int:
    return 1 if settings.assignment == "single" else settings.required or 1


def _notes(asked: Sequence[str], names: Sequence[str], settings: SspcSettings) -> list[str]:
    """Modalities whose anchors no loss has touched."""
    return [
        f"every pair of {name} weighs 0: its anchors were never trained"
        for name in asked
        if not any(settings.pair_weight(name, other) for other in names if other != name)
    ]
