import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Xfeat
from tests.training.building import TINY, blobs
from xfeat.cache import FeatureCache
from xfeat.cli.gap_text import show_gap
from xfeat.training.drcl_group import train_group


def rows_of(out: str) -> dict[str, list[str]]:
    table = out.split("modality gap")[1].split("unit rows")[0].splitlines()[3:]
    return {line[:20].strip(): line.split()[-4:] for line in table if line.strip("- ")}


def test_eval_prints_the_gap_below_the_retrieval(xfeat: Xfeat, trained: Path) -> None:
    plain = xfeat("eval", trained)[1]
    code, out, err = xfeat("eval", trained, "--gap")
    assert (code, err) == (0, "")
    assert out.startswith(plain)
    assert max(map(len, out.splitlines())) <= 80
    assert "modality gap, image, text, split test" in out
    document = json.loads(xfeat("eval", trained, "--gap", "--json", "-")[1])
    mean = document["gap"]["stages"]["embedding"]["mean"]
    rows = rows_of(out)
    assert rows["embedding"] == [
        f"{mean[name]:.3f}" for name in ("centroid_distance", "separability", "auc", "overlap")
    ]
    assert rows["no gap"] == ["0.000", "0.500", "0.500", "1.000"]
    assert "gap" not in json.loads(xfeat("eval", trained, "--json", "-")[1])


def test_few_pairs_get_a_line_each_and_a_group_deviations(
    xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path
) -> None:
    opened = [FeatureCache(path) for path in caches.values()]
    train_group(opened, tmp_path / "group", TINY, [0, 1])
    out = xfeat("eval", tmp_path / "group", "--gap")[1]
    rows = rows_of(out)
    assert "mean over 3 pairs, split test" in out
    assert list(rows) == ["embedding", "+-", "image, text", "image, audio", "text, audio", "no gap"]
    assert max(map(len, out.splitlines())) <= 80


def test_features_as_they_are_have_a_gap(xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path) -> None:
    twin = replace(blobs("image"), modality="other").write(tmp_path / "other")
    code, out, _ = xfeat("eval", "--raw", caches["image"], twin.path, "--gap")
    assert code == 0
    assert list(rows_of(out)) == ["features", "no gap"]
    assert rows_of(out)["features"][0] == "0.000"


@pytest.mark.parametrize("names", [("a" * 48, "b" * 48), ("a" * 48, "b" * 48, "c" * 48)])
def test_long_names_fit(names: tuple[str, ...]) -> None:
    mean: dict[str, Any] = {"centroid_distance": 1.5, "separability": 1.0, "auc": None, "overlap": 0.25}
    pairs = [f"{one}|{other}" for n, one in enumerate(names) for other in names[n + 1 :]]
    stage = {"mean": mean, "pairs": dict.fromkeys(pairs, mean)}
    stated = {
        "rows": 2000,
        "folds": 5,
        "neighbours": 10,
        "class_balanced": True,
        "split": "test",
        "no_gap": {"centroid_distance": 0.0, "separability": 0.5, "auc": 0.5, "overlap": 1.0},
    }
    text = show_gap({"protocol": stated, "stages": {"s" * 90: stage}, "notes": ["a remark " * 20]})
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[3].split()[-4:] == ["1.500", "1.000", "-", "0.250"]
