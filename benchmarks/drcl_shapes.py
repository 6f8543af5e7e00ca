"""DRCL by its shipped defaults against semantic matching on data of many shapes.

60 to 2,000 training rows, 3 to 100 classes, 2 to 4,096 dimensions. Published sets keep their own test rows and lose
training rows; bundled sets of scikit-learn are cut into two views; the last ones are drawn from a generator.
"""

import io
import statistics
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from drcl_quality import test_score
from numpy.typing import NDArray
from open_data import SETS, semantic_matching
from PIL import Image
from sklearn import datasets
from sklearn.decomposition import PCA

from xfeat.cache import CacheWriter, Columns, FeatureCache, Plan
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.training.drcl import train


@dataclass(frozen=True)
class View:
    """One modality of a task: features (n, D), labels (n,) and which rows are for training."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    train: NDArray[np.bool_]


Task = tuple[str, list[View]]


def thinned(views: Sequence[View], rows: int, seed: int) -> list[View]:
    """About ``rows`` training rows of each view, as many of every class; the rows for testing stay."""
    found = []
    for view in views:
        rng, keep = np.random.default_rng(seed), ~view.train
        classes = np.unique(view.labels)
        for label in classes:
            mine = rng.permutation(np.flatnonzero(view.train & (view.labels == label)))
            keep[mine[: max(1, round(rows / len(classes)))]] = True
        found.append(View(view.features[keep], view.labels[keep], view.train[keep]))
    return found


def only(views: Sequence[View], classes: Sequence[int]) -> list[View]:
    kept = []
    for view in views:
        mine = np.isin(view.labels, classes)
        kept.append(View(view.features[mine], np.searchsorted(classes, view.labels[mine]), view.train[mine]))
    return kept


def published(name: str, data: Path, work: Path) -> list[View]:
    views = []
    for cache in SETS[name](data, work / name):
        block = cache.load(("train", "test"))
        views.append(View(block.features.astype(np.float32), block.labels, np.array(block.split) == "train"))
    return views


def omniglot(data: Path) -> list[View]:
    """Characters as images (edges by direction) and as pen strokes; half of the drawers are for testing."""
    folder = data / "omniglot"
    images: dict[str, NDArray[np.float32]] = {}
    classes: dict[str, str] = {}
    with zipfile.ZipFile(next(folder.glob("images*.zip"))) as archive:
        for name in (n for n in archive.namelist() if n.endswith(".png") and "__MACOSX" not in n):
            picture = Image.open(io.BytesIO(archive.read(name))).convert("L").resize((48, 48))
            images[Path(name).stem] = edges(1 - np.asarray(picture, dtype=np.float32) / 255)
            classes[Path(name).stem] = "/".join(Path(name).parts[-3:-1])
    with zipfile.ZipFile(next(folder.glob("strokes*.zip"))) as archive:
        names = [n for n in archive.namelist() if n.endswith(".txt") and "__MACOSX" not in n]
        strokes = {Path(n).stem: stroke_statistics(archive.read(n).decode()) for n in names}
    ids = sorted(images.keys() & strokes.keys())
    labels = np.unique([classes[name] for name in ids], return_inverse=True)[1]
    drawer = np.array([int(name.split("_")[1]) for name in ids])
    return [View(np.stack([part[name] for name in ids]), labels, drawer <= 10) for part in (images, strokes)]


def edges(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """(288,) strength of edges in 8 directions in each of 6 x 6 cells of a (48, 48) picture."""
    down, across = np.gradient(picture)
    course = (np.arctan2(down, across) % np.pi / np.pi * 8).astype(int) % 8
    strength = np.hypot(down, across)[..., None] * (course[..., None] == np.arange(8))
    return np.sqrt(strength.reshape(6, 8, 6, 8, 8).sum(axis=(1, 3))).ravel().astype(np.float32)


def stroke_statistics(text: str) -> NDArray[np.float32]:
    strokes: list[list[list[float]]] = [[]]
    for line in text.split():
        if line == "BREAK":
            strokes.append([])
        elif line != "START":
            strokes[-1].append([float(number) for number in line.split(",")[:2]])
    drawn = [np.array(stroke) for stroke in strokes if stroke]
    points = np.concatenate(drawn)
    steps = np.concatenate([np.diff(stroke, axis=0) for stroke in drawn] + [np.zeros((1, 2))])
    length = np.hypot(*steps.T)
    course = ((np.arctan2(steps[:, 1], steps[:, 0]) / (2 * np.pi) % 1) * 8).astype(int) % 8
    turns = np.bincount(course, length, minlength=8) / (length.sum() + 1e-6)
    centred = points - points.mean(axis=0)
    along = centred[np.linspace(0, len(points) - 1, 10).astype(int)] / (np.abs(centred).max() + 1e-6)
    ends = np.concatenate([drawn[0][0], drawn[-1][-1]]) / 105
    return np.concatenate([[len(drawn), length.sum() / 100], turns, along.ravel(), ends]).astype(np.float32)


def halves(bunch: object, seed: int, columns: NDArray[np.bool_]) -> list[View]:
    features, labels = bunch.data.astype(np.float32), bunch.target.astype(np.int64)  # type: ignore[attr-defined]
    train = np.random.default_rng(seed).random(len(labels)) < 0.5
    return [View(features[:, columns], labels, train), View(features[:, ~columns], labels, train)]


def generated(rows: int, classes: int, dims: Sequence[int], noise: float, seed: int, *, deep: bool) -> list[View]:
    """Classes are points of a latent space; each view sees it through a decoder of its own (``deep``: with ReLUs)."""
    rng, latent = np.random.default_rng(seed), 40 if deep else 10
    centres = rng.normal(size=(classes, latent))
    labels = np.arange(rows + 500) % classes
    train = np.arange(rows + 500) < rows
    views = []
    for dim in dims:
        x = centres[labels] + noise * rng.normal(size=(len(labels), latent)) * np.linspace(1.5, 0.5, latent)
        x = x @ rng.normal(size=(latent, 256 if deep else dim)) / latent**0.5
        if deep:
            x = np.maximum(x, 0) @ rng.normal(size=(256, dim)) / 10
            x = np.maximum(x + 0.3 * rng.normal(size=x.shape) - 0.5 * x.std(), 0)
        views.append(View(x.astype(np.float32), labels, train))
    return views


def tasks(data: Path, work: Path) -> Iterator[Task]:
    wikipedia, digits, mfeat = (published(name, data, work) for name in ("wikipedia", "digits", "mfeat"))
    for rows in (100, 250, 600):
        yield f"wikipedia, {rows} rows", thinned(wikipedia, rows, rows)
    yield "wikipedia, 3 classes, 100 rows", thinned(only(wikipedia, [1, 4, 7]), 100, 1)
    yield "wikipedia, all rows", wikipedia
    for rows in (100, 300):
        yield f"digits, {rows} rows", thinned(digits, rows, rows)
    yield "digits, all rows", digits
    for rows, pair in ((100, (0, 3)), (200, (1, 4)), (500, (2, 5))):
        yield f"mfeat {pair}, {rows} rows", thinned([mfeat[view] for view in pair], rows, rows)
    yield "mfeat, six views, all rows", mfeat
    small = []
    for view in (mfeat[0], mfeat[2], mfeat[4]):
        pca = PCA(20, random_state=0).fit(view.features[view.train])
        small.append(View(pca.transform(view.features).astype(np.float32), view.labels, view.train))
    yield "mfeat, 20-d, 300 rows", thinned(small, 300, 3)
    yield "mfeat, 20-d, all rows", small
    characters = omniglot(data)
    for count in (20, 50, 100):
        yield f"omniglot, {count} classes", only(characters, list(range(count)))
    yield "wine", halves(datasets.load_wine(), 0, np.arange(13) % 2 == 0)
    yield "breast cancer", halves(datasets.load_breast_cancer(), 0, np.arange(30) % 2 == 1)
    yield "iris", halves(datasets.load_iris(), 0, np.arange(4) % 2 == 0)
    yield "8x8 digits", halves(datasets.load_digits(), 0, np.arange(64) % 8 < 4)
    for rows, classes, dims, noise, deep in (
        (300, 10, (4096, 300), 2.5, True),
        (1000, 50, (4096, 300), 1.4, True),
        (800, 20, (2048, 768), 2.0, True),
        (2000, 10, (512, 512), 3.0, True),
        (600, 20, (20, 20, 20), 0.9, False),
        (2000, 20, (20, 20, 20), 0.8, False),
        (200, 5, (10, 20), 1.2, False),
        (500, 3, (12, 16), 1.5, False),
    ):
        words = f"{'deep' if deep else 'linear'} {'+'.join(map(str, dims))}, {classes} classes, {rows} rows"
        yield words, generated(rows, classes, dims, noise, rows + classes, deep=deep)


def write(views: Sequence[View], work: Path) -> list[FeatureCache]:
    caches = []
    for number, view in enumerate(views):
        count = len(view.labels)
        names = [f"c{label:03d}" for label in range(int(view.labels.max()) + 1)]
        split = np.where(view.train, "train", "test").tolist()
        columns = Columns([str(row) for row in range(count)], split, names, view.labels.astype(np.int64))
        plan = Plan(f"view{number}", {"backbone": "none"}, view.features.shape[1], columns)
        with CacheWriter(work / f"view{number}", plan) as writer:
            for shard in list(writer.missing):
                start, stop = writer.manifest.span(shard)
                writer.write(shard, view.features[start:stop])
            writer.finish()
        caches.append(FeatureCache(work / f"view{number}"))
    return caches


def print_shapes(data: Path, seeds: Sequence[int], settings: DrclSettings) -> None:
    """The table; its last lines sum up the differences, to semantic matching by cosine and by inner product."""
    print("| data | SM, cosine | SM, inner product | DRCL | to cosine | to inner product |")
    print("| --- | --- | --- | --- | --- | --- |")
    differences: list[list[float]] = [[], []]
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, views) in enumerate(tasks(data, Path(scratch))):
            work = Path(scratch) / str(number)
            caches = write(views, work / "cache")
            for seed in seeds:
                train(caches, work / str(seed), settings, seed=seed)
            found = [test_score(work / str(seed)) for seed in seeds]
            spread = statistics.stdev(found) if len(found) > 1 else 0.0
            others = [semantic_matching(caches, "cosine"), semantic_matching(caches, "inner product")]
            for column, other in zip(differences, others, strict=True):
                column.append(statistics.mean(found) - other)
            print(
                f"| {name} | {others[0]:.4f} | {others[1]:.4f} | {statistics.mean(found):.4f} +- {spread:.4f} "
                f"| {differences[0][-1]:+.4f} | {differences[1][-1]:+.4f} |",
                flush=True,
            )
    print()
    for name, column in zip(("cosine", "inner product"), differences, strict=True):
        behind = sum(value < 0 for value in column)
        mean = f"least {min(column):+.4f}, mean {statistics.mean(column):+.4f}"
        print(f"to {name}: {mean}; behind in {behind} of {len(column)}")
