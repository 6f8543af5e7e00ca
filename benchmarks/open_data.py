"""Retrieval quality on open data by the shipped defaults: DRCL, semantic matching and chance, several seeds.

    python benchmarks/open_data.py --data ../shared/data --seeds 0 1 2

Sets: wikipedia (train 2173; the first 231 test rows are val, the other 462 test), mfeat (six views, split.csv) and
digits (spoken: fsdd through filters:logmel, takes 0-9 train, 10-13 val, 14-19 test; written: mfeat pixels; unpaired).
Semantic matching is one logistic regression (C = 1) per modality on standardised features; it has no seed.
Test rows are read once per model, for the number printed.
"""

import argparse
import csv
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xfeat.backbones.registry import open_backbone
from xfeat.cache import FeatureCache
from xfeat.evaluation.embedded import Embedded
from xfeat.evaluation.protocols import evaluate
from xfeat.evaluation.similarity import Similarity
from xfeat.extraction.importing import import_features
from xfeat.extraction.pipeline import extract
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.settings import read_settings, validated
from xfeat.samples import read_manifest
from xfeat.samples.importers import Names, read_arrays
from xfeat.training.drcl import train
from xfeat.training.embedding import embed_run


def wikipedia(data: Path, work: Path) -> list[FeatureCache]:
    folder = data / "wikipedia"
    lists = ",".join(f"{folder / name}#3" for name in ("trainset_txt_img_cat.list", "testset_txt_img_cat.list"))
    shared = {"labels": lists, "split": "train:2173,val:231,test:462", "classes": str(folder / "categories.list")}
    caches = []
    for modality, letter in (("image", "I"), ("text", "T")):
        names = Names(features=f"{letter}_tr,{letter}_te", pair="rows", **shared)
        import_features(read_arrays(folder / "raw_features.mat", names), work / modality, modality)
        caches.append(FeatureCache(work / modality))
    return caches


def mfeat(data: Path, work: Path, views: range = range(6)) -> list[FeatureCache]:
    folder = data / "mfeat"
    caches = []
    for view in views:
        names = Names(features=f"X[{view}]", labels="Y", split=f"{folder / 'split.csv'}#split")
        import_features(read_arrays(folder / "handwritten.mat", names), work / f"view{view}", f"view{view}")
        caches.append(FeatureCache(work / f"view{view}"))
    return caches


def digits(data: Path, work: Path) -> list[FeatureCache]:
    manifest = work / "fsdd.csv"
    work.mkdir(parents=True, exist_ok=True)
    with manifest.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "split", "label", "audio"])
        for wav in sorted((data / "fsdd").glob("*.wav")):
            digit, _, take = wav.stem.split("_")
            split = "train" if int(take) < 10 else "val" if int(take) < 14 else "test"
            rows.writerow([wav.stem, split, digit, wav.name])
    samples = read_manifest(manifest, "audio", root=data / "fsdd", kind="audio")
    extract(samples, open_backbone("filters:logmel", "audio"), work / "audio", modality="audio")
    return [FeatureCache(work / "audio"), *mfeat(data, work, range(1))]


SETS: dict[str, Callable[[Path, Path], list[FeatureCache]]] = {
    "wikipedia": wikipedia,
    "mfeat": mfeat,
    "digits": digits,
}


def posteriors(
    cache: FeatureCache, classes: Sequence[str], measured: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Posteriors of some classes, by a logistic regression on training rows of these, for the test rows of others.

    Returns:
        (n, classes) posteriors, and (n,) labels in the cache's order.
    """
    have = cache.manifest.classes
    train_rows, test_rows = cache.load(("train",)), cache.load(("test",))
    fitted = np.isin(train_rows.labels, [have.index(name) for name in classes])
    kept = np.isin(test_rows.labels, [have.index(name) for name in measured])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=3000))
    model.fit(train_rows.features[fitted], train_rows.labels[fitted])
    return model.predict_proba(test_rows.features[kept]), test_rows.labels[kept]


def semantic_matching(caches: Sequence[FeatureCache], similarity: Similarity = "cosine") -> float:
    """Mean mAP@all of class posteriors: one logistic regression per modality."""
    items = {}
    for cache in caches:
        classes = cache.manifest.classes
        items[cache.manifest.modality] = Embedded(*posteriors(cache, classes, classes), similarity)
    return evaluate(items, cuts=(None,)).mean["mAP@all"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("XFEAT_SHARED_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--set", dest="settings", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    settings = validated(DrclSettings, read_settings(None, options.settings))
    print(f"mean mAP@all over ordered pairs, category protocol, split test; torch {torch.__version__}")
    print(f"seeds {options.seeds}, settings {options.settings or 'as shipped'}")
    print("\n| set | modalities | chance | semantic matching | DRCL mean +- sd | by seed | s/seed |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in options.sets:
        with tempfile.TemporaryDirectory() as scratch:
            caches = SETS[name](options.data, Path(scratch) / "cache")
            scores, seconds, chance = [], [], 0.0
            for seed in options.seeds:
                run = Path(scratch) / f"run{seed}"
                started = time.perf_counter()
                train(caches, run, settings, seed=seed)
                seconds.append(time.perf_counter() - started)
                mean = evaluate(embed_run(run, "test", torch.device("cpu")).items, cuts=(None,)).mean
                scores.append(mean["mAP@all"])
                chance = mean["chance mAP@all"]
            spread = f" +- {statistics.stdev(scores):.4f}" if len(scores) > 1 else ""
            each = " ".join(f"{score:.4f}" for score in scores)
            print(
                f"| {name} | {len(caches)} | {chance:.3f} | {semantic_matching(caches):.4f} "
                f"| {statistics.mean(scores):.4f}{spread} | {each} | {statistics.median(seconds):.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
