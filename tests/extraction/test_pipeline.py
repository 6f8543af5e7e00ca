"""Small backbones of the tests' own that encode real files; every run writes and reads a real cache."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from xfeat.backbones.base import Cut
from xfeat.cache import OK, Columns, FeatureCache, Tokens
from xfeat.errors import InputError, SampleError
from xfeat.extraction.pipeline import ExtractionInterrupted, extract
from xfeat.extraction.report import Reason
from xfeat.samples.manifest import Samples


class Numbers:
    """A file holds a number x; its feature is (x, x * x), its tokens are 1 + x % 3 times x."""

    kind, name, dim, token_dim = "image", "test:numbers", 2, 1

    def __init__(self, *, interrupt_at: int | None = None, raise_at: int | None = None, version: int = 1) -> None:
        self.interrupt_at, self.raise_at, self.version = interrupt_at, raise_at, version
        self.encoded: list[int] = []

    def fingerprint(self) -> dict[str, Any]:
        return {"backbone": self.name, "version": self.version}

    def load(self, source: Path | str) -> Any:
        text = Path(source).read_text()
        try:
            number = int(text[:4])
        except ValueError:
            raise SampleError("not a number") from None
        return Cut(number) if len(text) > 4 else number

    def encode(self, items: Sequence[int]) -> NDArray[np.float32]:
        if self.interrupt_at in items:
            raise KeyboardInterrupt
        if self.raise_at in items:
            raise RuntimeError("a bug in the backbone")
        self.encoded += items
        return np.array([[x, x * x] for x in items], np.float32)

    def token_fingerprint(self) -> dict[str, Any]:
        return {"unit": "number"}

    def encode_tokens(self, items: Sequence[int]) -> tuple[NDArray[np.float32], Tokens]:
        sequences = [np.full((1 + x % 3, 1), x, np.float32) for x in items]
        return self.encode(items), Tokens(np.concatenate(sequences), np.cumsum([0, *map(len, sequences)]))


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
    workers=st.integers(0, 2),
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


def test_ctrl_c_keeps_what_was_encoded_and_the_same_call_resumes(tmp_path: Path) -> None:
    samples = make(tmp_path, [str(x) for x in range(10)])
    out = tmp_path / "cache"
    with pytest.raises(ExtractionInterrupted, match=r"1 of 3 shards and 2 rows of the next are kept in .*resumes"):
        run(samples, Numbers(interrupt_at=6), out, batch_size=1)
    assert sorted(file.name for file in out.glob("*.h5*")) == ["00000.h5", "00001.h5"]
    resumed = Numbers()
    report = run(samples, resumed, out)
    assert sorted(resumed.encoded) == [6, 7, 8, 9]
    assert (report.tried_rows, report.resumed_rows, report.repaired_shards) == (4, 6, 0)
    assert FeatureCache(out).load().features[:, 0].tolist() == list(range(10))


def test_a_damaged_shard_is_written_again(tmp_path: Path) -> None:
    samples = make(tmp_path, [str(x) for x in range(10)])
    run(samples, Numbers(), tmp_path / "cache")
    shard = tmp_path / "cache" / "00001.h5"
    shard.write_bytes(shard.read_bytes()[:-100])
    report = run(samples, Numbers(), tmp_path / "cache")
    assert (report.repaired_shards, report.tried_rows) == (1, 4)
    assert FeatureCache(tmp_path / "cache").load().features[:, 0].tolist() == list(range(10))


@pytest.fixture(params=[1, 4])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """As many batches are encoded at a time."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("batch_size", "kept"), [(1, 5), (4, 4)])
def test_on_error_fail_names_the_first_failed_sample_and_keeps_what_was_encoded(
    tmp_path: Path, batch_size: int, kept: int
) -> None:
    samples = make(tmp_path, ["1", "2", "3", "4", "5", "x", None, "1"])
    with pytest.raises(InputError, match=r"'5\.txt' \(row 5\): not a number.*what was finished is kept"):
        run(samples, Numbers(), tmp_path / "cache", on_error="fail", batch_size=batch_size)
    assert (tmp_path / "cache" / "00000.h5").exists()
    (tmp_path / "5.txt").write_text("7")
    (tmp_path / "6.txt").write_text("8")
    assert run(samples, Numbers(), tmp_path / "cache", on_error="fail").resumed_rows == kept


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_retry_tries_failed_samples_only_and_keeps_the_rest(tmp_path: Path, dtype: str) -> None:
    samples = make(tmp_path, ["1", "x", "3", "4", "5", "6", "x", None, "9"])
    out = tmp_path / "cache"
    first = run(samples, Numbers(), out, dtype=dtype)
    (tmp_path / "1.txt").write_text("2")
    (tmp_path / "7.txt").write_text("8")
    (tmp_path / "0.txt").write_text("99")  # changed since, but it had not failed
    untouched = (out / "00002.h5").stat().st_ino
    retried = Numbers()
    report = run(samples, retried, out, dtype=dtype, retry_failed=True)
    assert sorted(retried.encoded) == [2, 8]
    assert (first.failed, report.failed, report.tried_rows) == (3, 1, 3)
    assert (out / "00002.h5").stat().st_ino == untouched
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


@pytest.mark.parametrize("setting", [{"batch_size": 0}, {"workers": -1}])
def test_refuses_settings_that_mean_nothing(tmp_path: Path, setting: dict[str, int]) -> None:
    with pytest.raises(InputError, match="must be"):
        run(make(tmp_path, ["1"]), Numbers(), tmp_path / "cache", **setting)


def test_inputs_of_the_same_content_are_encoded_once(tmp_path: Path) -> None:
    contents = ["5", "6", "5", "x", "5", "7", "6", "x", "8", "5"]
    backbone = Numbers()
    report = run(make(tmp_path, contents), backbone, tmp_path / "cache", batch_size=3, tokens=True)
    assert sorted(backbone.encoded) == [5, 6, 7, 8]
    assert (report.duplicates, report.tried_rows, report.failed) == (4, 10, 2)
    block = FeatureCache(tmp_path / "cache").load(with_tokens=True)
    numbers = [int(text) for text in contents if text != "x"]
    assert block.features[:, 0].tolist() == numbers
    assert block.tokens is not None
    assert block.tokens.values[:, 0].tolist() == [x for x in numbers for _ in range(1 + x % 3)]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_token_sequences_stand_beside_the_features(tmp_path: Path, dtype: str) -> None:
    contents = ["5", "6", "x", "7", None, "9", "12"]
    report = run(make(tmp_path, contents), Numbers(), tmp_path / "cache", tokens=True, dtype=dtype)
    cache = FeatureCache(tmp_path / "cache")
    block = cache.load(ok_only=False, with_tokens=True)
    assert block.tokens is not None
    assert block.tokens.lengths.tolist() == [3, 1, 0, 2, 0, 1, 1]
    assert block.tokens.values[:, 0].tolist() == [5, 5, 5, 6, 7, 7, 9, 12]
    assert (report.tokens, report.token_dim) == (8, 1)
    assert cache.manifest.fingerprint["tokens"] == {"unit": "number"}
    plain = run(make(tmp_path, contents), Numbers(), tmp_path / "plain", dtype=dtype)
    assert (plain.tokens, plain.token_dim) == (0, 0)
    assert FeatureCache(tmp_path / "plain").load().features.tolist() == cache.load().features.tolist()


def test_a_token_that_float16_cannot_hold_names_the_sample(tmp_path: Path) -> None:
    class Large(Numbers):
        def encode_tokens(self, items: Sequence[int]) -> tuple[NDArray[np.float32], Tokens]:
            return self.encode(items), Tokens(np.full((len(items), 1), 1e5, np.float32), np.arange(len(items) + 1))

    with pytest.raises(InputError, match=r"token 0 of sample '0\.txt'.*use float32"):
        run(make(tmp_path, ["1", "2"]), Large(), tmp_path / "cache", tokens=True, dtype="float16")


def test_tokens_are_refused_where_the_backbone_has_none(tmp_path: Path) -> None:
    backbone = Numbers()
    backbone.token_dim = 0
    with pytest.raises(InputError, match="gives no token sequences"):
        run(make(tmp_path, ["1"]), backbone, tmp_path / "cache", tokens=True)


def some(samples: Samples, rows: Sequence[int], split: str = "train") -> Samples:
    """Rows of the samples, in the order given."""
    names = [samples.sources[row] for row in rows]
    assert samples.columns.labels is not None
    columns = Columns(names, [split] * len(rows), ["even", "odd"], samples.columns.labels[list(rows)])
    return Samples(columns, names, samples.root, 0, "image")


def test_a_cache_grows_by_what_is_new_and_loses_nothing(tmp_path: Path) -> None:
    everything = make(tmp_path, [str(x) for x in range(12)])
    out = tmp_path / "cache"
    run(some(everything, [4, 2, 0, 6, 1]), Numbers(), out)
    grown = Numbers()
    report = run(some(everything, [0, 1, 2, 3, 5, 4, 7], "val"), grown, out)
    assert sorted(grown.encoded) == [3, 5, 7]
    assert (report.added, report.gone, report.changed, report.rows, report.tried_rows) == (3, 1, 4, 8, 3)
    block = FeatureCache(out).load()
    assert block.features[:, 0].tolist() == [4, 2, 0, 6, 1, 3, 5, 7]
    assert block.ids == [f"{x}.txt" for x in (4, 2, 0, 6, 1, 3, 5, 7)]
    assert block.split == ["val", "val", "val", "train", "val", "val", "val", "val"]
    assert block.labels is not None
    assert block.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_a_file_under_a_new_name_is_not_encoded_again(tmp_path: Path) -> None:
    everything = make(tmp_path, ["3", "4", "5"])
    out = tmp_path / "cache"
    run(some(everything, [0, 1]), Numbers(), out)
    (tmp_path / "0.txt").rename(tmp_path / "9.txt")
    names = ["9.txt", "1.txt", "2.txt"]
    renamed = Samples(Columns(names, ["train"] * 3, ["even", "odd"], np.array([0, 1, 0])), names, tmp_path, 0, "image")
    backbone = Numbers()
    report = run(renamed, backbone, out)
    assert backbone.encoded == [5]
    assert (report.added, report.gone, report.duplicates) == (2, 1, 1)
    assert FeatureCache(out).load().features[:, 0].tolist() == [3, 4, 3, 5]


def test_a_sample_with_another_source_is_read_and_encoded_only_if_its_content_is_new(tmp_path: Path) -> None:
    make(tmp_path, ["3", "4", "3", "7"])

    def samples(*sources: str) -> Samples:
        return Samples(Columns(["a", "b"], ["train"] * 2), list(sources), tmp_path, 0, "image")

    out = tmp_path / "cache"
    run(samples("0.txt", "1.txt"), Numbers(), out)
    backbone = Numbers()
    report = run(samples("2.txt", "3.txt"), backbone, out)
    assert backbone.encoded == [7]
    assert (report.moved, report.tried_rows, report.duplicates) == (2, 2, 0)
    assert FeatureCache(out).load().features[:, 0].tolist() == [3, 7]


def test_recheck_finds_files_that_changed_and_only_these_are_encoded(tmp_path: Path) -> None:
    samples = make(tmp_path, ["1", "2", "x", "4", "5", "6"])
    out = tmp_path / "cache"
    run(samples, Numbers(), out)
    (tmp_path / "1.txt").write_text("20")
    (tmp_path / "2.txt").write_text("30")
    (tmp_path / "5.txt").unlink()
    assert run(samples, Numbers(), out).tried_rows == 0  # files are trusted
    backbone = Numbers()
    report = run(samples, backbone, out, recheck=True)
    assert sorted(backbone.encoded) == [20, 30]
    assert (report.tried_rows, report.failed) == (3, 1)
    block = FeatureCache(out).load(ok_only=False)
    assert block.features[:, 0].tolist() == [1, 20, 30, 4, 5, 0]
    assert block.status == [OK] * 5 + ["file not found"]


def test_a_grown_cache_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    everything = make(tmp_path, [str(x) for x in range(20)])
    out = tmp_path / "cache"
    run(some(everything, [9, 8, 7, 6, 5, 4]), Numbers(), out)
    with pytest.raises(ExtractionInterrupted):
        run(everything, Numbers(interrupt_at=14), out, batch_size=2)
    backbone = Numbers()
    report = run(everything, backbone, out)
    assert set(backbone.encoded) <= set(range(10, 20))
    assert 14 in backbone.encoded
    assert report.rows == 20
    assert FeatureCache(out).load().features[:, 0].tolist() == [9, 8, 7, 6, 5, 4, 0, 1, 2, 3, *range(10, 20)]


@given(data=st.data())
def test_whatever_happened_before_every_row_has_its_own_feature(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("data")
    contents = data.draw(st.lists(st.sampled_from(["1", "2", "3", "4", "5", "6", "x"]), min_size=12, max_size=12))
    everything, out = make(root, contents), root / "cache"
    order: list[int] = []
    for _ in range(data.draw(st.integers(1, 4))):
        rows = data.draw(st.lists(st.integers(0, 11), min_size=1, unique=True))
        if order and not set(rows) & set(order):
            rows.append(next(row for row in order if row not in rows))
        stop = data.draw(st.sampled_from([None, None, 1, 3, 6]))
        settings = {"batch_size": data.draw(st.integers(1, 5)), "retry_failed": data.draw(st.booleans())}
        new = [row for row in rows if row not in order]
        try:
            run(some(everything, rows), Numbers(interrupt_at=stop), out, workers=0, tokens=True, **settings)
            order += new
        except ExtractionInterrupted:
            report = run(some(everything, rows), Numbers(), out, workers=0, tokens=True, **settings)
            order += new
            assert report.rows == len(order)
        block = FeatureCache(out).load(ok_only=False, with_tokens=True)
        numbers = [0 if contents[row] == "x" else int(contents[row]) for row in order]
        assert block.ids == [f"{row}.txt" for row in order]
        assert block.features.tolist() == [[x, x * x] for x in numbers]
        assert block.status == [OK if x else "not a number" for x in numbers]
        assert block.tokens is not None
        assert block.tokens.values[:, 0].tolist() == [x for x in numbers if x for _ in range(1 + x % 3)]
