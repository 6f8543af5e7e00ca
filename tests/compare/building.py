"""Makes evaluated runs out of numbers, and says by hand what a comparison of them must come to."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xfeat.compare.scoring import Scored
from xfeat.compare.values import Units, Values
from xfeat.evaluation.embedded import Embedded
from xfeat.training.embedding import Embeddings

PROTOCOL = {"name": "category", "relevance": "same class", "similarity": "cosine", "split": "test", "cuts": ["all", 50]}


def scored(
    label: str,
    values: Mapping[str, Any],
    *,
    keys: Mapping[str, Sequence[str]] | None = None,
    metric: str = "mAP@all",
    **protocol: Any,
) -> Scored:
    """A run of so many seeds as the values have rows; NaN marks a query that is in no mean."""
    whole = {pair: np.atleast_2d(np.asarray(one, dtype=np.float64)) for pair, one in values.items()}
    rows = {pair.split("->")[0]: one.shape[1] for pair, one in whole.items()}
    found = Embeddings(
        items={name: Embedded(torch.zeros(n, 2), np.arange(n) % 2) for name, n in rows.items()},
        ids={name: [f"{name}/{row}" for row in range(n)] for name, n in rows.items()},
        keys={name: list(own) for name, own in (keys or {}).items()},
        classes=["ant", "bee"],
    )
    kept = {pair: ~np.isnan(one[0]) for pair, one in whole.items()}
    return Scored(
        label=label,
        path=Path("runs") / label,
        method="drcl",
        seeds=list(range(len(next(iter(whole.values()))))),
        metric=metric,
        values={pair: one[:, kept[pair]] for pair, one in whole.items()},
        chance=dict.fromkeys(whole, 0.1),
        protocol={**PROTOCOL, **protocol},
        found=found,
        means={"mAP@all": 0.5},
        kept=kept,
    )


def some_units(rng: np.random.Generator, instances: int = 6) -> Units:
    """Two pairs: instances with one to three queries of an image and one of a text, some of them without text."""
    image = np.repeat(np.arange(instances), rng.integers(1, 4, instances))
    return Units({"image->text": image, "text->image": np.arange(2, instances)}, np.zeros(instances, dtype=np.int64))


def some_values(rng: np.random.Generator, units: Units, seeds: int) -> dict[str, Any]:
    return {pair: rng.random((seeds, len(of))) for pair, of in units.of.items()}


def slow_mean(values: Values) -> float:
    """Mean over pairs of the mean over queries of the mean over seeds."""
    pairs = []
    for one in values.values():
        queries = [sum(float(v) for v in one[:, q]) / len(one) for q in range(one.shape[1])]
        pairs.append(sum(queries) / len(queries))
    return sum(pairs) / len(pairs)
