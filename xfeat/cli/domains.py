"""``xfeat domains``: retrieval inside and outside of the domain that a run was trained on, side by side."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from xfeat.cli.eval import ALLOW_CHANGED, JSON, MISSING, ON, SPLIT, WEIGHTS, check_json, checked_weights, write_json
from xfeat.cli.eval_text import WIDTH, cells, fitted_table, notes, seeds, wrapped
from xfeat.cli.output import counted
from xfeat.cli.train import DEVICE
from xfeat.errors import InputError

if TYPE_CHECKING:
    from xfeat.training.evaluating import Answer, Asked

METRICS = ("R@1", "R@5", "R@10", "MedR")
SHARE, RANK = 5, 6  # characters of a cell
IN, OUT = "in", "out"


def domains(
    path: Path = typer.Argument(..., metavar="RUN", help="A run, or a group of seeds."),
    on: list[Path] = ON,
    split: str = SPLIT,
    gallery: int | None = typer.Option(
        None, min=1, metavar="N", help="Sample so many instances of each domain, always the same ones."
    ),
    missing: str = MISSING,
    weights: str = WEIGHTS,
    allow_changed: bool = ALLOW_CHANGED,
    as_json: str | None = JSON,
    device: str = DEVICE,
) -> None:
    """Compare retrieval in and out of the training's domain.

    Out of the domain are the classes that the run was not trained on (train with --set classes=...), or, with --on,
    another data set. Ranks are among each domain's own gallery: a larger one is harder, so read chance beside them, or
    sample both to one size with --gallery.
    """
    from xfeat.cache import FeatureCache
    from xfeat.training.device import find_device
    from xfeat.training.embedding import Blocks
    from xfeat.training.evaluating import Asked, evaluate_path

    where, blocks = find_device(device), Blocks()
    check_json(as_json)
    asked = Asked(
        split,
        "instance",
        missing=cast("Any", missing),
        weights=cast("Any", checked_weights(weights)),
        allow_changed=allow_changed,
        gallery=gallery,
    )
    wanted = _domains(path, asked, [FeatureCache(one) for one in on])
    answers = {}
    for name, one in wanted.items():
        try:
            answers[name] = evaluate_path(path, one, where, blocks)
        except InputError as error:
            raise InputError(f"{_called(name)}: {error}") from None
    document = {"domains": {name: answer.document for name, answer in answers.items()}}
    for name, answer in answers.items():
        for line in notes(answer.found):
            typer.echo(f"{line} ({_called(name)})", err=True)
    if as_json == "-":
        typer.echo(json.dumps(document, indent=1))
        return
    typer.echo(show(answers))
    if as_json is not None:
        write_json(Path(as_json), document)
        typer.echo(f"json      {as_json}")


def _domains(path: Path, asked: "Asked", on: Sequence[Any]) -> "dict[str, Asked]":
    """The two evaluations. Inside are the classes of a training that was restricted to some, else everything.

    Raises:
        InputError: nothing is outside.
    """
    from xfeat.training.group import is_group, members
    from xfeat.training.run import Run

    first = next(iter(members(path).values())) if is_group(path) else path
    restricted = bool(Run(first).load_config().settings.get("classes"))
    if not restricted and not on:
        raise InputError(
            f"{path} was trained on every class there is: name another data set with --on, or train on some classes "
            "only (--set classes=...)"
        )
    inside = replace(asked, classes="seen") if restricted else asked
    return {IN: inside, OUT: replace(asked, on=on) if on else replace(asked, classes="unseen")}


def show(answers: "Mapping[str, Answer]") -> str:
    """Both domains side by side, by pair and in the mean."""
    inside, outside = (answers[name].document for name in (IN, OUT))
    stated = inside["protocol"]
    names = list(dict.fromkeys([*inside["pairs"], *outside["pairs"]]))
    rows = [[pair, *_beside(inside["pairs"].get(pair), outside["pairs"].get(pair))] for pair in names]
    last = [["mean", *_beside(inside["mean"], outside["mean"])]]
    if "spread" in inside:
        last.append(["  +-", *_beside(inside["spread"]["mean"], outside["spread"]["mean"])])
    last.append(["chance", *_beside(inside["mean"], outside["mean"], "chance ")])
    header = ["query->gallery", *(word.rjust(_width(name)) for name in METRICS for word in (IN, OUT))]
    lines = fitted_table(header, rows, last).split("\n")
    groups = "".join("  " + name.center(2 * _width(name) + 2) for name in METRICS)
    start = len(lines[0]) - len(groups)
    return "\n".join(
        [
            f"protocol instance, {stated['similarity']}, split {stated['split']}: in and out of the training's domain",
            " " * start + groups.rstrip(),
            *lines,
            *_domain_lines(IN, inside),
            *_domain_lines(OUT, outside),
            *_fairness(inside, outside),
            *wrapped(f"missing={stated['missing']}: {stated['missing_means']}"),
            *seeds(inside),
        ]
    )


def _called(name: str) -> str:
    return "in the domain" if name == IN else "out of the domain"


def _width(metric: str) -> int:
    return RANK if metric == "MedR" else SHARE


def _beside(inside: Mapping[str, Any] | None, outside: Mapping[str, Any] | None, prefix: str = "") -> list[str]:
    """In and out of each metric; - where a domain lacks the pair."""
    found = []
    for name in METRICS:
        for values in (inside, outside):
            cell = cells([prefix + name], values)[0] if values else "-"
            found.append(cell.rjust(_width(name)))
    return found


def _domain_lines(name: str, document: Mapping[str, Any]) -> list[str]:
    """What a domain is, and how large its galleries are."""
    from xfeat.training.classes import listed

    stated, pairs = document["protocol"], document["pairs"]
    what = "all classes of the run's caches"
    if "classes" in stated:
        word = stated["classes_asked"]
        what = counted(len(stated["classes"]), f"{word} class", f"{word} classes")
    elif "on" in stated:
        what = "other caches"
    sizes = {pair.split("->")[1]: one["gallery"] for pair, one in pairs.items()}
    start = f"  {name:3} {what}; gallery: "
    if len(set(sizes.values())) == 1:
        said = f"{next(iter(sizes.values())):,} of each modality"
    else:
        said = listed([f"{modality} {size:,}" for modality, size in sizes.items()], WIDTH - len(start))
    return [start + said, *(f"      {path}" for path in stated.get("on", ()))]


def _fairness(inside: Mapping[str, Any], outside: Mapping[str, Any]) -> list[str]:
    if (sampled := inside["protocol"].get("sampled_instances")) is not None:
        return [f"  {counted(sampled, 'instance')} sampled of each domain with a fixed seed"]
    sizes = [{pair: one["gallery"] for pair, one in document["pairs"].items()} for document in (inside, outside)]
    return (
        [] if sizes[0] == sizes[1] else ["  galleries differ in size, and so does chance: --gallery N makes them equal"]
    )
