"""Small backbones of the tests' own that encode real files; every run writes and reads a real cache."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from xfeat.cache import OK, Columns, FeatureCache
from xfeat.errors import InputError, SampleError
from xfeat.extraction.pipeline import ExtractionInterrupted, extract
from xfeat.extraction.report import Reason
from xfeat.samples.manifest import Samples


class Numbers:
    """A file holds a number x; its feature is (x, x * x)."""

    kind, name, dim = "image", "test:numbers", 2

    def __init__(self, *, interrupt_at: int | None = None, raise_at: int | None = None, version: int = 1) -> None:
        self.interrupt_at, self.raise_at, self.version = interrupt_at, raise_at, version
        self.encoded: list[int] = []
        self.truncated = 7  # from earlier work

    def fingerprint(self) -> dict[str, Any]:
        return {"backbone": self.name, "version": self.version}

    def load(self, source: Path | str) -> int:
        text = Path(source).read_text()
        if len(text) > 4:
            self.truncated += 1
        try:
            return int(text[:4])
        except ValueError:
            raise SampleError("not a number") from None

    def encode(self, items: Sequence[int]) -> NDArray[np.float32]:
        if self.interrupt_at in items:
            raise KeyboardInterrupt
        if self.raise_at in items:
            raise RuntimeError("a bug in the backbone")
        self.encoded += items
        return np.array([[x, x * x] for x in items], np.float32)


def make(root: Path, contents: Sequence[str | None]) -> Samples:
    for row, content in enumerate(contents):
        if content is not None:
            (root / f"{row}.txt").write_text(content)
    names = [f"{row}.txt" for row in range(len(contents))]
    labels = np.arange(len(names)) % 2
    return Samples(Columns(names, ["train"] * len(names), ["even", "odd"], labels), names, root, 3, "image")


def run(samples: Samples, backbone: Numbers, out: Path, **settings: Any) -> Any:
    return extract(samples, backbone, out, modality="image", **{"dtype": "float32", "shard_rows": 4, **settings})


@given(
    contents=st.lists(st.sampled_from(["1", "2", "30", "x", "", None]), min_size=1, max_size=13),
    batch_size=st.integers(1, 6),
    workers=st.integers(1, 3),
)
def test_every_sample_is_a_row_with_its_feature_or_its_reason(
    tmp_path_factory: pytest.TempPathFactory, contents: list[str | None], batch_size: int, workers: int
) -> None:
    root = tmp_path_factory.mktemp("data")
    report = run(make(root, contents), Numbers(), root / "cache", batch_size=batch_size, workers=workers)
    block = FeatureCache(root / "cache").load(ok_only=False)
    reasons = {"x": "not a number", "": "empty file", None: "file not found"}
    assert block.status == [reasons.get(content, OK) for content in contents]
    numbers = [int(content) if content and content != "x" else 0 for content in contents]
    assert block.features.tolist() == [[x, x * x] for x in numbers]
    assert block.ids == [f"{row}.txt" for row in range(len(contents))]
    assert (report.rows, report.ok) == (len(contents), block.status.count(OK))
    assert report.ok + report.failed == report.rows
    assert sum(reason.count for reason in report.by_reason) == report.failed


def test_the_report_says_what_was_done(tmp_path: Path) -> None:
    report = run(make(tmp_path, ["1", "x", "2", "x", "12345"]), Numbers(), tmp_path / "cache")
    assert report.by_reason == (Reason("not a number", 2, "1.txt"),)
    assert (report.rows, report.ok, report.failed) == (5, 3, 2)
    assert (report.tried_rows, report.resumed_rows, report.left_out, report.truncated) == (5, 0, 3, 1)
    assert (report.dim, report.dtype, report.splits) == (2, "float32", {"train": 5})
    assert report.path == tmp_path / "cache"


def test_a_finished_cache_is_not_encoded_again(tmp_path: Path) -> None:
    samples = make(tmp_path, ["1", "x", "2"])
    run(samples, Numbers(), tmp_path / "cache")
    again = Numbers()
    report = run(samples, again, tmp_path / "cache")
    assert again.encoded == []
    assert (report.tried_rows, report.resumed_rows, report.failed) == (0, 3, 1)
    assert report.by_reason == (Reason("not a number", 1, "1.txt"),)


def test_ctrl_c_keeps_finished_shards_and_the_same_call_resumes(tmp_path: Path) -> None:
    samples = make(tmp_path, [str(x) for x in range(10)])
    out = tmp_path / "cache"
    with pytest.raises(ExtractionInterrupted, match=r"1 of 3 shards are kept in .*the same command resumes"):
        run(samples, Numbers(interrupt_at=6), out, batch_size=1)
    assert sorted(file.name for file in out.glob("*.h5*")) == ["00000.h5"]
    resumed = Numbers()
    report = run(samples, resumed, out)
    assert resumed.encoded == [4, 5, 6, 7, 8, 9]
    assert (report.tried_rows, report.resumed_rows) == (6, 4)
    assert FeatureCache(out).load().features[:, 0].tolist() == list(range(10))


def test_a_damaged_shard_is_written_again(tmp_path: Path) -> None:
    samples = make(tmp_path, [str(x) for x in range(10)])
    run(samples, Numbers(), tmp_path / "cache")
    shard = tmp_path / "cache" / "00001.h5"
    shard.write_bytes(shard.read_bytes()[:-100])
    report = run(samples, Numbers(), tmp_path / "cache")
    assert (report.repaired_shards, report.tried_rows) == (1, 4)
    assert FeatureCache(tmp_path / "cache").load().features[:, 0].tolist() == list(range(10))


def test_on_error_fail_names_the_first_failed_sample_and_keeps_finished_shards(tmp_path: Path) -> None:
    samples = make(tmp_path, ["1"] * 5 + ["x", None, "1"])
    with pytest.raises(InputError, match=r"'5\.txt' \(row 5\): not a number.*finished shards are kept"):
        run(samples, Numbers(), tmp_path / "cache", on_error="fail")
    assert (tmp_path / "cache" / "00000.h5").exists()
    (tmp_path / "5.txt").write_text("7")
    (tmp_path / "6.txt").write_text("8")
    assert run(samples, Numbers(), tmp_path / "cache", on_error="fail").resumed_rows == 4


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_retry_tries_failed_samples_only_and_keeps_the_rest(tmp_path: Path, dtype: str) -> None:
    samples = make(tmp_path, ["1", "x", "3", "4", "5", "6", "x", None, "9"])
    out = tmp_path / "cache"
    first = run(samples, Numbers(), out, dtype=dtype)
    (tmp_path / "1.txt").write_text("2")
    (tmp_path / "7.txt").write_text("8")
    (tmp_path / "0.txt").write_text("99")  # changed since, but it had not failed
    untouched = (out / "00002.h5").stat().st_mtime_ns
    retried = Numbers()
    report = run(samples, retried, out, dtype=dtype, retry_failed=True)
    assert retried.encoded == [2, 8]
    assert (first.failed, report.failed, report.tried_rows) == (3, 1, 3)
    assert (out / "00002.h5").stat().st_mtime_ns == untouched
    block = FeatureCache(out).load(ok_only=False)
    assert block.features[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 0, 8, 9]
    assert block.status[6] == "not a number"
    assert FeatureCache(out).manifest.counts["failed"] == 1


def test_retry_that_learns_nothing_rewrites_nothing(tmp_path: Path) -> None:
    samples = make(tmp_path, ["1", "x"])
    run(samples, Numbers(), tmp_path / "cache")
    before = (tmp_path / "cache" / "00000.h5").stat().st_ino
    assert run(samples, Numbers(), tmp_path / "cache", retry_failed=True).failed == 1
    assert (tmp_path / "cache" / "00000.h5").stat().st_ino == before


def test_nothing_readable_is_still_a_cache(tmp_path: Path) -> None:
    report = run(make(tmp_path, ["x", None]), Numbers(), tmp_path / "cache")
    assert (report.ok, report.failed) == (0, 2)
    assert len(FeatureCache(tmp_path / "cache").load()) == 0


def test_an_error_of_the_backbone_is_not_a_samples_fault(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a bug in the backbone"):
        run(make(tmp_path, ["1", "2"]), Numbers(raise_at=2), tmp_path / "cache")


class WrongShape(Numbers):
    def encode(self, items: Sequence[int]) -> NDArray[np.float32]:
        return np.zeros((1, 2), np.float32)


def test_features_of_a_wrong_shape_are_not_spread_over_rows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"encoded to \(1, 2\) instead of \(3, 2\)"):
        run(make(tmp_path, ["1", "2", "3"]), WrongShape(), tmp_path / "cache")


def test_a_feature_that_float16_cannot_hold_names_the_sample(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'1\.txt'.*use float32"):
        run(make(tmp_path, ["1", "999"]), Numbers(), tmp_path / "cache", dtype="float16")


def test_another_backbone_does_not_write_into_the_cache(tmp_path: Path) -> None:
    samples = make(tmp_path, ["1"])
    run(samples, Numbers(), tmp_path / "cache")
    with pytest.raises(InputError, match=r"another fingerprint \(version: 1 -> 2\)"):
        run(samples, Numbers(version=2), tmp_path / "cache")


def test_samples_of_another_kind_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    samples = Samples(Columns(["a"], ["train"]), ["a"], tmp_path, 0, "text")
    with pytest.raises(InputError, match="reads image, the samples of 'image' are text"):
        run(samples, Numbers(), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("setting", [{"batch_size": 0}, {"workers": 0}])
def test_refuses_settings_below_one(tmp_path: Path, setting: dict[str, int]) -> None:
    with pytest.raises(InputError, match="at least 1"):
        run(make(tmp_path, ["1"]), Numbers(), tmp_path / "cache", **setting)
