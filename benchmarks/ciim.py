"""Tables about CIIM: what each of its parts adds, what a joining modality costs, and the time of a training.

    python benchmarks/ciim.py ablation [--sets wikipedia mfeat digits omniglot] [--seeds 5]
    python benchmarks/ciim.py add [--sets ...] [--seeds 5]
    python benchmarks/ciim.py time [--threads 2]

Sets: as in open_data.py, category protocol on test rows; omniglot (omniglot.py) trains on three alphabets and is
evaluated, under the zero-shot-retrieval protocol, on test rows of the two others, and on those of its own beside.
Every table says what it ran on. Test rows are read for the numbers that are printed and nothing else.
"""

import argparse
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line does, before torch is imported

import torch
from drcl_speed import machine
from omniglot import SEEN, omniglot_caches
from open_data import SETS as LABELLED
from open_data import posteriors

from xfeat.cache import FeatureCache
from xfeat.evaluation.domain import chosen_classes
from xfeat.evaluation.embedded import Embedded
from xfeat.evaluation.protocols import evaluate
from xfeat.methods.ciim_settings import CiimSettings
from xfeat.methods.settings import read_settings, validated
from xfeat.training.ciim import train
from xfeat.training.ciim_join import add
from xfeat.training.ciim_store import AFTER, BEFORE, ONLY
from xfeat.training.evaluating import Asked, evaluate_path
from xfeat.training.gaps import run_gaps

CPU = torch.device("cpu")
NO_PROPERTY: dict[str, Any] = {"invariance": 0.0, "separation": 0.0, "independence": 0.0, "sufficiency": 0.0}
PROPERTIES = {"invariance": 0.1, "separation": 0.1, "independence": 0.003, "sufficiency": 0.1}
PLAIN: dict[str, Any] = {"intervention": False, "reconstructor": 0}
BASE: dict[str, Any] = {"hybrid": 0.0, "interaction": 0.0, **PLAIN}
VARIANTS: dict[str, dict[str, Any]] = {
    "base metric loss": BASE,
    "+ hybrid proxies": {"interaction": 0.0, **PLAIN},
    "+ interaction": PLAIN,
    "control: + reconstructor alone": {"intervention": False},
    "+ intervention (as shipped)": NO_PROPERTY,
    **{f"  + {name}": {**NO_PROPERTY, name: weight} for name, weight in PROPERTIES.items()},
    "full: every property": PROPERTIES,
}


@dataclass(frozen=True)
class Set:
    """A data set: its caches, and how it is trained and evaluated on."""

    caches: Callable[[Path, Path], list[FeatureCache]]
    settings: dict[str, Any]
    asked: Asked


SETS = {
    **{name: Set(make, {}, Asked(protocol="category")) for name, make in LABELLED.items()},
    "omniglot": Set(omniglot_caches, {"classes": list(SEEN)}, Asked(protocol="zero-shot-retrieval")),
}


@dataclass(frozen=True)
class Score:
    """Of one training: mAP@all, of omniglot's own alphabets beside, and the modality's linear separability."""

    retrieval: float
    chance: float
    seen: float | None
    before: float
    after: float | None
    overlap: float
    seconds: float


def scored(run: Path, chosen: Set, seconds: float) -> Score:
    """Read the test rows of a run."""
    answer = evaluate_path(run, chosen.asked, CPU)
    mean = answer.document["mean"]
    gaps = run_gaps(run, chosen.asked, answer.found, CPU)
    stages = {name: next(iter(one.members.values())).mean for name, one in gaps.stages.items()}
    seen = None
    if chosen.settings:
        seen = evaluate_path(run, Asked(protocol="category", classes="seen"), CPU).document["mean"]["mAP@all"]
    first, last = (stages[BEFORE], stages[AFTER]) if AFTER in stages else (stages[ONLY], stages[ONLY])
    return Score(
        mean["mAP@all"],
        mean["chance mAP@all"],
        seen,
        first["separability"],
        last["separability"] if AFTER in stages else None,
        last["overlap"],
        seconds,
    )


def trained(caches: Sequence[FeatureCache], chosen: Set, given: Mapping[str, Any], seed: int, work: Path) -> Score:
    """Train once and read the test rows once."""
    started = time.perf_counter()
    train(caches, work, validated(CiimSettings, {**chosen.settings, **given}), seed=seed)
    return scored(work, chosen, time.perf_counter() - started)


def baseline(caches: Sequence[FeatureCache], chosen: Set) -> float:
    """Semantic matching by the classes that are trained on, on the rows that CIIM is measured on."""
    every = caches[0].manifest.classes
    seen = chosen_classes(chosen.settings["classes"], every, []) if chosen.settings else every
    measured = [name for name in every if name not in seen] or every
    items = {}
    for cache in caches:
        vectors, labels = posteriors(cache, seen, measured)
        items[cache.manifest.modality] = Embedded(vectors, labels)
    return evaluate(items, cuts=(None,)).mean["mAP@all"]


def print_ablation(data: Path, sets: Sequence[str], seeds: Sequence[int], given: Mapping[str, Any]) -> None:
    """What every part adds, one table a set."""
    for name in sets:
        with tempfile.TemporaryDirectory() as scratch:
            caches = SETS[name].caches(data, Path(scratch) / "caches")
            _head(name, SETS[name], caches, seeds)
            for variant, settings in VARIANTS.items():
                found = [
                    trained(caches, SETS[name], {**given, **settings}, seed, Path(scratch) / f"{variant}{seed}")
                    for seed in seeds
                ]
                print(_row(variant, found), flush=True)


def _head(name: str, chosen: Set, caches: Sequence[FeatureCache], seeds: Sequence[int]) -> None:
    what = "classes unseen in training" if chosen.settings else "test rows"
    print(f"### {name}\n")
    print(
        f"{len(caches)} modalities, {what}, seeds {seeds[0]} to {seeds[-1]}; "
        f"semantic matching {baseline(caches, chosen):.4f}.\n"
    )
    print("| variant | mAP@all | seen classes | separability before | after | overlap | s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")


def _row(variant: str, found: Sequence[Score]) -> str:
    cells = [
        _spread([one.retrieval for one in found], 4),
        *(
            _spread([value for one in found if (value := getattr(one, field)) is not None], digits)
            for field, digits in (("seen", 4), ("before", 3), ("after", 3), ("overlap", 2))
        ),
        f"{statistics.median(one.seconds for one in found):.0f}",
    ]
    return f"| {variant} | {' | '.join(cells)} |"


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return "-"
    spread = f" +- {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def print_add(data: Path, sets: Sequence[str], seeds: Sequence[int], given: Mapping[str, Any]) -> None:
    """A modality that joins against one that was trained with the others, on the pairs that it is in."""
    print("Mean mAP@all of the pairs that the modality is in; trained with the others, and joined by `xfeat add`.\n")
    print("| set | modality | together | joined | difference | s of joining |\n| --- | --- | --- | --- | --- | --- |")
    for name in sets:
        with tempfile.TemporaryDirectory() as scratch:
            caches = SETS[name].caches(data, Path(scratch) / "caches")
            if len(caches) < 3:
                print(f"| {name} | two modalities: none is left to join them | | | | |")
                continue
            settings = validated(CiimSettings, {**SETS[name].settings, **given})
            for seed in seeds:
                train(caches, Path(scratch) / f"all{seed}", settings, seed=seed)
            for newcomer in caches:
                modality, others = newcomer.manifest.modality, [cache for cache in caches if cache is not newcomer]
                together, joined, seconds = [], [], []
                for seed in seeds:
                    run = Path(scratch) / f"{modality}{seed}"
                    train(others, run, settings, seed=seed)
                    started = time.perf_counter()
                    add(newcomer, run)
                    seconds.append(time.perf_counter() - started)
                    together.append(_pairs_of(Path(scratch) / f"all{seed}", modality, SETS[name]))
                    joined.append(_pairs_of(run, modality, SETS[name]))
                lost = [late - early for early, late in zip(together, joined, strict=True)]
                cells = [_spread(values, 4) for values in (together, joined, lost)]
                print(f"| {name} | {modality} | {' | '.join(cells)} | {statistics.median(seconds):.0f} |", flush=True)


def _pairs_of(run: Path, modality: str, chosen: Set) -> float:
    pairs = evaluate_path(run, chosen.asked, CPU).document["pairs"]
    return statistics.mean(one["mAP@all"] for pair, one in pairs.items() if modality in pair.split("->"))


def print_time(data: Path, sets: Sequence[str], given: Mapping[str, Any]) -> None:
    """Seconds of one training as shipped, features read and branches written."""
    print("| set | rows by modality | steps | s |\n| --- | --- | --- | --- |")
    for name in sets:
        with tempfile.TemporaryDirectory() as scratch:
            caches = SETS[name].caches(data, Path(scratch) / "caches")
            settings = validated(CiimSettings, given)  # every class: the whole of omniglot
            started = time.perf_counter()
            outcome = train(caches, Path(scratch) / "run", settings, seed=0)
            seconds = time.perf_counter() - started
            notes = list(outcome.branches.values())
            s = notes[0]["settings"]
            most = max(note["train_rows"] for note in notes)
            steps = s["epochs"] * max(1, round(most / (s["batch_classes"] * s["batch_samples"])))
            rows = ", ".join(f"{note['modality']} {note['train_rows']:,} x {note['in_dim']}" for note in notes)
            print(f"| {name} | {rows} | {steps:,} | {seconds:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("ablation", "add", "time"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("XFEAT_SHARED_DATA", "../shared/data")))
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0")
    parser.add_argument("--set", dest="settings", nargs="*", default=[], metavar="KEY=VALUE", help="of every variant")
    parser.add_argument("--threads", type=int, default=2)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    print(f"python benchmarks/ciim.py {shlex.join(sys.argv[1:])}")
    print(f"machine: {machine(CPU)}\n")
    given, seeds = read_settings(None, o.settings), list(range(o.seeds))
    if o.table == "ablation":
        print_ablation(o.data, o.sets, seeds, given)
    elif o.table == "add":
        print_add(o.data, o.sets, seeds, given)
    else:
        print_time(o.data, o.sets, given)


if __name__ == "__main__":
    main()
