import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.cli.asking import QUICK, refused
from tests.cli.conftest import Xfeat
from tests.training.building import blobs, multi_label_blobs

SHOWN = ("mAP@all", "mAP@50", "R@1", "P@50", "nDCG@50")


def test_the_table_and_the_json_say_the_same(xfeat: Xfeat, trained: Path, tmp_path: Path) -> None:
    code, out, err = xfeat("eval", trained, "--json", tmp_path / "e.json")
    assert (code, err) == (0, "")
    document = json.loads((tmp_path / "e.json").read_text())
    assert set(document) == {"protocol", "seconds", "pairs", "mean"}
    assert document["protocol"]["split"] == "test"
    assert document["protocol"]["name"] == "category"
    assert set(document["pairs"]) == {"image->text", "text->image"}
    for name, pair in document["pairs"].items():
        assert {"mAP@all", "mAP@50", "chance mAP@all", "queries", "gallery", "without_relevant"} <= set(pair)
        (row,) = [line.split() for line in out.splitlines() if line.strip().startswith(name)]
        assert row[1:] == [*(f"{pair[key]:.3f}" for key in SHOWN), "20", "20"]
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith("  ")}
    assert rows["mean"] == [f"{document['mean'][key]:.3f}" for key in SHOWN]
    assert rows["chance"] == [f"{document['mean'][f'chance {key}']:.3f}" for key in SHOWN]
    said = " ".join(out.split())
    assert "mAP@50 divides by the hits within 50; R@K: probability that a relevant item is among the first K" in said
    assert "nDCG: gain 1 where relevant, discount 1/log2(rank + 1); ties count with their expected value" in said
    assert "not shown, in --json: R@5, R@10, nDCG@all, MedR" in said
    shown = [name for name in document["mean"] if not name.startswith("chance ")]
    assert shown == ["mAP@all", "mAP@50", "R@1", "R@5", "R@10", "P@50", "nDCG@all", "nDCG@50", "MedR"]
    assert document["mean"]["mAP@all"] == pytest.approx(np.mean([p["mAP@all"] for p in document["pairs"].values()]))
    assert max(map(len, out.splitlines()[:-1])) <= 80


def test_json_on_standard_output_is_nothing_but_json(xfeat: Xfeat, trained: Path) -> None:
    code, out, err = xfeat("eval", trained, "--json", "-")
    assert (code, err) == (0, "")
    assert set(json.loads(out)["pairs"]) == {"image->text", "text->image"}


def test_three_modalities_give_six_pairs(xfeat: Xfeat, caches: dict[str, Path], trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    before = json.loads(xfeat("eval", trained, "--json", "-")[1])["pairs"]
    assert xfeat("add", caches["audio"], "--run", tmp_path / "run")[0] == 0
    after = json.loads(xfeat("eval", tmp_path / "run", "--json", "-")[1])["pairs"]
    names = ("image", "text", "audio")
    assert set(after) == {f"{a}->{b}" for a in names for b in names if a != b}
    assert {name: after[name] for name in before} == before
    out = xfeat("eval", tmp_path / "run")[1]
    assert sum("->" in line for line in out.splitlines()) == 7  # the header too


def test_cuts_and_denominators(xfeat: Xfeat, trained: Path, tmp_path: Path) -> None:
    before = json.loads(xfeat("eval", trained, "--json", "-")[1])
    words = ("--cuts", "5,all,10", "--denominator", "min", "--float64", "--json", tmp_path / "e.json")
    code, out, err = xfeat("eval", trained, *words)
    assert (code, err) == (0, "")
    document = json.loads((tmp_path / "e.json").read_text())
    stated = document["protocol"]
    assert (stated["cuts"], stated["denominator"], stated["dtype"]) == ([5, "all", 10], "min", "float64")
    assert document["mean"]["mAP@all"] == pytest.approx(before["mean"]["mAP@all"], abs=1e-6)
    assert {f"{name}@{cut}" for name in ("mAP", "nDCG", "P") for cut in (5, 10)} <= set(document["mean"])
    said = " ".join(out.split())
    assert "mAP@5 divides by the relevant items, 5 at most; mAP@10 divides by the relevant items, 10 at most" in said
    assert "scores in float64" in out
    assert max(map(len, out.splitlines()[:-1])) <= 80
    by_hits = json.loads(xfeat("eval", trained, "--cuts", "5,10", "--json", "-")[1])["mean"]
    assert by_hits["chance mAP@5"] > document["mean"]["chance mAP@5"]
    assert "mAP@all" not in by_hits
    instances = json.loads(xfeat("eval", trained, "--protocol", "re-id", "--cuts", "2", "--json", "-")[1])["mean"]
    assert "CMC@2" in instances
    assert "CMC@1" not in instances
    out = xfeat("eval", trained, "--protocol", "re-id", "--cuts", "2,3")[1]
    assert out.splitlines()[1].split()[1:] == ["CMC@2", "CMC@3", "mAP@all", "mINP", "queries", "gallery"]
    assert "CMC@K: probability" in out
    assert "mINP: relevant items over the rank of the last one" in " ".join(out.split())


def test_cuts_and_denominators_of_no_meaning_are_refused(xfeat: Xfeat, trained: Path) -> None:
    for word in ("0", "-1", "1.5", "all,", "some", "９"):
        refused(xfeat("eval", trained, "--cuts", word), "--cuts", "choose all, or a number of 1 or more")
    refused(xfeat("eval", trained, "--cuts", "5,5"), "--cuts 5,5: the same cut twice")
    refused(xfeat("eval", trained, "--denominator", "k"), "--denominator k: choose hits or min")
    refused(xfeat("eval", trained, "--gain", "cubic"), "--gain cubic: choose exponential or linear")
    refused(xfeat("eval", trained, "--gain", "linear"), "--gain is for samples of several classes")
    refused(xfeat("eval", trained, "--protocol", "re-id", "--cuts", "all"), "--cuts all")
    refused(xfeat("eval", trained, "--protocol", "re-id", "--denominator", "min"), "this is protocol re-id")


def test_another_split_and_rows_without_a_label(xfeat: Xfeat, tmp_path: Path) -> None:
    samples = blobs("image")
    labels = samples.labels.copy()
    labels[samples.split.index("test")] = -1
    image = replace(samples, labels=labels).write(tmp_path / "image").path
    text = blobs("text").write(tmp_path / "text").path
    assert xfeat("train", "drcl", image, text, "--out", tmp_path / "run", *QUICK)[0] == 0
    code, out, err = xfeat("eval", tmp_path / "run")
    assert code == 0
    assert err == "note: 1 row of image without a label left out\n"
    assert "split test" in out
    document = json.loads(xfeat("eval", tmp_path / "run", "--split", "train", "--json", "-")[1])
    assert document["protocol"]["split"] == "train"


def test_samples_of_several_classes_choose_their_protocol(xfeat: Xfeat, tmp_path: Path) -> None:
    caches = [multi_label_blobs(name).write(tmp_path / name).path for name in ("image", "text")]
    assert xfeat("train", "drcl", *caches, "--out", tmp_path / "run", *QUICK)[0] == 0
    code, out, _ = xfeat("eval", tmp_path / "run")
    assert code == 0
    assert out.startswith("protocol multi-label (relevant: at least one class shared)")
    refused(xfeat("eval", tmp_path / "run", "--protocol", "category"), "category needs one class per row")


def test_the_rule_of_relevance(xfeat: Xfeat, tmp_path: Path, trained: Path) -> None:
    caches = [multi_label_blobs(name).write(tmp_path / name).path for name in ("image", "text")]
    run = tmp_path / "run"
    assert xfeat("train", "drcl", *caches, "--out", run, *QUICK)[0] == 0
    documents = {}
    for word, statement in {
        "any": "at least one class shared",
        "at-least:2": "at least 2 classes shared",
        "exact": "exactly the same classes",
        "jaccard:0.5": "Jaccard index >= 0.5",
    }.items():
        code, out, _ = xfeat("eval", run, "--relevance", word, "--json", tmp_path / "e.json")
        assert code == 0
        said = f"protocol multi-label (relevant: {statement}), inner product, split test query->gallery"
        assert " ".join(out.split()).startswith(said)
        assert max(map(len, out.splitlines()[:-1])) <= 80
        documents[word] = json.loads((tmp_path / "e.json").read_text())
        assert documents[word]["protocol"]["relevance"] == statement
        assert documents[word]["protocol"]["relevance_rule"] == word
    assert json.loads(xfeat("eval", run, "--json", "-")[1])["pairs"] == documents["any"]["pairs"]
    chance = {word: document["mean"]["chance mAP@all"] for word, document in documents.items()}
    assert chance["any"] > chance["jaccard:0.5"] > chance["exact"]
    single = sum(1 for row in range(0, 90, 3) if row % 2 == 0)  # rows of one class cannot share two
    assert documents["at-least:2"]["pairs"]["image->text"]["without_relevant"] == single
    out = xfeat("eval", run, "--relevance", "at-least:2")[1]
    assert (
        f"  {2 * single} queries without a relevant item left out of the means:\n    image->text {single} of 30" in out
    )
    worth = json.loads(xfeat("eval", run, "--gain", "linear", "--json", "-")[1])
    assert worth["protocol"]["gain"] == "g, classes shared"
    assert "nDCG: gain g, classes shared, discount" in " ".join(xfeat("eval", run, "--gain", "linear")[1].split())
    assert worth["mean"]["chance nDCG@all"] != documents["any"]["mean"]["chance nDCG@all"]
    refused(xfeat("eval", run, "--relevance", "most"), "unknown relevance 'most'", "jaccard:T")
    refused(xfeat("eval", run, "--relevance", "at-least:3"), "no query has a relevant item", "3 classes shared")
    refused(xfeat("eval", trained, "--relevance", "exact"), "protocol category")


def test_the_runs_own_rule_of_relevance(xfeat: Xfeat, tmp_path: Path) -> None:
    caches = [multi_label_blobs(name).write(tmp_path / name).path for name in ("image", "text")]
    run = tmp_path / "run"
    assert xfeat("train", "drcl", *caches, "--out", run, *QUICK, "--set", "relevance=exact")[0] == 0
    assert "relevant: exactly the same classes" in xfeat("eval", run)[1]
    assert "relevant: at least one class shared" in xfeat("eval", run, "--relevance", "any")[1]


def test_classes_that_a_modality_lacks(xfeat: Xfeat, tmp_path: Path) -> None:
    text = replace(blobs("text"), classes=("bee", "cow", "dog"))
    caches = [blobs("image").write(tmp_path / "image").path, text.write(tmp_path / "text").path]
    run = tmp_path / "run"
    assert xfeat("train", "drcl", *caches, "--out", run, *QUICK)[0] == 0
    code, out, err = xfeat("eval", run, "--json", tmp_path / "e.json")
    assert (code, err) == (0, "")
    assert "  classes without training rows: image 1 (dog); text 1 (ant)\n" in out
    assert "queries without a relevant item left out of the means:" in out
    document = json.loads((tmp_path / "e.json").read_text())
    assert document["protocol"]["unsupported"] == {"image->text": ["ant", "dog"], "text->image": ["ant", "dog"]}
    tested = np.array(blobs("image").split) == "test"
    ants = int((blobs("image").labels[tested] == 0).sum())
    assert document["pairs"]["image->text"]["without_relevant"] == ants


def test_rows_of_classes_that_the_run_does_not_know(xfeat: Xfeat, tmp_path: Path) -> None:
    caches = [blobs(name).write(tmp_path / name).path for name in ("image", "text")]
    run = tmp_path / "run"
    assert xfeat("train", "drcl", *caches, "--out", run, *QUICK)[0] == 0
    shutil.rmtree(caches[0])
    grown = replace(blobs("image"), classes=("ant", "bee", "cow", "dog"), labels=blobs("image").labels + 1)
    grown.write(caches[0])
    tested = np.array(grown.split) == "test"
    dogs = int((grown.labels[tested] == 3).sum())
    code, out, err = xfeat("eval", run, "--allow-changed", "--json", tmp_path / "e.json")
    assert code == 0
    assert err == f"note: {dogs} rows of image left out, of 1 class that the run does not know: dog\n"
    document = json.loads((tmp_path / "e.json").read_text())
    assert document["protocol"]["unknown"] == {"image": {"rows": dogs, "classes": ["dog"]}}
    assert document["protocol"]["unsupported"] == {}
    assert document["pairs"]["image->text"]["queries"] == int(tested.sum()) - dogs
    assert "training rows" not in out


def test_features_as_they_are(xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path) -> None:
    twin = replace(blobs("image"), modality="twin").write(tmp_path / "twin").path
    code, out, _ = xfeat("eval", "--raw", caches["image"], twin)
    assert code == 0
    assert "image->twin" in out
    typo = replace(blobs("image"), modality="typo", classes=("ant", "Bee", "cow")).write(tmp_path / "typo").path
    err = xfeat("eval", "--raw", caches["image"], typo)[2]
    assert err == "note: class 'bee' of image and 'Bee' of typo count as two classes\n"
    refused(xfeat("eval", "--raw", caches["image"], caches["text"]), "12", "7")
    refused(xfeat("eval", "--raw", caches["image"]), "two modalities")
    refused(xfeat("eval", caches["image"], caches["text"]), "add --raw")


def test_bad_input_is_one_line(xfeat: Xfeat, caches: dict[str, Path], trained: Path, tmp_path: Path) -> None:
    refused(xfeat("eval", tmp_path / "no"), "does not exist: not a run")
    refused(xfeat("eval", caches["image"]), "has no config.yaml: not a run")
    refused(xfeat("eval", trained, "--split", "dev"), "no rows in split 'dev'", "splits there: test, train")
    refused(xfeat("eval", trained, "--protocol", "cuhk"), "unknown protocol cuhk")
    refused(xfeat("eval", trained, "--device", "abacus"), "choose auto, cpu, cuda")
    refused(xfeat("eval", trained, "--json", tmp_path / "no" / "e.json"), "does not exist")
    refused(xfeat("eval", trained, "--json", tmp_path), "folder")
    alone = tmp_path / "alone"
    xfeat("train", "drcl", caches["image"], "--out", alone, *QUICK)
    refused(xfeat("eval", alone), "two modalities")


def test_a_run_and_its_caches_must_still_belong_together(xfeat: Xfeat, tmp_path: Path) -> None:
    caches = [blobs(name).write(tmp_path / name).path for name in ("image", "text")]
    run = tmp_path / "run"
    assert xfeat("train", "drcl", *caches, "--out", run, *QUICK)[0] == 0
    branch = run / "branches" / "text.safetensors"
    whole = branch.read_bytes()
    branch.write_bytes(whole[:100])
    refused(xfeat("eval", run), "text.safetensors is not a whole safetensors file")
    branch.write_bytes(whole)
    shutil.rmtree(caches[0])
    refused(xfeat("eval", run), f"the cache of image is no longer at {caches[0]}")
    turned = {"train": "test", "test": "train"}
    swapped = replace(blobs("image"), split=[turned[name] for name in blobs("image").split])
    swapped.write(caches[0])
    refused(xfeat("eval", run), "was rewritten since run was trained", "--allow-changed")
    assert xfeat("eval", run, "--allow-changed")[0] == 0
    shutil.rmtree(caches[0])
    replace(blobs("image"), backbone="other blobs").write(caches[0])
    refused(xfeat("eval", run), "was made anew since run was trained")


def test_numbers_that_any_ranking_gives_are_told(xfeat: Xfeat, trained: Path) -> None:
    told = "any ranking would give these numbers"
    assert told in xfeat("eval", trained, "--classes", "ant")[1]
    assert told not in xfeat("eval", trained)[1]
