"""What each section says, against the documents it is made of."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.building import Blobs, blobs, multi_label_blobs
from xfeat.cache import FeatureCache
from xfeat.evaluation.embedded import Embedded
from xfeat.report.about import about
from xfeat.report.blocks import BarGrid, Facts, Pictures, Section, Table
from xfeat.report.curves import curves
from xfeat.report.gap import gap
from xfeat.report.maps import _by_class, maps
from xfeat.report.retrieval import retrieval
from xfeat.report.subject import Subject, open_subject
from xfeat.training.asked import Asked
from xfeat.training.embedding import Embeddings
from xfeat.training.gaps import Looked, run_gaps

CPU, TEST = torch.device("cpu"), Asked("test")


def tables(section: Section) -> list[Table]:
    return [block for block in section.blocks if isinstance(block, Table)]


def pictures(section: Section) -> list[Pictures]:
    return [block for block in section.blocks if isinstance(block, Pictures)]


def found_in(caches: list[FeatureCache]) -> Embeddings:
    """The test rows of caches, as if they had been evaluated."""
    blocks = {cache.manifest.modality: cache.load(("test",)) for cache in caches}
    items = {name: Embedded(block.features, block.labels) for name, block in blocks.items()}
    return Embeddings(items=items, ids={name: block.ids for name, block in blocks.items()})


def test_about_names_what_decided_the_numbers(subject: Subject) -> None:
    section = about(subject)
    facts = dict(item for block in section.blocks if isinstance(block, Facts) for item in block.items)
    assert facts["method"].startswith("drcl: ")
    assert (facts["seed"], facts["classes"]) == ("0", "3")
    assert f"torch {torch.__version__}" in facts["versions"]
    features, branches, changed = tables(section)
    assert [row[0] for row in features.rows] == [row[0] for row in branches.rows] == ["image", "text"]
    image = dict(zip(features.header, features.rows[0], strict=True))
    source = subject.config.modalities["image"]
    assert (image["backbone"], image["weights"], image["rows"], image["dim"]) == ("blobs", "none", "60", "12")
    assert (image["fingerprint"], image["content"]) == (source.fingerprint[:12], source.content[:12])
    assert not image["cache"].startswith("/")
    assert dict(zip(branches.header, branches.rows[0], strict=True))["out"] == "12"
    assert ["hidden", "16", "by size"] in changed.rows
    assert all(value != default for _, value, default in changed.rows)
    (folded,) = [block for block in section.blocks if isinstance(block, Facts) and block.folded]
    assert dict(folded.items)["batch_size"] == "16"


def test_about_survives_a_cache_that_is_gone(trained: Path, subject: Subject, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    config = (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(config.replace("caches", "gone"))
    lost = replace(subject, path=tmp_path / "run", runs={0: tmp_path / "run"})
    lost = replace(lost, config=lost.first.load_config())
    assert [row[1:3] for row in tables(about(lost))[0].rows] == [["–", "–"], ["–", "–"]]


def test_about_lists_the_members_of_a_group(group: Path) -> None:
    facts = dict(about(open_subject(group, TEST, CPU)).blocks[0].items)
    assert (facts["seeds"], facts["runs"], facts["pictures and curves of"]) == ("3, 5", "seed3, seed5", "seed3")


def test_retrieval_says_what_its_numbers_leave_out(subject: Subject) -> None:
    answer = subject.answer
    pairs = {
        **answer.document["pairs"],
        "image->text": {**answer.document["pairs"]["image->text"], "without_relevant": 7},
    }
    found = replace(answer.found, untrained={"image": [], "text": ["cow"]}, unlabelled={"image": 3, "text": 0})
    told = replace(answer, found=found, document={**answer.document, "pairs": pairs})
    assert list(retrieval(subject).notes) == []
    assert list(retrieval(replace(subject, answer=told)).notes) == [
        "3 rows of image without a label are left out",
        "image → text: 7 of 20 queries have no relevant item and are left out of the means",
        "text has no training rows of 1 class: cow",
        "so retrieval from or to text is unsupported for it",
    ]


def test_retrieval_is_the_evaluation(subject: Subject, group: Path) -> None:
    section = retrieval(subject)
    document = subject.answer.document
    (table,) = tables(section)
    assert [row[0] for row in table.rows] == ["image → text", "text → image"]
    numbers = dict(zip(table.header, table.rows[0], strict=True))
    for name in ("mAP@all", "mAP@50"):
        assert numbers[name] == f"{document['pairs']['image->text'][name]:.3f}"
    assert (numbers["queries"], numbers["gallery"]) == ("20", "20")
    assert table.last[0][1] == f"{document['mean']['mAP@all']:.3f}"
    assert table.last[1][1] == f"{document['mean']['chance mAP@all']:.3f}"
    several = open_subject(group, TEST, CPU)
    (table,) = tables(retrieval(several))
    mean, spread = several.answer.document["mean"]["mAP@all"], several.answer.document["spread"]["mean"]["mAP@all"]
    assert table.last[0][1] == f"{mean:.3f} ± {spread:.3f}"


def test_the_gap_has_a_bar_per_stage(causal: Path) -> None:
    subject = open_subject(causal, TEST, CPU)
    section = gap(subject)
    stages = run_gaps(causal, TEST, subject.answer.found, CPU).to_json()["stages"]
    (grid,) = [block for block in section.blocks if isinstance(block, BarGrid)]
    assert len(grid.items) == 4
    for bars, name in zip(grid.items, ("centroid_distance", "separability", "auc", "overlap"), strict=True):
        assert [bar.name for bar in bars.bars] == list(stages)
        low, high = float(bars.low), float(bars.high)
        for bar, stage in zip(bars.bars, stages.values(), strict=True):
            value = stage["mean"][name]
            assert bar.text == f"{value:.3f}"
            assert bar.length == pytest.approx(min(1, max(0, (value - low) / (high - low))))
        assert bars.mark == pytest.approx((float(bars.marked.split(", ")[1]) - low) / (high - low))
    (table,) = tables(section)
    assert [row[0] for row in table.rows] == list(stages)
    assert table.last == [["no gap", "", "0.000", "0.500", "0.500", "1.000", ""]]


def test_a_gap_that_cannot_be_measured_is_said(subject: Subject) -> None:
    items = subject.answer.found.items
    apart = {name: replace(one, labels=np.full(len(one.vectors), n)) for n, (name, one) in enumerate(items.items())}
    found = replace(subject.answer.found, items=apart)
    section = gap(replace(subject, answer=replace(subject.answer, found=found)))
    assert section.blocks == ()
    assert "share a class" in section.notes[0]


def test_a_row_of_several_classes_has_the_colour_of_the_first(tmp_path: Path) -> None:
    cache = multi_label_blobs("image").write(tmp_path / "image")
    looked = Looked(cache, cache.load(("test",)), None, None)
    assert max(map(len, looked.classes)) == 2
    colours, keys = _by_class({"image": looked})
    names = {key.colour: key.name for key in keys}
    assert [names[colour] for colour in colours] == [own[0] for own in looked.classes]
    last = replace(looked, block=replace(looked.block, labels=looked.block.labels & ~np.array([1, 0, 0], np.uint8)))
    assert [key.name for key in _by_class({"image": last})[1]] == ["bee", "cow", "no class"]


def test_maps_show_each_stage_by_modality_and_by_class(causal: Path) -> None:
    section = maps(open_subject(causal, TEST, CPU), most=20)
    by_modality, by_class = pictures(section)
    assert [key.name for key in by_modality.keys] == ["image", "text"]
    assert [key.name for key in by_class.keys] == ["ant", "bee", "cow"]
    for block in (by_modality, by_class):
        assert len(block.items) == 4  # two stages by two projections
        assert len({picture.title.split(",")[0] for picture in block.items}) == 2
        for picture in block.items:
            assert str(picture.svg).count("h.1") == 20  # ten of each modality
    assert "10 of image, 10 of text" in section.lead[0]


def test_the_ten_most_frequent_classes_have_colours(tmp_path: Path, subject: Subject) -> None:
    names = tuple(f"kind {number:02d}" for number in range(13))
    labels = np.concatenate([np.arange(13), np.arange(2, 12)])
    rng = np.random.default_rng(0)
    made: list[FeatureCache] = []
    for modality, width in (("image", 12), ("text", 7)):
        features = rng.normal(size=(23, width)).astype(np.float32)
        made.append(Blobs(modality, features, labels, ["test"] * 23, names).write(tmp_path / modality))
    asked = Asked("test", on=made)
    answer = replace(subject.answer, found=found_in(made))
    section = maps(replace(subject, asked=asked, answer=answer))
    keys = pictures(section)[1].keys
    assert [key.name for key in keys] == [*names[2:12], "3 other classes"]
    assert [key.colour for key in keys] == [*range(10), -1]
    assert 'class="grey"' in str(pictures(section)[1].items[0].svg)


def test_classes_are_shown_where_the_protocol_needs_none(paired: Path) -> None:
    subject = open_subject(paired, TEST, CPU)
    assert [key.name for key in pictures(maps(subject, most=24))[1].keys] == ["ant", "bee & <b>"]
    (table,) = tables(retrieval(subject))
    assert table.header[1:6] == ["R@1", "R@5", "R@10", "R@50", "MedR"]


def test_rows_without_classes_are_coloured_by_modality_alone(tmp_path: Path, subject: Subject) -> None:
    made = [replace(blobs(name, rows=12), labels=None).write(tmp_path / name) for name in ("image", "text")]
    answer = replace(subject.answer, found=found_in(made))
    section = maps(replace(subject, asked=Asked("test", on=made), answer=answer))
    assert [block.title for block in pictures(section)] == ["Coloured by modality"]


def test_curves_are_those_of_the_log(subject: Subject) -> None:
    section = curves(subject)
    assert section is not None
    rows = [json.loads(line) for line in subject.first.log_file.read_text().splitlines()]
    for stage in ("spl", "rsc"):
        (block,) = [one for one in pictures(section) if one.title == f"Stage {stage}"]
        loss = next(picture for picture in block.items if picture.title == "train loss")
        own = [row["train_loss"] for row in rows if (row["stage"], row["modality"]) == (stage, "text")]
        assert f"text {own[0]:.4g} to {own[-1]:.4g}" in loss.says
        assert str(loss.svg).count('class="line') == 2
        assert [key.name for key in block.keys] == ["image", "text"]


def test_a_log_that_is_torn_or_gone_is_no_hindrance(trained: Path, subject: Subject, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    elsewhere = replace(subject, runs={0: run})
    assert curves(elsewhere) is None
    torn = '{"modality": "image", "stage": "spl", "epoch": 1, "train_loss": 0.5, "q": NaN}\n[1]\n{"moda'
    (run / "log.jsonl").write_text(torn)
    section = curves(elsewhere)
    assert section is not None
    assert [picture.title for picture in pictures(section)[0].items] == ["train loss"]


def test_a_score_that_is_the_epoch_is_not_drawn(subject: Subject, tmp_path: Path) -> None:
    lines = [
        {"modality": "image", "stage": "rsc", "epoch": epoch, "val_score": epoch - 1, "val_loss": 1 / epoch}
        for epoch in (1, 2, 3)
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    section = curves(replace(subject, runs={0: tmp_path}))
    assert section is not None
    assert [picture.title for picture in pictures(section)[0].items] == ["val loss"]
