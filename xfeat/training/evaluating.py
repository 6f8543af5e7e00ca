"""From what was asked for to the document of the numbers: of a run, of a group of seeds, or of features as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from xfeat.cache import FeatureCache
from xfeat.evaluation.results import Evaluation
from xfeat.evaluation.spread import SeedEvaluations
from xfeat.evaluation.zero_shot import ZERO_SHOT
from xfeat.progress import progress
from xfeat.training.asked import Asked
from xfeat.training.embedding import Blocks, Embeddings, embed_run, embed_zero_shot
from xfeat.training.embedding_raw import embed_raw, embed_raw_zero_shot
from xfeat.training.group import is_group, members
from xfeat.training.measuring import measured, stated
from xfeat.training.run import Run
from xfeat.training.sspc_store import Weights
from xfeat.training.store import load_note

__all__ = ["Answer", "Asked", "evaluate_path", "evaluate_raw", "other_weights"]

KINDS: tuple[Weights, ...] = ("ema", "raw")


@dataclass(frozen=True)
class Answer:
    """What was evaluated, and its numbers.

    Attributes:
        found: the rows (of a group, those of its last member).
        document: as of `Evaluation.to_json` or `SeedEvaluations.to_json`, with the circumstances in ``protocol``.
        results: of every seed; of a single run under its own, of features as they are under 0.
    """

    found: Embeddings
    document: dict[str, Any]
    results: Mapping[int, Evaluation]


def evaluate_path(path: Path, asked: Asked, device: torch.device, blocks: Blocks | None = None) -> Answer:
    """Evaluate a run, or every member of a group of seeds.

    Args:
        path: of the run or the group.
        asked: what is wanted.
        device: where to compute.
        blocks: rows that were read already.

    Raises:
        InputError: no such run, or what is asked for does not fit it.
    """
    blocks = blocks or Blocks()
    if not is_group(path):
        found, result = _run(path, asked, device, blocks)
        return Answer(found, stated(result.to_json(), found, asked), {Run(path).load_config().seed: result})
    runs, results = members(path), {}
    with progress(f"eval {path.name}", len(runs)) as advance:
        for seed, member in runs.items():
            found, results[seed] = _run(member, asked, device, blocks)
            advance()
    return Answer(found, stated(SeedEvaluations(results).to_json(), found, asked), results)


def evaluate_raw(caches: Sequence[FeatureCache], asked: Asked, device: torch.device) -> Answer:
    """Evaluate features as they are.

    Raises:
        InputError: caches that do not fit each other or what is asked for.
    """
    if asked.protocol == ZERO_SHOT:
        found, sources = embed_raw_zero_shot(
            caches, asked.split, prompts=asked.prompts, means_from=asked.means_from, classes=asked.classes
        )
    else:
        found = embed_raw(
            caches,
            asked.split,
            protocol=asked.protocol,
            classes=asked.classes,
            gallery_classes=asked.gallery_classes or "unseen",
        )
        sources = None
    result = measured(found, sources, asked, device)
    return Answer(found, stated(result.to_json(), found, asked), {0: result})


def other_weights(path: Path, asked: Asked, device: torch.device, kept: Answer, blocks: Blocks) -> dict[str, Any]:
    """Means over pairs by both sets of weights, and which of them count; empty where there is one set.

    Args:
        path: of the run or the group.
        asked: what gave ``kept``.
        device: where to compute.
        kept: the answer by the weights that count.
        blocks: rows that were read for it.
    """
    if not kept.found.both_weights or asked.weights != "kept":
        return {}
    means: dict[str, Any] = {}
    for kind in KINDS:
        same = not is_group(path) and kind == kept.found.weights
        answer = kept if same else evaluate_path(path, replace(asked, weights=kind), device, blocks)
        means[kind] = answer.document["mean"]
    return {"kept": _kept(path, kept.found), **means}


def _kept(path: Path, found: Embeddings) -> str:
    """The weights that count; ``raw or ema`` where the seeds of a group differ."""
    if not is_group(path):
        return found.weights
    kinds = {
        str(load_note(Run(member).branch_file(next(iter(found.items))).with_suffix(".json")).get("weights"))
        for member in members(path).values()
    }
    return " or ".join(sorted(kinds, reverse=True))


def _run(path: Path, asked: Asked, device: torch.device, blocks: Blocks) -> tuple[Embeddings, Evaluation]:
    sources = None
    if asked.protocol == ZERO_SHOT:
        found, sources = embed_zero_shot(
            path,
            asked.split,
            device,
            prompts=asked.prompts,
            means_from=asked.means_from,
            allow_changed=asked.allow_changed,
            blocks=blocks,
            weights=asked.weights,
            classes=asked.classes,
            on=asked.on,
            modalities=asked.modalities,
        )
    else:
        found = embed_run(
            path,
            asked.split,
            device,
            allow_changed=asked.allow_changed,
            blocks=blocks,
            protocol=asked.protocol,
            weights=asked.weights,
            classes=asked.classes,
            on=asked.on,
            gallery_classes=asked.gallery_classes or "unseen",
            modalities=asked.modalities,
        )
    return found, measured(found, sources, asked, device)
