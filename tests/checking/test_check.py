import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checking.planting import Field, clean, keys, kinds
from xfeat.cache import FeatureCache
from xfeat.checking.check import check_caches, quick_check
from xfeat.checking.report import CheckSettings, Report
from xfeat.errors import InputError

PLANTED = {
    ("leak", "split-instances"),
    ("leak", "duplicates"),
    ("leak", "near-duplicates"),
    ("warning", "equal-features"),
    ("warning", "conflicting-labels"),
    ("warning", "untrained-classes"),
    ("warning", "zero-rows"),
    ("warning", "dominant-dimension"),
    ("note", "constant-dimensions"),
    ("note", "label-suspects"),
    ("note", "unlabelled"),
    ("note", "missing-classes"),
}


def planted() -> list[Field]:
    """A picture and a text of every instance, and something of everything."""
    image, text = clean("image", rows=120), clean("text", rows=120, dim=9)
    image.pair = [f"p{row}" for row in range(120)]
    text.pair = list(image.pair)
    train, test, val = image.of("train"), image.of("test"), image.of("val")
    image.features[test[0]] = image.features[train[0]]
    image.features[test[1]] = image.features[train[2]] * np.float32(1.001)
    image.features[:, 3] = 7
    image.features[val[0]] = 0
    image.labels[test[0]] = 1
    image.labels[train[9]] = (image.labels[train[9]] + 1) % 3
    image.labels[test[2]] = -1
    image.labels[test[3]] = 3
    image.classes = (*image.classes, "dodo")
    text.split[train[5]] = "test"
    text.content = keys(120)
    text.features[test[4]] = text.features[train[4]]
    text.features[:, 2] *= 1e3
    return [image, text]


def write(fields: list[Field], folder: Path) -> list[FeatureCache]:
    return [field.write(folder) for field in fields]


def test_every_planted_fault_is_found(tmp_path: Path) -> None:
    report = check_caches(write(planted(), tmp_path))
    assert set(kinds(report.findings)) == PLANTED
    severities = [finding.severity for finding in report.findings]
    assert severities == sorted(severities, key=("leak", "warning", "note").index)
    assert report.count("leak") == 3
    assert report.sampled == ()
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["findings"][0]["kind"] == "split-instances"
    assert document["caches"][0]["splits"] == {"train": 60, "val": 20, "test": 40}


def test_clean_caches_have_no_findings(tmp_path: Path) -> None:
    caches = write([clean("image"), clean("text"), clean("audio", dim=30)], tmp_path)
    assert check_caches(caches).findings == ()
    assert quick_check(caches) == ()


def told(report: Report) -> tuple[object, ...]:
    return report.caches, report.findings, report.sampled


@given(seed=st.integers(0, 2**16), rows=st.sampled_from([30, 1000]))
@settings(max_examples=4)
def test_the_order_of_rows_changes_nothing(tmp_path_factory: pytest.TempPathFactory, seed: int, rows: int) -> None:
    fields, rng = planted(), np.random.default_rng(seed)
    shuffled = [field.shuffled(rng.permutation(120)) for field in fields]
    reports = []
    for some in (fields, shuffled):
        report = check_caches(write(some, tmp_path_factory.mktemp("order")), CheckSettings(rows=rows))
        document = report.to_json()
        for finding in document["findings"]:
            if finding["kind"] == "dominant-dimension":
                finding["counts"]["share"] = pytest.approx(finding["counts"]["share"], rel=1e-12)
        reports.append(document)
    assert reports[1] == reports[0]


def test_a_sample_is_stated(tmp_path: Path) -> None:
    report = check_caches(write([clean()], tmp_path), CheckSettings(rows=20))
    assert report.sampled == (
        "image: 20 of 30 training rows and 5 of 30 val and test rows were looked at for near duplicates and "
        "doubtful labels",
    )


def test_two_caches_of_a_modality_go_by_their_folders_and_one_twice_is_refused(tmp_path: Path) -> None:
    one, other = clean().write(tmp_path / "a"), clean(seed=1).write(tmp_path / "b")
    assert [cache.cache for cache in check_caches([one, other]).caches] == [str(one.path), str(other.path)]
    with pytest.raises(InputError, match="given twice"):
        check_caches([one, FeatureCache(tmp_path / "b" / ".." / "a" / "image")])


def test_splits_may_be_missing(tmp_path: Path) -> None:
    for name in ("train", "test", "spare"):
        field = clean(name)
        field.split = [name] * 60
        assert check_caches([field.write(tmp_path)]).findings == ()


def test_a_quick_check_tells_leaks_and_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = planted()
    train, test = fields[1].of("train"), fields[1].of("test")
    fields[1].content[test[7]] = fields[1].content[train[7]]
    caches = write(fields, tmp_path)
    assert set(kinds(quick_check(caches))) == {
        ("leak", "split-instances"),
        ("leak", "duplicates"),
        ("leak", "near-duplicates"),
        ("warning", "equal-features"),
        ("warning", "zero-rows"),
        ("warning", "dominant-dimension"),
    }
    monkeypatch.setattr("xfeat.checking.check.QUICK_WORK", 0)
    assert ("leak", "near-duplicates") not in kinds(quick_check(caches))
    monkeypatch.setattr("xfeat.checking.check.QUICK_BYTES", 0)
    for cache in caches:  # features are not even opened
        monkeypatch.setattr(cache, "features", None)
    assert kinds(quick_check(caches)) == [("leak", "split-instances"), ("leak", "duplicates")]
    monkeypatch.setattr("xfeat.checking.check.QUICK_ROWS", 0)
    assert quick_check(caches) == ()


def test_what_cannot_be_trained_on_is_left_to_training(tmp_path: Path) -> None:
    untrained, still = clean("untrained"), clean("still")
    untrained.split = ["test" if split == "train" else split for split in untrained.split]
    untrained.pair = [f"p{row // 2}" for row in range(60)]
    still.features[:] = 1
    assert quick_check(write([untrained], tmp_path)) == ()
    assert quick_check(write([still], tmp_path)) == ()
