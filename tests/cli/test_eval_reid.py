"""``xfeat eval`` of re-identification and of unseen classes, on caches as people make them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cli.asking import QUICK, refused
from tests.cli.conftest import Xfeat
from tests.evaluation.pairs import QUICK as PAIRS_QUICK
from tests.evaluation.pairs import write_paired
from tests.training.building import TINY
from xfeat.cache import FeatureCache
from xfeat.training.drcl import train
from xfeat.training.group import member_path, write_group
from xfeat.training.sspc import train as train_pairs

CAMERAS = {"visible": ("c1", "c2"), "infrared": ("c3", "c2")}
WIDTHS = {"visible": 9, "infrared": 7}
NAMES = ("CMC@1", "CMC@10", "CMC@20", "mAP@all", "mINP")
PEOPLE, TESTED, SHOTS = 8, 4, 3  # identities, of which the last are for testing; rows of each by each camera


def archive(folder: Path, modality: str, *, cameras: bool = True) -> Path:
    """A file to import: people that train and people that test, as two cameras saw them."""
    latent = np.random.default_rng(0).normal(size=(PEOPLE, 5))
    rng = np.random.default_rng(len(modality))
    mixing = rng.normal(size=(5, WIDTHS[modality]))
    arrays: dict[str, list[Any]] = {"features": [], "labels": [], "split": [], "ids": [], "camera": []}
    for person in range(PEOPLE):
        for camera in CAMERAS[modality]:
            for shot in range(SHOTS):
                arrays["features"].append((latent[person] + 0.3 * rng.normal(size=5)) @ mixing)
                arrays["labels"].append(person)
                arrays["split"].append("train" if person < PEOPLE - TESTED else "test")
                arrays["ids"].append(f"{modality}/{person}/{camera}/{shot}")
                arrays["camera"].append(camera)
    if not cameras:
        del arrays["camera"]
    path = folder / f"{modality}{'' if cameras else '-bare'}.npz"
    np.savez(path, **{name: np.asarray(column) for name, column in arrays.items()})
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("people")


@pytest.fixture
def people(xfeat: Xfeat, folder: Path) -> Path:
    """Caches with cameras, a run on them and a group of seeds; to read only."""
    if not (folder / "run").exists():
        torch.set_num_threads(1)
        for name in CAMERAS:
            code, _, err = xfeat("import", archive(folder, name), "--modality", name, "--out", folder / name)
            assert code == 0, err
        caches = [FeatureCache(folder / name) for name in CAMERAS]
        for seed in (0, 1):
            train(caches, member_path(folder / "group", seed), TINY, seed=seed)
        write_group(folder / "group", [0, 1], "drcl")
        assert xfeat("train", "drcl", *(cache.path for cache in caches), "--out", folder / "run", *QUICK)[0] == 0
    return folder


def document_of(xfeat: Xfeat, *words: object) -> dict[str, Any]:
    code, out, err = xfeat("eval", *words, "--json", "-")
    assert code == 0, err
    return json.loads(out)


def rows_of(out: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith("  ")}


def shown(one: dict[str, Any]) -> list[str]:
    return [f"{one[name]:.3f}" for name in NAMES]


def test_the_table_and_the_json_of_re_identification(xfeat: Xfeat, people: Path) -> None:
    code, out, err = xfeat("eval", people / "run", "--protocol", "re-id")
    assert (code, err) == (0, "")
    document = document_of(xfeat, people / "run", "--protocol", "re-id")
    stated, rows = document["protocol"], rows_of(out)
    assert (stated["name"], stated["camera_exclusion"], stated["gallery_shots"]) == ("re-id", True, "all")
    tested = TESTED * 2 * SHOTS
    for pair, one in document["pairs"].items():
        assert rows[pair] == [*shown(one), str(tested), str(tested)]
        # Only camera c2 is in both: its rows of a person leave out each other.
        assert one["excluded"] == TESTED * SHOTS * SHOTS
        assert one["without_relevant"] == 0
        assert one["chance CMC@1"] == pytest.approx((SHOTS / (tested - SHOTS) + 2 * SHOTS / tested) / 2)
    assert rows["mean"] == shown(document["mean"])
    assert rows["chance"] == [f"{document['mean'][f'chance {name}']:.3f}" for name in NAMES]
    assert f"({2 * TESTED * SHOTS * SHOTS} pairs of query and item)" in out
    assert "training rows" not in out  # that people are new is the point
    assert max(map(len, out.splitlines())) <= 80


def test_galleries_of_single_shots(xfeat: Xfeat, people: Path) -> None:
    words = (people / "run", "--protocol", "re-id", "--gallery-shots", 1)
    document = document_of(xfeat, *words)
    assert (document["protocol"]["trials"], document["protocol"]["gallery_shots"]) == (10, 1)
    out = xfeat("eval", *words)[1]
    lines = out.splitlines()
    for pair, one in document["pairs"].items():
        at = next(number for number, line in enumerate(lines) if line.startswith(f"  {pair}"))
        assert lines[at].split()[1:] == [*shown(one), str(TESTED * 2 * SHOTS), str(TESTED * 2)]
        assert lines[at + 1].split() == ["+-", *shown(one["trials spread"])]
        assert max(one["trials spread"].values()) > 0
    after = next(number for number, line in enumerate(lines) if line.startswith("  mean"))
    assert lines[after + 1].split() == ["+-", *shown(document["trials spread"])]
    assert "drawn 10 times; means over these trials, +- standard deviation" in " ".join(out.split())
    assert max(map(len, lines)) <= 80
    again = document_of(xfeat, *words)
    assert {**again, "seconds": 0} == {**document, "seconds": 0}
    one = document_of(xfeat, *words, "--trials", 1)
    assert "trials spread" not in one
    assert "trials spread" not in one["pairs"]["visible->infrared"]
    assert "drawn 1 time\n" in xfeat("eval", *words, "--trials", 1)[1]


def test_seeds_of_single_shots(xfeat: Xfeat, people: Path) -> None:
    words = ("--protocol", "re-id", "--gallery-shots", 1, "--trials", 2)
    document = document_of(xfeat, people / "group", *words)
    alone = [document_of(xfeat, people / "group" / f"seed{seed}", *words) for seed in (0, 1)]
    values = [one["mean"]["mINP"] for one in alone]
    assert document["mean"]["mINP"] == pytest.approx(np.mean(values))
    assert document["spread"]["mean"]["mINP"] == pytest.approx(np.std(values, ddof=1))
    spreads = [one["trials spread"]["mINP"] for one in alone]
    assert document["trials spread"]["mINP"] == pytest.approx(np.mean(spreads))
    out = xfeat("eval", people / "group", *words)[1]
    assert rows_of(out)["+-"][:5] == shown(document["spread"]["mean"])  # those of seeds, not of trials
    assert "drawn 2 times; means over these trials CMC@K: probability" in " ".join(out.split())
    assert "2 seeds, mean +- standard deviation: 0, 1" in out


def test_without_cameras_nothing_is_left_out(xfeat: Xfeat, people: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    source = archive(tmp_path, "infrared", cameras=False)
    assert xfeat("import", source, "--modality", "infrared", "--out", bare)[0] == 0
    on = ("--on", people / "visible", "--on", bare, "--protocol", "re-id")
    document = document_of(xfeat, people / "run", *on)
    assert (document["protocol"]["camera_exclusion"], document["protocol"]["excluded"]) == (False, 0)
    assert "cameras: none are named in queries and gallery, so nothing is left out" in xfeat(
        "eval", people / "run", *on
    )[1].replace("\n    ", " ")
    shots = document_of(xfeat, people / "run", *on, "--gallery-shots", 2, "--trials", 2)["pairs"]
    assert [one["gallery"] for one in shots.values()] == [TESTED * 2, TESTED * 2 * 2]


def test_features_as_they_are_are_re_identified(xfeat: Xfeat, people: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    assert xfeat("import", people / "visible.npz", "--modality", "twin", "--out", twin)[0] == 0
    document = document_of(xfeat, "--raw", people / "visible", twin, "--protocol", "re-id", "--gallery-shots", 1)
    # A row's own copy is of its own camera: it is out of reach.
    assert document["pairs"]["visible->twin"]["excluded"] == TESTED * 2 * SHOTS
    assert document["mean"]["CMC@1"] > document["mean"]["chance CMC@1"]


def test_retrieval_of_unseen_classes(xfeat: Xfeat, people: Path) -> None:
    code, out, err = xfeat("eval", people / "run", "--protocol", "zero-shot-retrieval")
    assert (code, err) == (0, "")
    document = document_of(xfeat, people / "run", "--protocol", "zero-shot-retrieval")
    assert document["protocol"]["unseen_classes"] == ["4", "5", "6", "7"]
    assert document["protocol"]["gallery_classes"] == "unseen"
    names = ("mAP@all", "mAP@200", "P@100", "P@200")
    rows = rows_of(out)
    for pair, one in document["pairs"].items():
        assert rows[pair] == [*(f"{one[name]:.3f}" for name in names), "24", "24"]
        assert one["P@100"] == pytest.approx(2 * SHOTS / 100)  # every item is within the first 100
    assert rows["chance"] == [f"{document['mean'][f'chance {name}']:.3f}" for name in names]
    assert "  queries of 4 unseen classes: 4, 5, 6, 7\n  gallery: items of unseen classes alone\n" in out
    assert "mAP@200 divides by the hits within 200; P@K: relevant items within K over K" in out
    by_min = document_of(xfeat, people / "run", "--protocol", "zero-shot-retrieval", "--denominator", "min")
    assert (document["protocol"]["denominator"], by_min["protocol"]["denominator"]) == ("hits", "min")
    assert max(map(len, out.splitlines())) <= 80


def test_seen_classes_may_distract(xfeat: Xfeat, tmp_path: Path) -> None:
    caches = write_paired(tmp_path, "image", "text")
    some = PAIRS_QUICK.model_copy(update={"classes": ["ant", "bee"]})
    train_pairs(caches, tmp_path / "some", some)
    words = (tmp_path / "some", "--protocol", "zero-shot-retrieval", "--gallery-classes")
    alone, among = (document_of(xfeat, *words, word) for word in ("unseen", "all"))
    sizes = [one["pairs"]["image->text"] for one in (alone, among)]
    assert [(one["queries"], one["gallery"]) for one in sizes] == [(16, 16), (16, 32)]
    assert alone["mean"]["mAP@all"] > among["mean"]["mAP@all"]
    assert "weights" in alone  # an SSPC run has two sets
    out = xfeat("eval", *words, "all")[1]
    assert "  queries of 2 unseen classes: cow, dog\n" in out
    assert "  gallery: items of every class; those of seen classes are distractors\n" in out
    raw = ("--raw", caches[0].path, tmp_path / "twin", "--protocol", "zero-shot-retrieval")
    code, _, err = xfeat("cache", "export", caches[0].path, "--out", tmp_path / "twin.npz")
    assert code == 0, err
    assert xfeat("import", tmp_path / "twin.npz", "--modality", "twin", "--out", tmp_path / "twin")[0] == 0
    named = document_of(xfeat, *raw, "--classes", "c*,dog", "--gallery-classes", "all")
    assert named["protocol"]["unseen_classes"] == ["cow", "dog"]
    assert named["pairs"]["image->twin"]["gallery"] == 32
    refused(xfeat("eval", *raw), "name the classes to count as unseen, --classes")


def test_wrong_use_is_one_line(xfeat: Xfeat, people: Path, trained: Path) -> None:
    run = people / "run"
    refused(xfeat("eval", run, "--trials", 3), "--trials is for --protocol re-id")
    refused(xfeat("eval", run, "--protocol", "re-id", "--trials", 3), "give --gallery-shots N too")
    refused(xfeat("eval", run, "--gallery-shots", 1), "--gallery-shots is for --protocol re-id")
    for word in ("some", "0", "-1", "1.5", "９"):
        refused(xfeat("eval", run, "--protocol", "re-id", "--gallery-shots", word), f"{word}: choose all, or a number")
    refused(xfeat("eval", run, "--protocol", "re-id", "--gallery-shots", 1, "--trials", 0), "--trials 0: choose a")
    refused(xfeat("eval", run, "--protocol", "category", "--gallery-classes", "all"), "--protocol zero-shot-retrieval")
    zero_shot = ("--protocol", "zero-shot-retrieval")
    refused(xfeat("eval", run, *zero_shot, "--gallery-classes", "seen"), "choose unseen or all")
    refused(xfeat("eval", run, *zero_shot, "--classes", "4"), "no --classes")
    refused(xfeat("eval", run, *zero_shot, "--cuts", "5"), "--cuts: those of protocol zero-shot-retrieval are fixed")
    refused(xfeat("eval", trained, *zero_shot), "the run saw all 3 classes")
    refused(xfeat("eval", run, "--protocol", "re-id", "--missing", "miss"), "is for protocol instance")
    refused(xfeat("eval", run, "--protocol", "re-id", "--relevance", "any"), "this is protocol re-id")
