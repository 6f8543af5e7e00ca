import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cli.asking import refused
from tests.cli.conftest import Xfeat
from tests.evaluation.pairs import QUICK, paired, write_paired
from xfeat.training.group import member_path, write_group
from xfeat.training.sspc import train

SOME = QUICK.model_copy(update={"classes": ["ant", "bee", "cow"]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Paired caches, a run and a group of seeds that saw three classes of four, a run that saw all; to read only."""
    folder = tmp_path_factory.mktemp("domains")
    torch.set_num_threads(1)
    caches = write_paired(folder, "image", "text")
    train(caches, folder / "some", SOME)
    train(caches, folder / "whole", QUICK)
    for seed in (0, 1):
        train(caches, member_path(folder / "group", seed), SOME, seed=seed)
    write_group(folder / "group", [0, 1], "sspc")
    return folder


def document_of(xfeat: Xfeat, *words: object) -> dict[str, Any]:
    code, out, err = xfeat("domains", *words, "--json", "-")
    assert code == 0, err
    return json.loads(out)["domains"]


def rows_of(out: str) -> dict[str, list[str]]:
    assert max(map(len, out.splitlines())) <= 80
    return {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith("  ")}


def test_classes_seen_and_unseen_side_by_side(xfeat: Xfeat, folder: Path) -> None:
    code, out, err = xfeat("domains", folder / "some")
    assert (code, err) == (0, "")
    document, rows = document_of(xfeat, folder / "some"), rows_of(out)
    for side, word in (("in", "seen"), ("out", "unseen")):
        alone = json.loads(xfeat("eval", folder / "some", "--classes", word, "--json", "-")[1])
        assert document[side]["pairs"] == alone["pairs"]
        assert document[side]["mean"] == alone["mean"]

    def beside(pick: str, prefix: str = "") -> list[str]:
        found = []
        for name in ("R@1", "R@5", "R@10", "MedR"):
            for side in ("in", "out"):
                part = document[side]["mean"] if pick == "mean" else document[side]["pairs"][pick]
                value = part[prefix + name]
                found.append(f"{value:.1f}" if name == "MedR" else f"{value:.3f}")
        return found

    for pair in ("image->text", "text->image", "mean"):
        assert rows[pair] == beside(pair)
    assert rows["chance"] == beside("mean", "chance ")
    assert "  in  3 seen classes; gallery: 24 of each modality" in out
    assert "  out 1 unseen class; gallery: 8 of each modality" in out
    assert "galleries differ in size, and so does chance" in out
    heads = out.splitlines()[1:3]
    assert heads[0].split() == ["R@1", "R@5", "R@10", "MedR"]
    assert heads[1].split() == ["query->gallery", *["in", "out"] * 4]


def test_galleries_of_one_size(xfeat: Xfeat, folder: Path) -> None:
    document = document_of(xfeat, folder / "some", "--gallery", 6)
    for side in ("in", "out"):
        assert {one["gallery"] for one in document[side]["pairs"].values()} == {6}
        assert document[side]["mean"]["chance R@1"] == pytest.approx(1 / 6)
    assert document["in"]["pairs"] == document_of(xfeat, folder / "some", "--gallery", 6)["in"]["pairs"]
    out = xfeat("domains", folder / "some", "--gallery", 6)[1]
    assert "6 instances sampled of each domain with a fixed seed" in out
    assert "differ in size" not in out
    refused(
        xfeat("domains", folder / "some", "--gallery", 9),
        "xfeat: out of the domain: 9 instances asked for, 8 are there",
    )


def test_another_data_set(xfeat: Xfeat, folder: Path, tmp_path: Path) -> None:
    on = []
    for name in ("image", "text"):
        samples = replace(paired(name, instances=60, seed=3), labels=None)
        on += ["--on", samples.write(tmp_path / name).path]
    whole, some = (document_of(xfeat, folder / run, *on) for run in ("whole", "some"))
    for document, inside in ((whole, 32), (some, 24)):
        assert document["in"]["pairs"]["image->text"]["gallery"] == inside
        assert document["out"]["pairs"]["image->text"]["gallery"] == 20
    out = xfeat("domains", folder / "whole", *on)[1]
    assert "  in  all classes of the run's caches; gallery: 32 of each modality" in out
    assert "  out other caches; gallery: 20 of each modality" in out
    assert [line.strip() for line in out.splitlines() if line.startswith("      ")][-2:] == [str(on[1]), str(on[3])]
    refused(xfeat("domains", folder / "whole"), "was trained on every class there is", "--on")


def test_a_group_of_seeds(xfeat: Xfeat, folder: Path, tmp_path: Path) -> None:
    code, out, _ = xfeat("domains", folder / "group", "--json", tmp_path / "d.json")
    assert code == 0
    document = json.loads((tmp_path / "d.json").read_text())["domains"]
    alone = [document_of(xfeat, folder / "group" / f"seed{seed}") for seed in (0, 1)]
    for side in ("in", "out"):
        values = [one[side]["mean"]["R@5"] for one in alone]
        assert document[side]["mean"]["R@5"] == pytest.approx(np.mean(values))
        assert document[side]["spread"]["mean"]["R@5"] == pytest.approx(np.std(values, ddof=1))
    spread = rows_of(out.rsplit("\n", 2)[0])["+-"]
    assert spread[2] == f"{document['in']['spread']['mean']['R@5']:.3f}"
    assert "2 seeds, mean +- standard deviation: 0, 1" in out


def test_bad_input_is_one_line(xfeat: Xfeat, folder: Path, tmp_path: Path) -> None:
    refused(xfeat("domains", tmp_path / "no"), "does not exist: not a run")
    refused(xfeat("domains", folder / "some", "--weights", "mean"), "choose kept, raw or ema")
    refused(xfeat("domains", folder / "some", "--missing", "drop"), "unknown missing 'drop'")
    refused(xfeat("domains", folder / "some", "--json", tmp_path / "no" / "d.json"), "does not exist")
