"""Which rows of a grown cache choose the epoch, and which caches are grown ones."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.building import CLASSES, TINY, Blobs, blobs
from tests.training.growing import grown
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.extraction.importing import import_features
from xfeat.samples.importers import Names, read_arrays
from xfeat.training.drcl import train
from xfeat.training.grown_rows import GrownCache, grown_cache
from xfeat.training.run import Run
from xfeat.training.selection import select_rows

GREW = [*CLASSES, "asp"]


def imported(path: Path, some: Blobs) -> FeatureCache:
    np.savez(
        path.with_suffix(".npz"),
        features=some.features,
        labels=np.array(some.classes)[some.labels],
        split=np.array(some.split),
    )
    import_features(read_arrays(path.with_suffix(".npz"), Names()), path, "image")
    return FeatureCache(path)


def test_rows_keep_their_part_and_new_ones_are_drawn(tmp_path: Path) -> None:
    before, cache = blobs("image").write(tmp_path / "before"), grown("image").write(tmp_path / "grown")
    earlier = select_rows(before, CLASSES).held_out(0.2, "image", 3)
    found = GrownCache(cache, before, CLASSES).selection(GREW, Run(tmp_path / "run"), 0.2, 3)
    old = found.rows < 60
    np.testing.assert_array_equal(found.rows[old], earlier.rows)
    np.testing.assert_array_equal(found.val[old], earlier.val)
    assert found.val[~old].sum() == round(0.2 * (~old).sum())


def test_without_the_cache_before_rows_are_drawn_as_in_training(tmp_path: Path) -> None:
    cache = grown("image").write(tmp_path / "grown")
    found = GrownCache(cache, None, CLASSES).selection(GREW, Run(tmp_path / "run"), 0.2, 3)
    np.testing.assert_array_equal(found.val, select_rows(cache, GREW).held_out(0.2, "image", 3).val)
    assert GrownCache(cache, None, CLASSES).leaked() == 0


def test_a_split_val_decides(tmp_path: Path) -> None:
    before = blobs("image").write(tmp_path / "before")
    cache = grown("image", val=True).write(tmp_path / "grown")
    found = GrownCache(cache, before, CLASSES).selection(GREW, Run(tmp_path / "run"), 0.2, 3)
    np.testing.assert_array_equal(found.val, np.array(cache.load().split)[found.rows] == "val")


def test_one_row_of_a_new_class_is_trained_on(tmp_path: Path) -> None:
    before, cache = blobs("image").write(tmp_path / "before"), grown("image", rows=2).write(tmp_path / "grown")
    found = GrownCache(cache, before, CLASSES).selection(GREW, Run(tmp_path / "run"), 0.2, 3)
    assert found.val[found.labels == 3].tolist() == [False]


def test_an_import_grows_into_an_import_and_nothing_else(tmp_path: Path) -> None:
    old = imported(tmp_path / "old", blobs("image"))
    run = Run(tmp_path / "run")
    train([old], run.path, TINY)
    source = run.load_config().modalities["image"]
    bigger = imported(tmp_path / "bigger", grown("image"))
    assert bigger.manifest.fingerprint_sha256 != source.fingerprint
    found = grown_cache(run, bigger, source, CLASSES)
    assert found.before is not None
    extracted = grown("image").write(tmp_path / "extracted")
    with pytest.raises(InputError, match="extract the grown samples with the same backbone"):
        grown_cache(run, extracted, source, CLASSES)


def test_features_of_a_backbone_do_not_grow_into_an_import(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    train([blobs("image").write(tmp_path / "old")], run.path, TINY)
    bigger = imported(tmp_path / "bigger", grown("image"))
    with pytest.raises(InputError, match=r"has fingerprint .*, image of .* was trained on"):
        grown_cache(run, bigger, run.load_config().modalities["image"], CLASSES)
