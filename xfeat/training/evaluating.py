"""From what was asked for to the document of the numbers: of a run, of a group of seeds, or of features as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.evaluation.domain import sample_instances
from xfeat.evaluation.instance import INSTANCE, Missing, evaluate_instances
from xfeat.evaluation.protocols import MULTI_LABEL, evaluate
from xfeat.evaluation.results import Evaluation
from xfeat.evaluation.spread import SeedEvaluations
from xfeat.evaluation.zero_shot import ZERO_SHOT, evaluate_zero_shot
from xfeat.progress import progress
from xfeat.training.classes import unsupported_pairs
from xfeat.training.embedding import (
    Blocks,
    Embeddings,
    embed_raw,
    embed_raw_zero_shot,
    embed_run,
    embed_zero_shot,
)
from xfeat.training.group import is_group, members
from xfeat.training.run import Run
from xfeat.training.sspc_store import Weights
from xfeat.training.store import load_note

KINDS: tuple[Weights, ...] = ("ema", "raw")


@dataclass(frozen=True)
class Asked:
    """What an evaluation is to be.

    Attributes:
        split: of the rows.
        protocol: one of ``embedding.PROTOCOLS``; None: what suits the run.
        relevance: of the multi-label protocol; None: the run's.
        missing: of the instance protocol, see `evaluate_instances`.
        prompts: of the zero-shot protocol, see `embed_zero_shot`; None: class means.
        means_from: the split that class means are of.
        weights: which, of a run that has two sets.
        classes: keep rows of these only, see `chosen_classes`; None keeps all.
        on: evaluate on these caches instead of the run's own.
        allow_changed: take caches that changed since the training.
        gallery: sample so many instances, with a fixed seed, under the instance protocol; None takes all.
    """

    split: str = "test"
    protocol: str | None = None
    relevance: str | None = None
    missing: Missing = "skip"
    prompts: FeatureCache | None = None
    means_from: str = "train"
    weights: Weights = "kept"
    classes: str | Sequence[str] | None = None
    on: Sequence[FeatureCache] | None = None
    allow_changed: bool = False
    gallery: int | None = None


@dataclass(frozen=True)
class Answer:
    """What was evaluated, and its numbers.

    Attributes:
        found: the rows (of a group, those of its last member).
        document: as of `Evaluation.to_json` or `SeedEvaluations.to_json`, with the circumstances in ``protocol``.
    """

    found: Embeddings
    document: dict[str, Any]


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
        return Answer(found, _stated(result.to_json(), found, asked))
    runs, results = members(path), {}
    with progress(f"eval {path.name}", len(runs)) as advance:
        for seed, member in runs.items():
            found, results[seed] = _run(member, asked, device, blocks)
            advance()
    return Answer(found, _stated(SeedEvaluations(results).to_json(), found, asked))


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
        found = embed_raw(caches, asked.split, protocol=asked.protocol, classes=asked.classes)
        sources = None
    return Answer(found, _stated(_measured(found, sources, asked, device).to_json(), found, asked))


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
        )
    return found, _measured(found, sources, asked, device)


def _measured(found: Embeddings, sources: Embeddings | None, asked: Asked, device: torch.device) -> Evaluation:
    if asked.relevance is not None and found.protocol != MULTI_LABEL:
        raise InputError(f"--relevance is for samples of several classes; this is protocol {found.protocol}")
    if found.protocol == INSTANCE:
        items = found.items if asked.gallery is None else sample_instances(found.items, asked.gallery)
        return evaluate_instances(items, missing=asked.missing, device=device)
    if asked.missing != "skip":
        raise InputError(f"--missing {asked.missing} is for protocol {INSTANCE}, not for {found.protocol}")
    if sources is not None:
        return evaluate_zero_shot(found.items, sources.items, device=device)
    return evaluate(found.items, found.protocol, relevance=asked.relevance or found.relevance, device=device)


def _stated(document: dict[str, Any], found: Embeddings, asked: Asked) -> dict[str, Any]:
    """What the numbers rest on besides the protocol: rows left out, classes that were never trained."""
    stated: dict[str, Any] = {"split": asked.split}
    if found.protocol != INSTANCE:
        stated |= {
            "unlabelled": found.unlabelled,
            "unknown": {
                name: {"rows": count, "classes": found.unknown_classes[name]}
                for name, count in found.unknown.items()
                if count
            },
            "unsupported": {
                f"{pair.query}->{pair.gallery}": pair.classes for pair in unsupported_pairs(found.untrained)
            },
        }
    optional: Mapping[str, Any] = {
        "classes": found.chosen,
        "classes_asked": None if asked.classes is None else asked.classes,
        "other_classes": found.others or None,
        "unkeyed": {name: count for name, count in found.unkeyed.items() if count} or None,
        "on": [str(cache.path) for cache in asked.on] if asked.on else None,
        "weights": found.weights or None,
        "sampled_instances": asked.gallery,
    }
    stated |= {name: value for name, value in optional.items() if value is not None}
    if found.protocol == ZERO_SHOT:
        means = f"class means of all labelled {asked.means_from} rows, those of unseen classes too"
        stated["prototypes"] = f"all rows of {asked.prompts.path}" if asked.prompts else means
    document["protocol"] = {**document["protocol"], **stated}
    return document
