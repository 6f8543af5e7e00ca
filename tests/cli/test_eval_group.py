import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.asking import refused
from tests.cli.conftest import Xfeat
from tests.training.building import TINY, write_blobs
from xfeat.training.drcl import train
from xfeat.training.group import member_path, write_group


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of image and text, to read only."""
    folder = tmp_path_factory.mktemp("group")
    torch.set_num_threads(1)
    caches = write_blobs(folder, "image", "text")
    for seed in (0, 1, 5):
        train(caches, member_path(folder / "runs", seed), TINY, seed=seed)
    write_group(folder / "runs", [0, 1, 5], "drcl")
    return folder / "runs"


def test_the_mean_over_seeds_and_its_spread(xfeat: Xfeat, group: Path, tmp_path: Path) -> None:
    code, out, err = xfeat("eval", group, "--json", tmp_path / "e.json")
    assert (code, err) == (0, "")
    document = json.loads((tmp_path / "e.json").read_text())
    assert set(document) == {"protocol", "seconds", "pairs", "mean", "spread", "seeds", "members"}
    assert document["seeds"] == [0, 1, 5]
    alone = {seed: json.loads(xfeat("eval", group / f"seed{seed}", "--json", "-")[1]) for seed in (0, 1, 5)}
    assert document["protocol"] == alone[0]["protocol"]
    assert document["members"] == {str(seed): one["mean"] for seed, one in alone.items()}
    lines = out.splitlines()
    for pair in (*alone[0]["pairs"], "mean"):
        means, spread = (
            (part["mean"] if pair == "mean" else part["pairs"][pair]) for part in (document, document["spread"])
        )
        values = [(one["mean"] if pair == "mean" else one["pairs"][pair])["mAP@all"] for one in alone.values()]
        assert means["mAP@all"] == pytest.approx(np.mean(values))
        assert spread["mAP@all"] == pytest.approx(np.std(values, ddof=1))
        at = next(number for number, line in enumerate(lines) if line.startswith(f"  {pair}"))
        shown = ("mAP@all", "mAP@50", "R@1", "P@50", "nDCG@50")
        assert lines[at].split()[1:6] == [f"{means[name]:.3f}" for name in shown]
        assert lines[at + 1].split() == ["+-", *(f"{spread[name]:.3f}" for name in shown)]
    assert "  3 seeds, mean +- standard deviation: 0, 1, 5" in out
    assert max(map(len, out.splitlines()[:-1])) <= 80


def test_a_group_of_one_seed_has_no_spread(xfeat: Xfeat, group: Path) -> None:
    whole = (group / "group.json").read_text()
    write_group(group, [5], "drcl")
    code, out, _ = xfeat("eval", group)
    document = json.loads(xfeat("eval", group, "--json", "-")[1])
    (group / "group.json").write_text(whole)
    assert code == 0
    assert "+-" not in out
    assert "a group of one seed (5)" in out
    assert "spread" not in document
    assert document["seeds"] == [5]


def test_an_unfinished_group_is_one_line(xfeat: Xfeat, tmp_path: Path) -> None:
    write_group(tmp_path / "runs", [0, 1], "drcl")
    refused(xfeat("eval", tmp_path / "runs"), "no run of seed 0", "--resume")
