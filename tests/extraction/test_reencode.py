"""Real files are extracted, changed, and encoded again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from xfeat.cache import Columns, FeatureCache
from xfeat.errors import InputError, SampleError
from xfeat.extraction.comparing import tolerance_of
from xfeat.extraction.importing import import_features
from xfeat.extraction.pipeline import extract
from xfeat.extraction.reencode import reencode
from xfeat.samples.importers import read_arrays
from xfeat.samples.manifest import Samples

BAD = 4


class Letters:
    """A file's feature counts its letters from a to h; one with a digit in it cannot be read."""

    kind, name, dim = "image", "test:letters", 8

    def __init__(self, *, shift: float = 0.0, **settings: Any) -> None:
        self.shift, self.settings = shift, settings

    def fingerprint(self) -> dict[str, Any]:
        return {"backbone": self.name, "versions": {"numpy": "1"}, **self.settings}

    def load(self, source: Path | str) -> str:
        text = Path(source).read_text()
        if any(letter.isdigit() for letter in text):
            raise SampleError(f"a digit in {len(text)} letters")
        return text

    def encode(self, items: Sequence[str]) -> NDArray[np.float32]:
        counts = [[text.count(letter) + self.shift for letter in "abcdefgh"] for text in items]
        return np.array(counts, np.float32)


class Collated(Letters):
    """The same, with batches that are one text."""

    def collate(self, items: list[str]) -> list[str]:
        return ["|".join(items)]

    def encode(self, items: Sequence[str]) -> NDArray[np.float32]:
        return super().encode(items[0].split("|"))


def make(root: Path, count: int = 12) -> Samples:
    rng = np.random.default_rng(0)
    root.mkdir(exist_ok=True)
    for row in range(count):
        (root / f"{row}.txt").write_text("".join(rng.choice(list("abcdefgh"), 40)))
    (root / f"{BAD}.txt").write_text("abc7")
    names = [f"{row}.txt" for row in range(count)]
    return Samples(Columns(names, ["train"] * count), names, root, 0, "image")


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    return make(tmp_path / "files")


@pytest.fixture
def cache(samples: Samples, tmp_path: Path) -> FeatureCache:
    extract(samples, Letters(), tmp_path / "c", modality="image", workers=0, shard_rows=5)
    return FeatureCache(tmp_path / "c")


def test_what_has_not_changed_is_as_stored(cache: FeatureCache, samples: Samples) -> None:
    steps: list[int] = []

    def advance(count: int = 1, note: str = "") -> None:
        steps.append(count)

    found = reencode(cache, samples, Letters(), k=100, advance=advance)
    assert (found.checked, found.failed, found.worst, found.mismatches) == (12, 1, 0.0, ())
    assert (found.changed, found.readable, found.missing, found.unknown, found.versions) == ((), (), 0, 0, "")
    assert sum(steps) == 12
    assert reencode(cache, samples, Collated(), k=100).mismatches == ()


def test_the_seed_chooses_the_rows(cache: FeatureCache, samples: Samples) -> None:
    for row in range(len(samples)):
        (samples.root / samples.sources[row]).write_text("aaaa")
    first, again, other = (
        [one.row for one in reencode(cache, samples, Letters(), k=4, seed=seed).mismatches] for seed in (1, 1, 2)
    )
    assert 3 <= len(first) <= 4  # all chosen rows but the one that failed before
    assert first == sorted(first) == again != other


def test_a_changed_file_is_told_by_its_id(cache: FeatureCache, samples: Samples) -> None:
    (samples.root / "2.txt").write_text("hhhh")
    (samples.root / "7.txt").unlink()
    (samples.root / "9.txt").write_text((samples.root / "9.txt").read_text()[::-1])  # the same letters
    found = reencode(cache, samples, Letters(), k=12)
    assert [(one.id, one.row) for one in found.mismatches] == [("2.txt", 2), ("7.txt", 7), ("9.txt", 9)]
    assert found.changed == ("2.txt", "9.txt")
    assert found.mismatches[1].why == "cannot be read any more: file not found"
    assert found.mismatches[2].why == "its content has changed (features 0 away)"
    stored = cache.load(ok_only=False).features[2].astype(np.float64)
    new = np.array([0, 0, 0, 0, 0, 0, 0, 4.0])
    assert found.worst_id == "2.txt"
    assert found.worst == pytest.approx(np.linalg.norm(new - stored) / np.linalg.norm(stored))
    assert found.mismatches[0].distance == found.worst


def test_another_encoder_under_the_same_name_is_found(cache: FeatureCache, samples: Samples) -> None:
    found = reencode(cache, samples, Letters(shift=0.1), k=12)
    assert len(found.mismatches) == 11
    assert "allowed" in found.mismatches[0].why
    assert reencode(cache, samples, Letters(shift=0.1), k=12, tolerance=0.1).mismatches == ()
    assert reencode(cache, samples, Letters(shift=float("nan")), k=12).mismatches
    assert reencode(cache, samples, Letters(shift=1e6), k=12).worst == float("inf")  # over what float16 holds


def test_failed_rows_fail_again(cache: FeatureCache, samples: Samples) -> None:
    bad = samples.root / f"{BAD}.txt"
    bad.write_text("abcd77")  # another number in the reason
    found = reencode(cache, samples, Letters(), k=12)
    assert (found.failed, found.mismatches, found.changed) == (1, (), (f"{BAD}.txt",))
    bad.write_text("")
    found = reencode(cache, samples, Letters(), k=12)
    assert found.failed == 0
    assert found.mismatches[0].why == "failed with 'a digit in 4 letters', now with 'empty file'"
    bad.write_text("abc")
    found = reencode(cache, samples, Letters(), k=12)
    assert (found.readable, found.mismatches) == ((f"{BAD}.txt",), ())


def test_a_manifest_that_has_grown_and_shrunk(cache: FeatureCache, samples: Samples, tmp_path: Path) -> None:
    grown = make(tmp_path / "files", 15)
    rows = [13, 3, 14, 1, 12]
    names = [grown.columns.ids[row] for row in rows]
    part = Samples(Columns(names, ["train"] * 5), names, grown.root, 0, "image")
    found = reencode(cache, part, Letters(), k=12)
    assert (found.checked, found.missing, found.unknown, found.mismatches) == (2, 10, 3, ())
    other = Samples(Columns(["x"], ["train"]), ["0.txt"], samples.root, 0, "image")
    with pytest.raises(InputError, match="names none of its 12 samples"):
        reencode(cache, other, Letters(), k=12)


def test_the_backbone_must_be_the_one(cache: FeatureCache, samples: Samples, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"made with another fingerprint \(pooling: '\(absent\)' -> 'mean'\)"):
        reencode(cache, samples, Letters(pooling="mean"), k=1)
    newer = reencode(cache, samples, Letters(versions={"numpy": "2"}), k=12)
    assert newer.versions == "versions.numpy: '1' -> '2'"
    assert newer.mismatches == ()
    texts = Samples(samples.columns, samples.sources, samples.root, 0, "text")
    with pytest.raises(InputError, match="reads image, the samples are text"):
        reencode(cache, texts, Letters(), k=1)
    np.savez(tmp_path / "f.npz", features=np.ones((2, 2)))
    import_features(read_arrays(tmp_path / "f.npz"), tmp_path / "i", "image")
    with pytest.raises(InputError, match="was imported, not extracted"):
        reencode(FeatureCache(tmp_path / "i"), samples, Letters(), k=1)


@pytest.mark.parametrize(
    ("dtype", "precision", "tolerance"),
    [
        ("float32", None, 1e-4),
        ("float16", "fp32", 2e-3),
        ("float32", "fp16 autocast", 1e-2),
        ("float16", "bf16 autocast", 5e-2),
    ],
)
def test_tolerance_goes_by_what_was_rounded(
    samples: Samples, tmp_path: Path, dtype: Any, precision: str | None, tolerance: float
) -> None:
    backbone = Letters(**({"precision": precision} if precision else {}))
    extract(samples, backbone, tmp_path / "c", modality="image", workers=0, dtype=dtype)
    assert tolerance_of(FeatureCache(tmp_path / "c")) == tolerance


def test_rounding_to_float16_stays_within_the_tolerance() -> None:
    # Two float32 numbers that differ in their last place may round to neighbours in float16.
    values = np.random.default_rng(0).uniform(0.1, 10, (200, 64)).astype(np.float16)
    up = np.nextafter(values, np.float16(np.inf)).astype(np.float64)
    worst = (np.linalg.norm(up - values, axis=1) / np.linalg.norm(values.astype(np.float64), axis=1)).max()
    assert worst <= 2**-10 < 2e-3
