"""What adding classes to a run costs old classes and gives new ones, against training everything anew.

    python benchmarks/add_class.py --data ../shared/data --seeds 0 1 2

A run is trained without the last k classes; `xfeat add-class` adds them from the whole caches, training output layers
or whole branches; `scratch` trains on the whole caches. Mean mAP@all over ordered pairs of modalities: `old`, queries
of old classes in a gallery of old classes (`mixed`: of all), and `new`, queries of new classes in a gallery of all.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from open_data import mfeat, wikipedia
from torch.nn.functional import one_hot

from xfeat.cache import CacheWriter, Columns, FeatureCache, Plan
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.settings import read_settings, validated
from xfeat.samples.labels import class_order
from xfeat.training.drcl import train
from xfeat.training.embedding import embed_run
from xfeat.training.growth_report import AFTER, AMONG_ALL, Items, growth_report
from xfeat.training.open_set import add_class
from xfeat.training.run import Run

SETS = {"wikipedia": wikipedia, "mfeat, views 0 and 2": lambda data, work: mfeat(data, work, range(0, 4, 2))}
TUNES: tuple[Literal["output", "all"], ...] = ("output", "all")
NAMES = ("old", "mixed", "new")


def without(cache: FeatureCache, left_out: list[str], path: Path) -> FeatureCache:
    """The cache as it was before classes arrived."""
    m, block = cache.manifest, cache.load()
    keep = [name for name in m.classes if name not in left_out]
    places = np.array([keep.index(name) if name in keep else -1 for name in m.classes])
    labels = places[block.labels]
    rows = np.flatnonzero(labels >= 0)
    ids, split = ([column[row] for row in rows] for column in (block.ids, block.split))
    plan = Plan(m.modality, m.fingerprint, m.dim, Columns(ids, split, keep, labels[rows]), m.dtype)
    with CacheWriter(path, plan) as writer:
        for shard in list(writer.missing):
            start, stop = writer.manifest.span(shard)
            writer.write(shard, block.features[rows[start:stop]])
        writer.finish()
    return FeatureCache(path)


def measured(run: Path, split: str, left_out: list[str]) -> dict[str, float]:
    classes = Run(run).load_config().classes
    items = {
        name: Items(item.vectors, one_hot(torch.as_tensor(item.labels), len(classes)).byte(), item.similarity)
        for name, item in embed_run(run, split, torch.device("cpu")).items.items()
    }
    mean = growth_report(items, items, classes, [name for name in classes if name in left_out])["mean"]
    found = {"old": mean["old"][AFTER], "mixed": mean["old"][AMONG_ALL]}
    return found | ({"new": statistics.mean(mean["new"].values())} if mean["new"] else {})


def one_seed(
    caches: list[FeatureCache],
    left_out: list[str],
    settings: DrclSettings,
    seed: int,
    work: Path,
    split: str,
    took: dict[Path, float],
) -> dict[str, dict[str, float]]:
    """Scores and seconds by row of the table."""
    small = [without(cache, left_out, work / cache.manifest.modality) for cache in caches]
    found: dict[str, dict[str, float]] = {}

    def timed(name: str, run: Path, make: Callable[[], object]) -> None:
        if not run.exists():
            started = time.perf_counter()
            make()
            took[run] = time.perf_counter() - started
        found[name] = {**measured(run, split, left_out), "s": took[run]}

    before, scratch = work / "before", work.parent.parent / f"scratch{seed}"  # from scratch, every class is there
    timed("before", before, lambda: train(small, before, settings, seed=seed))
    for tune in TUNES:
        timed(f"add-class, {tune}", work / tune, lambda tune=tune: add_class(caches, before, work / tune, tune=tune))
    timed("scratch", scratch, lambda: train(caches, scratch, settings, seed=seed))
    return found


def shown(values: list[float], digits: int = 3) -> str:
    spread = f" +- {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def print_rows(title: str, seeds: list[Mapping[str, Mapping[str, float]]]) -> None:
    for name in seeds[0]:
        cells = [shown([one[name][key] for one in seeds]) if key in seeds[0][name] else "-" for key in NAMES]
        seconds = statistics.median(one[name]["s"] for one in seeds)
        print(f"| {title} | {name} | {' | '.join(cells)} | {seconds:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("XFEAT_SHARED_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--left-out", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--split", default="test")
    parser.add_argument("--set", dest="settings", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    settings = validated(DrclSettings, read_settings(None, options.settings))
    print(f"mean mAP@all over ordered pairs, split {options.split}, seeds {options.seeds}, torch {torch.__version__}")
    print("\n| set, classes left out | run | old | old, mixed | new | s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.sets:
        with tempfile.TemporaryDirectory() as scratch:
            caches = SETS[name](options.data, Path(scratch) / "cache")
            took: dict[Path, float] = {}
            classes = class_order(one for cache in caches for one in cache.manifest.classes)
            for count in options.left_out:
                work, left_out = Path(scratch) / f"{count}", classes[-count:]
                seeds = [
                    one_seed(caches, left_out, settings, seed, work / f"{seed}", options.split, took)
                    for seed in options.seeds
                ]
                print_rows(f"{name}, {count}", seeds)


if __name__ == "__main__":
    main()
