"""``xfeat eval``: retrieval quality of a run, of a group of seeds, or of features as they are."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from xfeat.cli.eval_text import notes, show
from xfeat.cli.train import DEVICE
from xfeat.errors import InputError

if TYPE_CHECKING:
    import torch

    from xfeat.evaluation.protocols import Evaluation
    from xfeat.training.embedding import Embeddings


def evaluate(
    paths: list[Path] = typer.Argument(
        ..., metavar="RUN", help="A run, or a group of seeds; with --raw, one cache per modality."
    ),
    raw: bool = typer.Option(False, "--raw", help="Evaluate the features of caches as they are."),
    split: str = typer.Option("test", help="Rows to evaluate on."),
    protocol: str | None = typer.Option(
        None, metavar="category|multi-label", help="What is relevant; follows from the labels if not given."
    ),
    relevance: str | None = typer.Option(
        None,
        metavar="any|exact|at-least:N|jaccard:T",
        help="Of samples of several classes: a class shared, the same classes, N shared, a Jaccard index of T. "
        "The run's setting if not given.",
    ),
    allow_changed: bool = typer.Option(False, "--allow-changed", help="Evaluate on caches rewritten since training."),
    as_json: str | None = typer.Option(None, "--json", metavar="FILE|-", help="Write JSON, - for standard output."),
    device: str = DEVICE,
) -> None:
    """Measure retrieval quality, chance beside it.

    Mean average precision of every ordered pair of modalities, on rows that training never read. Of a group of seeds:
    the mean over its runs, and the standard deviation.
    """
    from xfeat.cache import FeatureCache
    from xfeat.evaluation.relevance import relevance_rule
    from xfeat.training.device import find_device
    from xfeat.training.embedding import embed_raw, embed_run
    from xfeat.training.group import is_group

    where = find_device(device)
    if relevance is not None:
        relevance_rule(relevance)  # a wrong word is told before anything is read
    if not raw and len(paths) > 1:
        raise InputError(f"eval takes one run, got {len(paths)} paths: add --raw to evaluate caches as they are")
    if raw or not is_group(paths[0]):
        found = (
            embed_raw([FeatureCache(path) for path in paths], split)
            if raw
            else embed_run(paths[0], split, where, allow_changed=allow_changed)
        )
        document = _measured(found, protocol, relevance, where).to_json()
    else:
        found, document = _group(paths[0], split, protocol, relevance, where, allow_changed)
    document["protocol"] |= _circumstances(found, split)
    for line in notes(found):
        typer.echo(line, err=True)
    if as_json == "-":
        typer.echo(json.dumps(document, indent=1))
        return
    typer.echo(show(document, found.untrained))
    if as_json is not None:
        write_json(Path(as_json), document)
        typer.echo(f"json      {as_json}")


def _measured(found: "Embeddings", protocol: str | None, relevance: str | None, where: "torch.device") -> "Evaluation":
    from xfeat.evaluation.protocols import CATEGORY, MULTI_LABEL, evaluate

    protocol = protocol or (MULTI_LABEL if found.multi_label else CATEGORY)
    if relevance is not None and protocol == CATEGORY:
        raise InputError("--relevance is for samples of several classes; protocol category means the same class")
    return evaluate(found.items, protocol, relevance=relevance or found.relevance, device=where)


def _group(
    path: Path, split: str, protocol: str | None, relevance: str | None, where: "torch.device", allow_changed: bool
) -> tuple["Embeddings", dict[str, Any]]:
    """What the members of a group have in common, and the document of their means."""
    from xfeat.evaluation.spread import SeedEvaluations
    from xfeat.progress import progress
    from xfeat.training.embedding import Blocks, embed_run
    from xfeat.training.group import members

    runs = members(path)
    blocks, results = Blocks(), {}
    with progress(f"eval {path.name}", len(runs)) as advance:
        for seed, member in runs.items():
            found = embed_run(member, split, where, allow_changed=allow_changed, blocks=blocks)
            results[seed] = _measured(found, protocol, relevance, where)
            advance()
    return found, SeedEvaluations(results).to_json()


def _circumstances(found: "Embeddings", split: str) -> dict[str, Any]:
    """What the numbers rest on besides the protocol: rows left out, classes that were never trained."""
    from xfeat.training.classes import unsupported_pairs

    return {
        "split": split,
        "unlabelled": found.unlabelled,
        "unknown": {
            name: {"rows": count, "classes": found.unknown_classes[name]}
            for name, count in found.unknown.items()
            if count
        },
        "unsupported": {f"{pair.query}->{pair.gallery}": pair.classes for pair in unsupported_pairs(found.untrained)},
    }


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
