"""From embeddings to numbers by their protocol, and what the numbers rest on."""

from collections.abc import Mapping
from typing import Any

import torch

from xfeat.errors import InputError
from xfeat.evaluation.domain import sample_instances
from xfeat.evaluation.instance import INSTANCE, evaluate_instances
from xfeat.evaluation.protocols import MULTI_LABEL, evaluate
from xfeat.evaluation.reid import RE_ID, evaluate_reid
from xfeat.evaluation.results import Evaluation
from xfeat.evaluation.unseen import ZERO_SHOT_RETRIEVAL, evaluate_unseen
from xfeat.evaluation.zero_shot import ZERO_SHOT, evaluate_zero_shot
from xfeat.training.asked import Asked
from xfeat.training.classes import unsupported_pairs
from xfeat.training.embedded_rows import Embeddings


def measured(found: Embeddings, sources: Embeddings | None, asked: Asked, device: torch.device) -> Evaluation:
    """The numbers of one run, or of features as they are.

    Args:
        found: what was embedded, of some protocol.
        sources: of the prototypes of the zero-shot protocol; None under any other.
        asked: what is wanted.
        device: where to compute.

    Raises:
        InputError: a setting that the protocol does not know, or embeddings that do not fit it.
    """
    if asked.relevance is not None and found.protocol != MULTI_LABEL:
        raise InputError(f"--relevance is for samples of several classes; this is protocol {found.protocol}")
    if found.protocol == INSTANCE:
        items = found.items if asked.gallery is None else sample_instances(found.items, asked.gallery)
        return evaluate_instances(items, missing=asked.missing, device=device)
    if asked.missing != "skip":
        raise InputError(f"--missing {asked.missing} is for protocol {INSTANCE}, not for {found.protocol}")
    if found.protocol == RE_ID:
        return evaluate_reid(found.items, shots=asked.shots, trials=asked.trials, device=device)
    if found.protocol == ZERO_SHOT_RETRIEVAL:
        unseen = [found.classes.index(name) for name in found.unseen]
        return evaluate_unseen(found.items, unseen, gallery=asked.gallery_classes or "unseen", device=device)
    if sources is not None:
        return evaluate_zero_shot(found.items, sources.items, device=device)
    return evaluate(found.items, found.protocol, relevance=asked.relevance or found.relevance, device=device)


def stated(document: dict[str, Any], found: Embeddings, asked: Asked) -> dict[str, Any]:
    """The document of an evaluation, with what its numbers rest on besides the protocol.

    These are rows left out, classes that were never trained, and the choices that were made.
    """
    besides: dict[str, Any] = {"split": asked.split}
    if found.protocol != INSTANCE:
        besides |= {
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
    by_unseen = found.protocol == ZERO_SHOT_RETRIEVAL
    optional: Mapping[str, Any] = {
        "unseen_classes": found.unseen if by_unseen else None,
        "classes": None if by_unseen else found.chosen,
        "classes_asked": asked.classes,
        "other_classes": found.others or None,
        "unkeyed": {name: count for name, count in found.unkeyed.items() if count} or None,
        "on": [str(cache.path) for cache in asked.on] if asked.on else None,
        "weights": found.weights or None,
        "sampled_instances": asked.gallery,
    }
    besides |= {name: value for name, value in optional.items() if value is not None}
    if found.protocol == ZERO_SHOT:
        means = f"class means of all labelled {asked.means_from} rows, those of unseen classes too"
        besides["prototypes"] = f"all rows of {asked.prompts.path}" if asked.prompts else means
    document["protocol"] = {**document["protocol"], **besides}
    return document
