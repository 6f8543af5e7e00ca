"""From embeddings to numbers by their protocol, and what the numbers rest on."""

from collections.abc import Mapping
from typing import Any

import torch

from xfeat.errors import InputError
from xfeat.evaluation.domain import sample_instances
from xfeat.evaluation.instance import INSTANCE, evaluate_instances
from xfeat.evaluation.protocols import CATEGORY, MULTI_LABEL, evaluate
from xfeat.evaluation.reid import RE_ID, evaluate_reid
from xfeat.evaluation.results import Evaluation
from xfeat.evaluation.unseen import ZERO_SHOT_RETRIEVAL, evaluate_unseen
from xfeat.evaluation.zero_shot import ZERO_SHOT, evaluate_zero_shot
from xfeat.training.asked import Asked
from xfeat.training.classes import unsupported_pairs
from xfeat.training.embedded_rows import Embeddings

DIVIDED = (CATEGORY, MULTI_LABEL, ZERO_SHOT_RETRIEVAL)  # protocols with average precision at a cut


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
    _check_settings(found.protocol, asked)
    how: dict[str, Any] = {"dtype": torch.float64 if asked.double else torch.float32, "device": device}
    cuts: dict[str, Any] = {} if asked.cuts is None else {"cuts": asked.cuts}
    divided = asked.denominator or "hits"
    if found.protocol == INSTANCE:
        items = found.items if asked.gallery is None else sample_instances(found.items, asked.gallery)
        return evaluate_instances(items, missing=asked.missing, **cuts, **how)
    if found.protocol == RE_ID:
        return evaluate_reid(found.items, shots=asked.shots, trials=asked.trials, **cuts, **how)
    if found.protocol == ZERO_SHOT_RETRIEVAL:
        unseen = [found.classes.index(name) for name in found.unseen]
        gallery = asked.gallery_classes or "unseen"
        return evaluate_unseen(found.items, unseen, gallery=gallery, denominator=divided, **how)
    if sources is not None:
        return evaluate_zero_shot(found.items, sources.items, **how)
    rule, gain = asked.relevance or found.relevance, asked.gain or "exponential"
    return evaluate(found.items, found.protocol, denominator=divided, relevance=rule, gain=gain, **cuts, **how)


def _check_settings(protocol: str, asked: Asked) -> None:
    """Refuse what is for other protocols.

    Raises:
        InputError: names it.
    """
    if asked.relevance is not None and protocol != MULTI_LABEL:
        raise InputError(f"--relevance is for samples of several classes; this is protocol {protocol}")
    if asked.gain is not None and protocol != MULTI_LABEL:
        raise InputError(f"--gain is for samples of several classes; this is protocol {protocol}")
    if asked.missing != "skip" and protocol != INSTANCE:
        raise InputError(f"--missing {asked.missing} is for protocol {INSTANCE}, not for {protocol}")
    if asked.denominator is not None and protocol not in DIVIDED:
        raise InputError(f"--denominator is for protocols {', '.join(DIVIDED)}; this is protocol {protocol}")
    if asked.cuts is not None and protocol in (ZERO_SHOT, ZERO_SHOT_RETRIEVAL):
        raise InputError(f"--cuts: those of protocol {protocol} are fixed")
    if asked.cuts is not None and None in asked.cuts and protocol in (INSTANCE, RE_ID):
        raise InputError(f"--cuts all: recall within all ranks says nothing; give numbers for protocol {protocol}")


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
        "held_out": found.held_out or None,
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
