"""``xfeat eval``: retrieval quality of a run, of a group of seeds, or of features as they are."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from xfeat.cli.eval_text import notes, show
from xfeat.cli.eval_words import (
    checked_cuts,
    checked_gallery_classes,
    checked_modalities,
    checked_shots,
    checked_weights,
)
from xfeat.cli.gap_text import add_gap, show_gap
from xfeat.cli.train import DEVICE
from xfeat.errors import InputError

__all__ = ["check_json", "checked_weights", "evaluate", "write_json"]

if TYPE_CHECKING:
    from xfeat.training.evaluating import Answer, Asked

SPLIT = typer.Option("test", help="Rows to evaluate on.")
MISSING = typer.Option(
    "skip", metavar="skip|miss", help="Protocol instance: items whose partner is missing are left out, or are misses."
)
WEIGHTS = typer.Option("kept", metavar="kept|raw|ema", help="Weights to evaluate, of a run that has two sets.")
ON = typer.Option([], "--on", metavar="CACHE", help="Other caches than the run's own, one per modality; repeat it.")
MODALITIES = typer.Option(
    None, metavar="NAME,NAME...", help="Evaluate these modalities of the run only, such as those that have pair keys."
)
ALLOW_CHANGED = typer.Option(False, "--allow-changed", help="Evaluate on caches rewritten since training.")
JSON = typer.Option(None, "--json", metavar="FILE|-", help="Write JSON, - for standard output.")


def evaluate(
    paths: list[Path] = typer.Argument(
        ..., metavar="RUN", help="A run, or a group of seeds; with --raw, one cache per modality."
    ),
    raw: bool = typer.Option(False, "--raw", help="Evaluate the features of caches as they are."),
    split: str = SPLIT,
    protocol: str | None = typer.Option(
        None,
        metavar="category|multi-label|instance|re-id|zero-shot|zero-shot-retrieval",
        help="What is relevant; follows from the method and the labels if not given.",
    ),
    relevance: str | None = typer.Option(
        None,
        metavar="any|exact|at-least:N|jaccard:T",
        help="Of samples of several classes: a class shared, the same classes, N shared, a Jaccard index of T. "
        "The run's setting if not given.",
    ),
    missing: str = MISSING,
    prompts: Path | None = typer.Option(
        None, metavar="CACHE", help="Protocol zero-shot: a cache of class prompts, labelled with their classes."
    ),
    means_from: str = typer.Option(
        "train", metavar="SPLIT", help="Protocol zero-shot without prompts: the rows that class means are of."
    ),
    gallery_shots: str = typer.Option(
        "all", metavar="all|N", help="Protocol re-id: rank the whole gallery, or N random rows per identity and camera."
    ),
    trials: int | None = typer.Option(
        None, metavar="N", help="Protocol re-id with --gallery-shots N: how often to draw; 10 if not given."
    ),
    gallery_classes: str | None = typer.Option(
        None,
        metavar="unseen|all",
        help="Protocol zero-shot-retrieval: rank items of unseen classes only (the default), or of all classes.",
    ),
    cuts: str | None = typer.Option(
        None,
        metavar="K,K...",
        help="Ranks that count, such as all,50,100 of mAP, P and nDCG, or 1,5,10 of R and CMC; all,50 if not given.",
    ),
    denominator: str | None = typer.Option(
        None,
        metavar="hits|min",
        help="What mAP at a cut K divides by: the hits within K (the default), or min(K, relevant items).",
    ),
    gain: str | None = typer.Option(
        None,
        metavar="exponential|linear",
        help="nDCG of samples of several classes: g shared classes are worth 2^g - 1 (the default), or g.",
    ),
    float64: bool = typer.Option(False, "--float64", help="Compute scores in double precision, as a check."),
    weights: str = WEIGHTS,
    classes: str | None = typer.Option(
        None,
        metavar="seen|unseen|NAME,NAME...",
        help="Keep rows of these classes only; seen is what the run trained on. With --raw and protocol "
        "zero-shot-retrieval: the classes to count as unseen.",
    ),
    modalities: str | None = MODALITIES,
    on: list[Path] = ON,
    gap: bool = typer.Option(False, "--gap", help="Measure the modality gap too: whether modalities lie apart."),
    allow_changed: bool = ALLOW_CHANGED,
    as_json: str | None = JSON,
    device: str = DEVICE,
) -> None:
    """Measure retrieval quality, chance beside it.

    Of every ordered pair of modalities, on rows that training never read: mAP, recall, precision, nDCG and rank where
    classes are relevant, recall and rank where instances are, CMC, mAP and mINP of re-identification, accuracy of
    zero-shot classification, mAP and precision of retrieval of unseen classes. Of a group of seeds: the mean over its
    runs, and the standard deviation. The JSON has every metric, the table those that fit.
    """
    from xfeat.cache import FeatureCache
    from xfeat.evaluation.relevance import relevance_rule
    from xfeat.training.device import find_device
    from xfeat.training.embedding import Blocks
    from xfeat.training.evaluating import Asked, evaluate_path, evaluate_raw, other_weights

    where = find_device(device)
    check_json(as_json)
    if relevance is not None:
        relevance_rule(relevance)  # a wrong word is told before anything is read
    asked = Asked(
        split,
        protocol,
        relevance,
        missing=cast("Any", missing),
        prompts=_prompts(prompts, protocol),
        means_from=means_from,
        weights=cast("Any", checked_weights(weights)),
        classes=classes,
        on=[FeatureCache(path) for path in on] or None,
        modalities=checked_modalities(modalities),
        allow_changed=allow_changed,
        gallery_classes=cast("Any", checked_gallery_classes(gallery_classes)),
        shots=checked_shots(gallery_shots),
        trials=trials,
        cuts=checked_cuts(cuts),
        denominator=cast("Any", denominator),
        gain=cast("Any", gain),
        double=float64,
    )
    blocks = Blocks()
    if raw:
        _refuse_with_raw(asked)
        answer = evaluate_raw([FeatureCache(path) for path in paths], asked, where)
    else:
        if len(paths) > 1:
            raise InputError(f"eval takes one run, got {len(paths)} paths: add --raw to evaluate caches as they are")
        answer = evaluate_path(paths[0], asked, where, blocks)
        if both := other_weights(paths[0], asked, where, answer, blocks):
            answer.document["weights"] = both
    if gap:
        add_gap(paths, raw, asked, answer, where, blocks)
    _report(answer, as_json)


def _prompts(path: Path | None, protocol: str | None) -> Any:
    from xfeat.cache import FeatureCache

    if path is None:
        return None
    if protocol != "zero-shot":
        raise InputError("--prompts is for --protocol zero-shot: give both")
    return FeatureCache(path)


def _refuse_with_raw(asked: "Asked") -> None:
    if asked.on:
        raise InputError("--on gives a run other caches; with --raw, name the caches themselves")
    if asked.modalities:
        raise InputError("--modalities is for a run; with --raw, name the caches themselves")
    if asked.weights != "kept":
        raise InputError("--weights is for a run; with --raw there are none")
    if asked.classes in ("seen", "unseen"):
        raise InputError(f"--classes {asked.classes} needs a run, which saw classes; with --raw, name the classes")


def _report(answer: "Answer", as_json: str | None) -> None:
    for line in notes(answer.found):
        typer.echo(line, err=True)
    if as_json == "-":
        typer.echo(json.dumps(answer.document, indent=1))
        return
    typer.echo(show(answer.document, answer.found.untrained))
    if "gap" in answer.document:
        typer.echo("\n" + show_gap(answer.document["gap"]))
    if as_json is not None:
        write_json(Path(as_json), answer.document)
        typer.echo(f"json      {as_json}")


def check_json(word: str | None) -> None:
    """Refuse a place for ``--json`` that cannot be written to, before anything is computed.

    Raises:
        InputError: its folder does not exist, or it is one.
    """
    if word is None or word == "-":
        return
    path = Path(word)
    if not path.parent.is_dir():
        raise InputError(f"--json {path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise InputError(f"--json {path} is a folder: name a file in it")


def write_json(path: Path, document: object) -> None:
    """Write a JSON file whole; see `check_json` for where."""
    from xfeat.cache.files import write_text

    write_text(path, json.dumps(document, indent=1) + "\n")
