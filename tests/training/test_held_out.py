"""Rows that a training held out stand for a split val; the training's own data says which they are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training import ciim_building as ciim
from tests.training.building import blobs, settings
from tests.training.growing import grown
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.training import ciim_data
from xfeat.training.asked import Asked
from xfeat.training.ciim import train as train_ciim
from xfeat.training.data import ModalityRows
from xfeat.training.drcl import train
from xfeat.training.embedding import Blocks, embed_run
from xfeat.training.evaluating import evaluate_path
from xfeat.training.gaps import rows_of_run, run_gaps
from xfeat.training.group import member_path, write_group
from xfeat.training.open_set import add_class

CPU = torch.device("cpu")
SHORT = settings(select="loss", prior="orthogonal", epochs=1, val_fraction=0.2)


def ids_of(cache: FeatureCache, features: torch.Tensor) -> set[str]:
    """Rows of a cache by what they hold."""
    block = cache.load()
    return {block.ids[int(np.flatnonzero((block.features == row).all(axis=1))[0])] for row in features.numpy()}


def held_by_drcl(cache: FeatureCache, seed: int) -> set[str]:
    rows = ModalityRows(cache, cache.manifest.classes, CPU, 1 << 30)
    data, _ = rows.branch_data(standardize=False, val_fraction=SHORT.val_fraction, seed=seed)
    return ids_of(cache, torch.cat([x for x, _ in data.val.pieces(100)]))


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> list[FeatureCache]:
    """Image and text have no split val, audio has one."""
    folder = tmp_path_factory.mktemp("caches")
    some = [blobs("image"), blobs("text"), blobs("audio", val=True)]
    return [one.write(folder / one.modality) for one in some]


@pytest.fixture(scope="module")
def run(caches: Sequence[FeatureCache], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    train(caches, path, SHORT, seed=3)
    return path


def test_the_rows_that_drcl_did_not_train_on(run: Path, caches: Sequence[FeatureCache]) -> None:
    found = embed_run(run, "val", CPU)
    for cache in caches[:2]:
        name = cache.manifest.modality
        assert set(found.ids[name]) == held_by_drcl(cache, 3) != held_by_drcl(cache, 4)
        assert len(found.ids[name]) == 8
    assert found.ids["audio"] == caches[2].load(("val",)).ids
    assert found.held_out == {"image": 8, "text": 8}
    assert found.notes == ["split val: rows of split train that training held out (image 8, text 8)"]
    assert not embed_run(run, "train", CPU).held_out


@pytest.mark.parametrize("classes", [[], ["ant", "cow"]])
def test_the_rows_that_ciim_did_not_train_on(tmp_path: Path, classes: list[str]) -> None:
    caches = ciim.write_tiny(tmp_path, "image", "text")
    own = ciim.tiny(select="best", epochs=1, val_fraction=0.2, classes=classes)
    train_ciim(caches, tmp_path / "run", own, seed=5)
    found = embed_run(tmp_path / "run", "val", CPU)
    data = ciim_data.read(caches, caches[0].manifest.classes, own, 5, CPU)
    for cache in caches:
        one, block = data[cache.manifest.modality], cache.load()
        assert one.val is not None
        inputs = one.scale(block.features)
        held = {own for own, row in zip(block.ids, inputs, strict=True) if (one.val.values == row).all(dim=1).any()}
        assert len(held) == len(one.val.labels)
        assert set(found.ids[cache.manifest.modality]) == held


def test_the_document_and_the_gap(run: Path) -> None:
    asked = Asked(split="val")
    answer = evaluate_path(run, asked, CPU)
    assert answer.document["protocol"]["split"] == "val"
    assert answer.document["protocol"]["held_out"] == {"image": 8, "text": 8}
    assert "held_out" not in evaluate_path(run, Asked(), CPU).document["protocol"]
    looked = rows_of_run(run, asked, answer.found, Blocks())
    assert {name: set(one.block.ids) for name, one in looked.items()} == {
        name: set(ids) for name, ids in answer.found.ids.items()
    }


def test_seeds_hold_out_different_rows(run: Path, caches: Sequence[FeatureCache], tmp_path: Path) -> None:
    for seed in (0, 1):
        train(caches[:2], member_path(tmp_path, seed), SHORT, seed=seed)
    write_group(tmp_path, [0, 1], "drcl")
    answer = evaluate_path(tmp_path, Asked(split="val"), CPU)
    assert set(answer.found.ids["image"]) == held_by_drcl(caches[0], 1)
    with pytest.raises(InputError, match="every seed held out rows of its own: measure the gap of one run"):
        run_gaps(tmp_path, Asked(split="val"), answer.found, CPU)


def test_a_run_that_learned_a_class(run: Path, tmp_path: Path) -> None:
    before = embed_run(run, "val", CPU)
    add_class([grown("image").write(tmp_path / "image")], run, tmp_path / "grown")
    after = embed_run(tmp_path / "grown", "val", CPU)
    assert after.ids["text"] == before.ids["text"]
    assert set(before.ids["image"]) < set(after.ids["image"])


def test_what_is_refused(run: Path, caches: Sequence[FeatureCache], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="every modality held out rows of its own, which are no pairs"):
        embed_run(run, "val", CPU, protocol="instance")
    with pytest.raises(InputError, match=r"image: no rows in split 'val' \(splits there: test, train\)"):
        embed_run(run, "val", CPU, on=caches)
    train(caches, tmp_path / "run", settings(prior="orthogonal", epochs=1))
    with pytest.raises(InputError, match=r"'val', and training held none out: train with select=loss, which holds"):
        embed_run(tmp_path / "run", "val", CPU)


def test_a_cache_that_changed(tmp_path: Path) -> None:
    caches = [blobs(name).write(tmp_path / name) for name in ("image", "text")]
    train(caches, tmp_path / "run", SHORT)
    for shard in (tmp_path / "text").iterdir():
        shard.unlink()
    blobs("text", seed=1).write(tmp_path / "text")
    with pytest.raises(InputError, match="which of its rows were held out is no longer known"):
        embed_run(tmp_path / "run", "val", CPU, allow_changed=True)
