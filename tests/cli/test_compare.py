import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.asking import refused
from tests.cli.conftest import Xfeat
from tests.evaluation.pairs import QUICK, paired
from tests.training.building import TINY, write_blobs
from xfeat.training import sspc
from xfeat.training.drcl import train
from xfeat.training.group import member_path, write_group

FEW = ("--resamples", 200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Groups of two seeds, a copy of one, runs by another method and on other rows; to read only."""
    folder = tmp_path_factory.mktemp("compare")
    torch.set_num_threads(1)
    caches = [paired(name).write(folder / "cache" / name) for name in ("image", "text")]
    untrained = TINY.model_copy(update={"epochs": 1, "spl_epochs": 1})
    for name, settings in (("good", TINY), ("poor", untrained)):
        for seed in (0, 1):
            train(caches, member_path(folder / name, seed), settings, seed=seed)
        write_group(folder / name, [0, 1], "drcl")
    shutil.copytree(folder / "good", folder / "copy")
    sspc.train(caches, folder / "pairs", QUICK)
    train(write_blobs(folder / "blobs", "image", "text"), folder / "elsewhere", untrained)
    return folder


def test_groups_side_by_side(xfeat: Xfeat, folder: Path, tmp_path: Path) -> None:
    files = ("--json", tmp_path / "c.json", "--csv", tmp_path / "c.csv", "--latex", tmp_path / "c.tex")
    code, out, err = xfeat("compare", folder / "poor", folder / "good", *FEW, *files)
    assert (code, err) == (0, "")
    text, written = out.split("json      ")
    assert max(map(len, text.splitlines())) <= 80
    document = json.loads((tmp_path / "c.json").read_text())
    assert [run["label"] for run in document["runs"]] == ["good", "poor"]
    for run in document["runs"]:
        alone = json.loads(xfeat("eval", folder / run["label"], "--json", "-")[1])
        assert run["mean"] == pytest.approx(alone["mean"]["mAP@all"])
        assert run["spread"] == pytest.approx(alone["spread"]["mean"]["mAP@all"])
        assert run["means"] == alone["mean"]
        for pair, one in run["pairs"].items():
            assert one["mean"] == pytest.approx(alone["pairs"][pair]["mAP@all"])
            assert one["chance"] == pytest.approx(alone["pairs"][pair]["chance mAP@all"])
    lines = text.splitlines()
    assert lines[0].startswith("protocol category (relevant: same class)")
    assert lines[1] == f"metric mAP@all, mean over 2 ordered pairs; chance {document['chance']:.3f}"
    good = next(line.split() for line in lines if line.startswith("  good *"))
    assert good[2:5] == [f"{document['runs'][0]['mean']:.3f}", "+-", f"{document['runs'][0]['spread']:.3f}"]
    assert good[-1] == "2"
    (versus,) = document["comparisons"]
    row = next(line.split() for line in lines if line.startswith("    - poor"))
    assert row[2] == f"{versus['difference']:+.3f}"
    assert row[5] == f"{versus['p_holm']:.4f}"
    assert row[-1] == ("yes" if versus["real"] else "no")
    assert (document["unit"], document["units"]) == ("instance", 32)
    assert "real: p below 0.05 after Holm's correction for 1 comparison, and an interval" in text
    assert len(list(csv.DictReader((tmp_path / "c.csv").read_text().splitlines()))) == 6
    assert len(list(csv.DictReader((tmp_path / "c.comparisons.csv").read_text().splitlines()))) == 1
    assert r"\toprule" in (tmp_path / "c.tex").read_text()
    assert [line.split()[-1] for line in written.splitlines()] == [
        str(tmp_path / name) for name in ("c.json", "c.csv", "c.comparisons.csv", "c.tex")
    ]


def test_a_copy_is_not_different(xfeat: Xfeat, folder: Path) -> None:
    code, out, _ = xfeat("compare", folder / "good", folder / "copy", *FEW, "--json", "-")
    assert code == 0
    (versus,) = json.loads(out)["comparisons"]
    assert (versus["difference"], versus["p"], versus["real"], versus["tied"]) == (0, 1, False, 1)


def test_names_and_one_to_compare_with(xfeat: Xfeat, folder: Path) -> None:
    words = ("--name", "with a much longer name than fits", "--name", "b", "--name", "c", "--against", "b")
    runs = (folder / "good", folder / "poor", folder / "copy" / "seed0")
    code, out, _ = xfeat("compare", *runs, *words, *FEW)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "less b:" in out
    assert "with a muc...n fits" in out
    assert "correction for 2 comparisons" in out
    assert "one seed only, so no word on what another would give: c" in out


def test_a_group_is_not_compared_with_its_own_seed(xfeat: Xfeat, folder: Path) -> None:
    refused(xfeat("compare", folder / "good", folder / "good" / "seed0", *FEW), "a run is not compared with its own")


def test_too_few_resamples_are_told(xfeat: Xfeat, folder: Path) -> None:
    code, out, _ = xfeat("compare", folder / "poor", folder / "good", "--resamples", 9)
    assert code == 0
    assert "nothing can be real: not even the least p could be below 0.05 here; raise" in out
    assert "nothing can be real" not in xfeat("compare", folder / "poor", folder / "good", *FEW)[1]


def test_instances_by_recall(xfeat: Xfeat, folder: Path) -> None:
    words = ("--protocol", "instance", *FEW)
    code, out, _ = xfeat("compare", folder / "pairs", folder / "good", *words, "--json", "-")
    assert code == 0
    document = json.loads(out)
    assert document["metric"] == "R@1"
    assert {run["label"] for run in document["runs"]} == {"sspc", "drcl"}
    alone = json.loads(xfeat("eval", folder / "pairs", "--json", "-")[1])
    assert next(run for run in document["runs"] if run["label"] == "sspc")["mean"] == alone["mean"]["R@1"]
    ranks = json.loads(
        xfeat("compare", folder / "pairs", folder / "good", *words, "--metric", "MeanR", "--json", "-")[1]
    )
    assert ranks["lower_is_better"]
    means = [run["mean"] for run in ranks["runs"]]
    assert means == sorted(means)
    assert next(run for run in ranks["runs"] if run["label"] == "sspc")["mean"] == pytest.approx(
        np.mean([one["MeanR"] for one in alone["pairs"].values()])
    )
    assert "lower is better" in xfeat("compare", folder / "pairs", folder / "good", *words, "--metric", "rank")[1]


def test_runs_that_were_not_evaluated_alike_are_refused(xfeat: Xfeat, folder: Path) -> None:
    refused(
        xfeat("compare", folder / "good", folder / "pairs"),
        "drcl and sspc have different protocols (name: category and instance): name one with --protocol",
    )
    refused(xfeat("compare", folder / "good", folder / "elsewhere"), "not evaluated on the same rows of image", "rows")


def test_bad_input_is_one_line(xfeat: Xfeat, folder: Path, tmp_path: Path) -> None:
    two = (folder / "good", folder / "poor")
    refused(xfeat("compare", folder / "good"), "between two runs or more")
    refused(xfeat("compare", folder / "good", tmp_path / "no"), "not a run")
    refused(xfeat("compare", *two, "--name", "a"), "1 names for 2 runs")
    refused(xfeat("compare", *two, "--name", "a", "--name", "a"), "two runs are called 'a'")
    refused(xfeat("compare", *two, "--against", "best"), "--against best: there is good, poor")
    refused(xfeat("compare", *two, "--alpha", 1), "--alpha 1.0: choose a level between 0 and 1")
    for count in (0, 10**11):  # the second would not fit into memory
        refused(xfeat("compare", *two, "--resamples", count), f"--resamples {count}: choose 1 to 1,000,000")
    for name in ("", " ", "a\nb"):
        refused(xfeat("compare", *two, "--name", "a", "--name", name), f"--name {name!r}: a name is shown in tables")
    refused(xfeat("compare", *two, "--metric", "gmean"), "metric gmean is no mean over queries", "mAP@all, mAP@50")
    refused(xfeat("compare", *two, "--split", "holiday"), "no rows in split 'holiday'")
    for option in ("--json", "--csv", "--latex"):
        refused(xfeat("compare", *two, option, tmp_path / "no" / "f"), f"{option} ", "does not exist")
        refused(xfeat("compare", *two, option, tmp_path), "is a folder: name a file in it")
    refused(
        xfeat("compare", *two, "--csv", tmp_path / "f", "--latex", tmp_path / "f"), "--csv, --latex name the same file"
    )
    assert not list(tmp_path.iterdir())
