"""``xfeat eval``: retrieval quality of a run, or of features as they are."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from xfeat.cli.output import counted, table
from xfeat.cli.train import DEVICE
from xfeat.errors import InputError

if TYPE_CHECKING:
    from xfeat.evaluation.protocols import Evaluation


def evaluate(
    paths: list[Path] = typer.Argument(..., metavar="RUN", help="A run; with --raw, one cache per modality."),
    raw: bool = typer.Option(False, "--raw", help="Evaluate the features of caches as they are."),
    split: str = typer.Option("test", help="Rows to evaluate on."),
    protocol: str | None = typer.Option(
        None, metavar="category|multi-label", help="What is relevant; follows from the labels if not given."
    ),
    allow_changed: bool = typer.Option(False, "--allow-changed", help="Evaluate on caches rewritten since training."),
    as_json: str | None = typer.Option(None, "--json", metavar="FILE|-", help="Write JSON, - for standard output."),
    device: str = DEVICE,
) -> None:
    """Measure retrieval quality, chance beside it.

    Mean average precision of every ordered pair of modalities, on rows that training never read.
    """
    from xfeat.cache import FeatureCache
    from xfeat.evaluation.protocols import evaluate as measure
    from xfeat.training.device import find_device
    from xfeat.training.embedding import embed_raw, embed_run

    where = find_device(device)
    if not raw and len(paths) > 1:
        raise InputError(f"eval takes one run, got {len(paths)} paths: add --raw to evaluate caches as they are")
    found = (
        embed_raw([FeatureCache(path) for path in paths], split)
        if raw
        else embed_run(paths[0], split, where, allow_changed=allow_changed)
    )
    result = measure(found.items, protocol or ("multi-label" if found.multi_label else "category"), device=where)
    for name, count in found.unlabelled.items():
        if count:
            typer.echo(f"note: {counted(count, 'row')} of {name} without a label left out", err=True)
    document = result.to_json()
    document["protocol"]["split"] = split
    if as_json == "-":
        typer.echo(json.dumps(document, indent=1))
        return
    typer.echo(show(result, split))
    if as_json is not None:
        write_json(Path(as_json), document)
        typer.echo(f"json      {as_json}")


def show(result: "Evaluation", split: str) -> str:
    """The table of an evaluation, with the protocol that gives its numbers a meaning."""
    stated = result.protocol
    rows = [
        [
            pair,
            *(f"{value:.3f}" for value in one.metrics.values()),
            f"{one.chance['mAP@all']:.3f}",
            f"{one.queries:,}",
            f"{one.gallery:,}",
        ]
        for pair, one in result.pairs.items()
    ]
    names = list(next(iter(result.pairs.values())).metrics)
    mean = result.mean
    rows.append(["mean", *(f"{mean[name]:.3f}" for name in names), f"{mean['chance mAP@all']:.3f}", "", ""])
    lines = [
        f"protocol {stated['name']} (relevant: {stated['relevance']}), {stated['similarity']}, split {split}",
        table(["query->gallery", *names, "chance@all", "queries", "gallery"], rows, rule_before_last=True),
        f"  mAP@50 divides by the {stated['denominator']} within 50; ties count with their expected value",
    ]
    skipped = sum(one.without_relevant for one in result.pairs.values())
    if skipped:
        lines.append(f"  {counted(skipped, 'query', 'queries')} without a relevant item left out of the means")
    return "\n".join(lines)


def write_json(path: Path, document: object) -> None:
    """Write a JSON file whole.

    Raises:
        InputError: its folder does not exist, or it is one.
    """
    from xfeat.cache.files import write_text

    if not path.parent.is_dir():
        raise InputError(f"--json {path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise InputError(f"--json {path} is a folder: name a file in it")
    write_text(path, json.dumps(document, indent=1) + "\n")
