"""What the metrics of a protocol are, in words: no number is printed without them."""

from collections.abc import Callable, Mapping
from typing import Any

Numbers = Mapping[str, Any]

DENOMINATORS: Mapping[str, str] = {"hits": "the hits within {}", "min": "the relevant items, {} at most"}
"""What average precision at a cut divides by; {} is the cut."""


def meanings(stated: Numbers) -> list[str]:
    """Clauses that say what the numbers are, one or two a metric.

    Args:
        stated: the ``protocol`` of an evaluation's JSON.
    """
    means: Mapping[str, Callable[[Numbers], list[str]]] = {
        "instance": _instance,
        "re-id": _reid,
        "zero-shot": _zero_shot,
        "zero-shot-retrieval": _unseen,
    }
    return [*means.get(stated["name"], _classes)(stated), "ties count with their expected value"]


def averaged(pair: Numbers) -> int:
    """Queries that the means of a pair are over: those that something answers, and those that count as misses.

    Args:
        pair: one of the ``pairs`` of an evaluation's JSON.
    """
    return int(pair["queries"] - pair["without_relevant"] + (pair.get("missed") or 0))


def divided(stated: Numbers) -> list[str]:
    """What mAP at each cut divides by; nothing where the whole ranking counts."""
    word = DENOMINATORS[stated["denominator"]]
    return [f"mAP@{cut} divides by {word.format(cut)}" for cut in stated["cuts"] if cut != "all"]


def _classes(stated: Numbers) -> list[str]:
    precision = [f"P@K: {stated['precision']}"] if "precision" in stated else []
    return [
        *divided(stated),
        f"R@K: {stated['recall']}",
        *precision,
        f"nDCG: gain {stated['gain']}, discount {stated['discount']}",
    ]


def _instance(stated: Numbers) -> list[str]:
    return [f"R@K: {stated['recall']}", f"missing={stated['missing']}: {stated['missing_means']}"]


def _reid(stated: Numbers) -> list[str]:
    return [f"CMC@K: {stated['recall']}", "mAP@all: of the whole ranking", f"mINP: {stated['mINP']}"]


def _zero_shot(stated: Numbers) -> list[str]:
    return [f"top-K: {stated['top']}", f"per-class: {stated['per-class']}"]


def _unseen(stated: Numbers) -> list[str]:
    return [*divided(stated), f"P@K: {stated['precision']}"]
