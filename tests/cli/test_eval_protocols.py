"""``xfeat eval`` by instances, zero-shot, on chosen classes and on other caches."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cli.asking import refused
from tests.cli.conftest import Xfeat
from tests.evaluation.pairs import QUICK, WIDTHS, paired, write_paired
from tests.training.building import TINY
from xfeat.cli.eval_text import short_pairs
from xfeat.training.drcl import train as train_drcl
from xfeat.training.group import member_path, write_group
from xfeat.training.sspc import train

SEEN = ["ant", "bee", "cow"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Paired caches, and runs on them: DRCL, all classes, some classes, and a group of seeds; to read only."""
    folder = tmp_path_factory.mktemp("pairs")
    torch.set_num_threads(1)
    caches = write_paired(folder, "image", "text", "audio")
    train_drcl(caches[:2], folder / "drcl", TINY)
    train(caches, folder / "whole", QUICK)
    train(caches[:2], folder / "some", QUICK.model_copy(update={"classes": SEEN}))
    for seed in (0, 1):
        train(caches[:2], member_path(folder / "group", seed), QUICK, seed=seed)
    write_group(folder / "group", [0, 1], "sspc")
    return folder


def document_of(xfeat: Xfeat, *words: object) -> dict[str, Any]:
    code, out, err = xfeat("eval", *words, "--json", "-")
    assert code == 0, err
    return json.loads(out)


def counts_of(out: str) -> dict[str, tuple[str, str]]:
    """Queries that the means are over, and gallery items, by pair."""
    rows = [line.split() for line in out.splitlines() if "->" in line]
    return {row[0]: (row[-2], row[-1]) for row in rows if row[0] in ("image->text", "text->image") and "of" not in row}


def fits(out: str) -> bool:
    return max(len(line) for line in out.splitlines() if not line.startswith("  on ")) <= 80


def test_instances_are_the_protocol_of_a_run_on_pairs(xfeat: Xfeat, folder: Path, tmp_path: Path) -> None:
    code, out, err = xfeat("eval", folder / "whole", "--json", tmp_path / "e.json")
    assert (code, err) == (0, "")
    document = json.loads((tmp_path / "e.json").read_text())
    assert list(document) == ["protocol", "seconds", "pairs", "mean", "weights"]
    stated = document["protocol"]
    assert (stated["name"], stated["missing"], stated["split"], stated["weights"]) == (
        "instance",
        "skip",
        "test",
        "ema",
    )
    assert set(document["pairs"]) == {f"{a}->{b}" for a in WIDTHS for b in WIDTHS if a != b}
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith("  ")}
    for pair, one in document["pairs"].items():
        assert rows[pair] == [
            *(f"{one[name]:.3f}" for name in ("R@1", "R@5", "R@10")),
            f"{one['MedR']:.1f}",
            "32",
            "32",
        ]
    assert rows["chance"] == ["0.031", "0.156", "0.312", "16.5"]
    mean = document["mean"]
    assert rows["mean"] == [*(f"{mean[name]:.3f}" for name in ("R@1", "R@5", "R@10")), f"{mean['MedR']:.1f}"]
    assert "missing=skip: queries without an item of their key in the gallery are left out" in " ".join(out.split())
    assert "R@K: probability that a relevant item is among the first K (hit rate, success)" in " ".join(out.split())
    assert fits(out.rsplit("\n", 2)[0])


def test_both_sets_of_weights_are_told(xfeat: Xfeat, folder: Path) -> None:
    run = folder / "whole"
    both = document_of(xfeat, run)["weights"]
    assert both["kept"] == "ema"
    alone = {kind: document_of(xfeat, run, "--weights", kind) for kind in ("raw", "ema")}
    assert all("weights" not in one for one in alone.values())
    assert {kind: both[kind] for kind in alone} == {kind: one["mean"] for kind, one in alone.items()}
    assert both["raw"] != both["ema"]
    out = " ".join(xfeat("eval", run)[1].split())
    assert f"EMA weights: R@1 {both['ema']['R@1']:.3f}, R@5" in out
    assert f"raw weights: R@1 {both['raw']['R@1']:.3f}, R@5" in out
    assert "(above: ema)" in out
    refused(xfeat("eval", run, "--weights", "best"), "--weights best: choose kept, raw or ema")
    refused(xfeat("eval", folder / "drcl", "--weights", "raw"), "keeps one set of weights")


def test_a_group_of_seeds_by_instances(xfeat: Xfeat, folder: Path) -> None:
    document = document_of(xfeat, folder / "group")
    assert list(document) == ["protocol", "seconds", "pairs", "mean", "spread", "seeds", "members", "weights"]
    alone = [document_of(xfeat, folder / "group" / f"seed{seed}") for seed in (0, 1)]
    values = [one["mean"]["MedR"] for one in alone]
    assert document["mean"]["MedR"] == pytest.approx(np.mean(values))
    assert document["spread"]["mean"]["MedR"] == pytest.approx(np.std(values, ddof=1))
    assert document["weights"]["raw"]["R@1"] == pytest.approx(np.mean([one["weights"]["raw"]["R@1"] for one in alone]))
    out = xfeat("eval", folder / "group")[1]
    assert "2 seeds, mean +- standard deviation: 0, 1" in out
    assert [line.split()[0] for line in out.splitlines()[3:10]] == [
        *("image->text", "+-", "text->image", "+-"),
        "-" * len(out.splitlines()[2].strip()),
        *("mean", "+-"),
    ]
    assert fits(out)


def test_missing_items_are_left_out_or_missed(xfeat: Xfeat, folder: Path, tmp_path: Path) -> None:
    keep = [row for row in range(96) if row % 6]  # every second test row of text is missing
    on = ["--on", folder / "image", "--on", paired("text").rows(keep).write(tmp_path / "text").path]
    skipped = document_of(xfeat, folder / "whole", *on)["pairs"]
    missed = document_of(xfeat, folder / "whole", *on, "--missing", "miss")["pairs"]
    assert [skipped["image->text"][name] for name in ("queries", "gallery", "without_relevant", "missed")] == [
        32,
        16,
        16,
        0,
    ]
    assert [missed["text->image"][name] for name in ("queries", "gallery", "without_relevant", "missed")] == [
        16,
        32,
        0,
        16,
    ]
    for pair in skipped:
        assert missed[pair]["R@1"] == pytest.approx(skipped[pair]["R@1"] / 2)
    code, out, _ = xfeat("eval", folder / "whole", *on, "--missing", "miss")
    assert code == 0
    assert "  32 queries count as misses:\n    image->text 16 of 32, text->image 16 of 32" in out
    assert counts_of(out) == {"image->text": ("32", "16"), "text->image": ("32", "32")}
    out = xfeat("eval", folder / "whole", *on)[1]
    assert counts_of(out) == {"image->text": ("16", "16"), "text->image": ("16", "32")}
    assert "  16 queries without a relevant item left out of the means:\n    image->text 16 of 32" in out
    refused(xfeat("eval", folder / "whole", "--missing", "drop"), "unknown missing 'drop'")
    refused(xfeat("eval", folder / "whole", "--protocol", "category", "--missing", "miss"), "is for protocol instance")


def test_modalities_of_a_run(xfeat: Xfeat, folder: Path) -> None:
    everything = document_of(xfeat, folder / "whole")["pairs"]
    some = document_of(xfeat, folder / "whole", "--modalities", "text, image")["pairs"]
    assert some == {pair: one for pair, one in everything.items() if "audio" not in pair}
    assert list(some) == ["image->text", "text->image"]
    compared = ("compare", folder / "whole", folder / "drcl", "--protocol", "instance", "--resamples", 99)
    refused(xfeat(*compared), "image, text", "name those that all have with --modalities")
    assert xfeat(*compared, "--modalities", "image,text")[0] == 0
    refused(xfeat("eval", folder / "whole", "--modalities", "sound"), "has no modality 'sound': there is image, text")
    refused(xfeat("eval", folder / "whole", "--modalities", "text,text"), "name modalities with commas between")
    refused(xfeat("eval", "--raw", folder / "image", "--modalities", "image"), "name the caches themselves")


def test_instances_of_a_run_on_labels_and_of_raw_features(xfeat: Xfeat, folder: Path, tmp_path: Path) -> None:
    assert document_of(xfeat, folder / "drcl")["protocol"]["name"] == "category"
    document = document_of(xfeat, folder / "drcl", "--protocol", "instance")
    assert document["protocol"]["name"] == "instance"
    assert document["pairs"]["image->text"]["R@1"] > document["pairs"]["image->text"]["chance R@1"]
    twin = replace(paired("image"), modality="twin").write(tmp_path / "twin").path
    raw = document_of(xfeat, "--raw", folder / "image", twin, "--protocol", "instance")
    assert raw["mean"]["R@1"] == 1.0
    refused(xfeat("eval", folder / "whole", "--relevance", "any"), "this is protocol instance")


def test_classes_seen_and_unseen(xfeat: Xfeat, folder: Path) -> None:
    code, out, _ = xfeat("eval", folder / "some", "--classes", "unseen")
    assert code == 0
    assert "  1 unseen class: dog" in out
    unseen, seen = (document_of(xfeat, folder / "some", "--classes", word) for word in ("unseen", "seen"))
    assert unseen["protocol"]["classes"] == ["dog"]
    assert seen["protocol"]["classes"] == SEEN
    assert (unseen["pairs"]["image->text"]["gallery"], seen["pairs"]["image->text"]["gallery"]) == (8, 24)
    named = document_of(xfeat, folder / "some", "--classes", "dog")
    assert named["pairs"] == unseen["pairs"]
    refused(xfeat("eval", folder / "whole", "--classes", "unseen"), "the run saw all 4 classes")
    refused(xfeat("eval", folder / "whole", "--classes", "elk"), "'elk' is no class of the caches")
    refused(xfeat("eval", "--raw", folder / "image", "--classes", "seen"), "needs a run")


def test_other_caches(xfeat: Xfeat, folder: Path, tmp_path: Path) -> None:
    others = [paired(name, instances=30, seed=9).write(tmp_path / name).path for name in ("image", "text")]
    code, out, _ = xfeat("eval", folder / "whole", "--on", others[0], "--on", others[1])
    assert code == 0
    assert f"  on {others[0]}" in out
    document = document_of(xfeat, folder / "whole", "--on", others[0], "--on", others[1])
    assert document["protocol"]["on"] == [str(path) for path in others]
    assert document["pairs"]["image->text"]["gallery"] == 10
    refused(xfeat("eval", folder / "whole", "--on", others[0]), "needs two modalities or more")
    remade = replace(paired("text"), fingerprint={"backbone": "new"}).write(tmp_path / "remade").path
    refused(xfeat("eval", folder / "whole", "--on", others[0], "--on", remade), "backbone: 'pairs' -> 'new'")
    refused(xfeat("eval", "--raw", others[0], "--on", others[1]), "with --raw, name the caches themselves")


def test_zero_shot_by_class_means_and_by_prompts(xfeat: Xfeat, folder: Path, tmp_path: Path) -> None:
    code, out, err = xfeat("eval", folder / "some", "--protocol", "zero-shot")
    assert (code, err) == (0, "")
    assert "prototypes: class means of all labelled train rows, those of unseen classes too" in " ".join(out.split())
    assert fits(out)
    document = document_of(xfeat, folder / "some", "--protocol", "zero-shot", "--means-from", "train")
    pair = document["pairs"]["image->text"]
    assert (pair["queries"], pair["gallery"], pair["chance top-1"]) == (32, 4, 0.25)
    assert pair["top-1"] > 0.25
    row = next(line.split() for line in out.splitlines() if line.startswith("  image->text"))
    assert row[1:] == [*(f"{pair[name]:.3f}" for name in ("top-1", "top-5", "per-class")), "32", "4"]
    unseen = document_of(xfeat, folder / "some", "--protocol", "zero-shot", "--classes", "unseen")
    assert (unseen["pairs"]["text->image"]["queries"], unseen["pairs"]["text->image"]["gallery"]) == (8, 1)
    prompts = replace(paired("text").rows(range(9)), keys=None).write(tmp_path / "prompts").path
    prompted = document_of(xfeat, folder / "whole", "--protocol", "zero-shot", "--prompts", prompts)
    assert set(prompted["pairs"]) == {"image->text", "audio->text"}
    assert prompted["pairs"]["image->text"]["gallery"] == 3
    assert prompted["pairs"]["image->text"]["without_relevant"] == 8
    raw = document_of(xfeat, "--raw", folder / "image", "--protocol", "zero-shot", "--prompts", twin(tmp_path))
    assert raw["pairs"]["image->words"]["top-1"] > 0.25
    refused(xfeat("eval", folder / "whole", "--prompts", prompts), "--prompts is for --protocol zero-shot")
    refused(xfeat("eval", folder / "whole", "--protocol", "zero-shot", "--means-from", "dev"), "no rows in split 'dev'")


def twin(folder: Path) -> Path:
    return replace(paired("image").rows(range(12)), modality="words").write(folder / "words").path


def test_six_modalities_of_long_names_fit(xfeat: Xfeat, tmp_path: Path) -> None:
    names = [f"a_modality_with_a_rather_long_name_{number}" for number in range(6)]
    paths = [replace(paired("image"), modality=name).write(tmp_path / name).path for name in names]
    code, out, _ = xfeat("eval", "--raw", *paths, "--protocol", "instance")
    assert code == 0
    rows = {line.split()[0]: line.split()[-1] for line in out.splitlines() if "->" in line.split()[0]}
    assert set(rows) == {f"{one}->{other}" for one in range(1, 7) for other in range(1, 7) if one != other} | {
        "query->gallery"
    }
    assert [line for line in out.splitlines() if line.startswith("  3: ")] == [f"  3: {names[2]}"]
    assert fits(out)
    code, out, _ = xfeat("eval", "--raw", *paths)
    assert code == 0
    assert f"  6: {names[5]}" in out.splitlines()
    assert fits(out)


def test_long_names_are_cut_while_they_can_be_told_apart() -> None:
    whole, none = short_pairs(["image->text", "text->image"], 11)
    assert (whole, none) == ({"image->text": "image->text", "text->image": "text->image"}, [])
    cut, none = short_pairs(["photographs->text", "text->photographs"], 14)
    assert (cut, none) == ({"photographs->text": "pho...->text", "text->photographs": "text->pho..."}, [])
    numbered, legend = short_pairs(["photographs->photos_two", "photos_two->photographs"], 14)
    assert numbered == {"photographs->photos_two": "1->2", "photos_two->photographs": "2->1"}
    assert legend == ["  1: photographs", "  2: photos_two"]


def test_a_place_for_json_is_refused_before_anything_is_printed(xfeat: Xfeat, folder: Path) -> None:
    for command in (("eval", folder / "whole"), ("domains", folder / "some"), ("anchors", "show", folder / "whole")):
        result = xfeat(*command, "--json", folder)
        refused(result, "is a folder: name a file in it")
        assert result[1] == ""
