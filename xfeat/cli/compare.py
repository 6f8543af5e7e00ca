"""``xfeat compare``: methods and seeds side by side, with paired tests of their differences."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from xfeat.cli.eval import ALLOW_CHANGED, JSON, MODALITIES, SPLIT, write_json
from xfeat.cli.eval_words import checked_cuts, checked_modalities
from xfeat.cli.train import DEVICE
from xfeat.errors import InputError

if TYPE_CHECKING:
    from xfeat.compare.outcome import Comparison


def compare(
    paths: list[Path] = typer.Argument(..., metavar="RUN", help="Runs and groups of seeds; a group is one method."),
    split: str = SPLIT,
    protocol: str | None = typer.Option(
        None,
        metavar="category|multi-label|instance|re-id|zero-shot|zero-shot-retrieval",
        help="What is relevant; follows from the method and the labels if not given.",
    ),
    metric: str | None = typer.Option(
        None,
        metavar="NAME",
        help="What is compared, a mean over queries; mAP@all if not given, or R@1 or top-1, which the protocol has.",
    ),
    modalities: str | None = MODALITIES,
    against: str | None = typer.Option(None, metavar="NAME", help="Compare all with this one; else all pairs."),
    names: list[str] = typer.Option(
        [], "--name", metavar="LABEL", help="What a run is called, once for each RUN in their order; else its method."
    ),
    cuts: str | None = typer.Option(
        None, metavar="K,K...", help="The K of metrics, where --metric names one that is not the protocol's own."
    ),
    alpha: float = typer.Option(0.05, help="Level of the tests; intervals cover 1 - alpha."),
    resamples: int = typer.Option(10_000, metavar="N", help="Of the randomisation test and the bootstrap."),
    seed: int = typer.Option(0, min=0, help="Of both; the same seed gives the same numbers."),
    allow_changed: bool = ALLOW_CHANGED,
    as_json: str | None = JSON,
    as_csv: Path | None = typer.Option(
        None, "--csv", metavar="FILE.csv", help="Write scores, and comparisons beside them as FILE.comparisons.csv."
    ),
    as_latex: Path | None = typer.Option(None, "--latex", metavar="FILE.tex", help="Write a booktabs table."),
    device: str = DEVICE,
) -> None:
    """Compare runs on the same rows: which differences are real.

    Means and standard deviations over seeds; of the differences a randomisation test over instances, corrected for the
    number of comparisons, and a bootstrap interval over instances and seeds.
    """
    from xfeat.cli.compare_text import show
    from xfeat.compare.comparison import compare as compare_runs
    from xfeat.compare.tables import comparisons_path
    from xfeat.training.asked import Asked
    from xfeat.training.device import find_device

    where = find_device(device)
    files = {"--json": None if as_json in (None, "-") else Path(str(as_json)), "--csv": as_csv, "--latex": as_latex}
    check_files({**files, "--csv (comparisons)": None if as_csv is None else comparisons_path(as_csv)})
    result = compare_runs(
        paths,
        Asked(
            split,
            protocol,
            modalities=checked_modalities(modalities),
            allow_changed=allow_changed,
            cuts=checked_cuts(cuts),
        ),
        where,
        metric=metric,
        against=against,
        labels=names,
        alpha=alpha,
        resamples=resamples,
        seed=seed,
    )
    typer.echo(json.dumps(result.to_json(), indent=1) if as_json == "-" else show(result))
    for line in _write(result, files):
        typer.echo(line, err=as_json == "-")


def _write(result: "Comparison", files: dict[str, Path | None]) -> list[str]:
    """Write what was asked for; a line for each file."""
    from xfeat.cache.files import write_text
    from xfeat.compare.tables import latex, write_csv

    lines = []
    if (path := files["--json"]) is not None:
        write_json(path, result.to_json())
        lines.append(f"json      {path}")
    if (path := files["--csv"]) is not None:
        lines += [f"csv       {one}" for one in (path, write_csv(path, result))]
    if (path := files["--latex"]) is not None:
        write_text(path, latex(result))
        lines.append(f"latex     {path}")
    return lines


def check_files(files: dict[str, Path | None]) -> None:
    """Refuse places that cannot be written to, before anything is computed.

    Raises:
        InputError: a folder that does not exist, a folder for a file, or one file for two things.
    """
    given = {option: path for option, path in files.items() if path is not None}
    for option, path in given.items():
        if not path.parent.is_dir():
            raise InputError(f"{option} {path}: the folder {path.parent} does not exist")
        if path.is_dir():
            raise InputError(f"{option} {path} is a folder: name a file in it")
    places = [path.resolve() for path in given.values()]
    if same := [option for option, place in zip(given, places, strict=True) if places.count(place) > 1]:
        raise InputError(f"{', '.join(same)} name the same file: give each its own")
