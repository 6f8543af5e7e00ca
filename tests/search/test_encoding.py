import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.search.building import ROWS, WORDS, Made, name
from xfeat.backbones.registry import open_backbone
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.search.encoding import Encoders, encode
from xfeat.search.opened import OpenRun
from xfeat.search.queries import Query, by_file, by_text


def raw(made: Made, modality: str, row: int) -> Query:
    if modality == "text":
        return by_text(f"{WORDS[row % 3]} number {row}")
    return by_file(made.media / f"{row}.{'png' if modality == 'image' else 'wav'}")


@pytest.mark.parametrize("modality", ["image", "text", "audio"])
def test_features_are_the_stored_ones(made: Made, modality: str) -> None:
    cache = FeatureCache(made.caches[modality])
    block = cache.load(with_tokens=modality != "audio")
    rows = [0, 22, 3]
    queries = [raw(made, modality, row) for row in rows]
    spec = str(cache.manifest.fingerprint["backbone"])
    features, tokens, cut = encode(queries, cache, open_backbone(spec), with_tokens=modality != "audio")
    stored = [block.ids.index(name(row)) for row in rows]
    assert (features.dtype, cut) == (np.float16, 0)
    np.testing.assert_array_equal(features, block.features[stored])
    if tokens is not None and block.tokens is not None:
        expected = block.tokens.rows(np.array(stored))
        np.testing.assert_array_equal(tokens.values, expected.values)
        np.testing.assert_array_equal(tokens.offsets, expected.offsets)


def test_texts_among_text_files_keep_their_order(made: Made, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("green field number 1", encoding="utf-8")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.txt").write_text("blue water number 2", encoding="utf-8")
    queries = [by_text("blue water number 2"), by_file(tmp_path / "a.txt"), by_text("green field number 1")]
    queries.append(by_file(tmp_path / "b" / "a.txt"))
    vectors = Encoders(OpenRun(made.sspc)).embed("text", queries)
    torch.testing.assert_close(vectors[[0, 1]], vectors[[3, 2]])
    assert not torch.allclose(vectors[0], vectors[1])


def test_the_first_unreadable_query_is_named(made: Made, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    encoders = Encoders(OpenRun(made.drcl))
    queries = [raw(made, "image", 0), by_file(tmp_path / "a.png"), by_file(tmp_path / "b.png")]
    with pytest.raises(InputError, match=r"a\.png' cannot be read: .*\(2 such queries\)"):
        encoders.embed("image", queries)


def test_another_backbone_is_refused_and_the_difference_printed(made: Made, tmp_path: Path) -> None:
    run = OpenRun(made.drcl)
    with pytest.raises(InputError, match="reads text, not image"):
        Encoders(run, {"image": "filters:hashing"}).embed("image", [raw(made, "image", 0)])
    made_otherwise = _changed(made, tmp_path)
    with pytest.raises(InputError, match=r"made with another fingerprint \(side: 32 -> 64\)"):
        Encoders(made_otherwise).backbone("image")


def _changed(made: Made, folder: Path) -> OpenRun:
    """A run on an image cache whose pictures were half as large."""
    cache = shutil.copytree(made.caches["image"], folder / "image")
    run = shutil.copytree(made.drcl, folder / "run")
    old = FeatureCache(cache).manifest
    new = type(old)(**{**vars(old), "fingerprint": {**old.fingerprint, "side": 32}})
    new.save(cache)
    config = (run / "config.yaml").read_text(encoding="utf-8")
    config = config.replace(str(made.caches["image"]), str(cache))
    (run / "config.yaml").write_text(config.replace(old.fingerprint_sha256, new.fingerprint_sha256), encoding="utf-8")
    return OpenRun(run)


def test_words_for_an_image_branch_are_refused(made: Made) -> None:
    with pytest.raises(InputError, match="reads image, not text"):
        encode([by_text("red")], FeatureCache(made.caches["image"]), open_backbone("filters:hog"), with_tokens=False)


def test_more_than_a_batch(made: Made) -> None:
    cache = FeatureCache(made.caches["text"])
    queries = [raw(made, "text", row % ROWS) for row in range(3 * ROWS)]
    features, _, _ = encode(queries, cache, open_backbone("filters:hashing"), with_tokens=False)
    np.testing.assert_array_equal(features, np.concatenate([cache.load().features] * 3))
