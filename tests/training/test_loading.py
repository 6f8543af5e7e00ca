"""Branches of every method, read alike."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from tests.training.ciim_building import TINY as CIIM_TINY
from tests.training.paired_building import TINY, paired
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.training.ciim import train as train_ciim
from xfeat.training.ciim_store import StoredCausal
from xfeat.training.loading import Staged, load_branch
from xfeat.training.sspc import train
from xfeat.training.sspc_store import StoredGated
from xfeat.training.store import StoredBranch

CPU = torch.device("cpu")


def test_a_branch_of_every_method_embeds(together: Path, caches: Mapping[str, FeatureCache], tmp_path: Path) -> None:
    own = paired(tmp_path, "image", "text")
    train(own, tmp_path / "run", TINY)
    train_ciim([caches["image"], caches["text"]], tmp_path / "ciim", CIIM_TINY)
    for run, cache, kind in (
        (together, caches["image"], StoredBranch),
        (tmp_path / "run", own[0], StoredGated),
        (tmp_path / "ciim", caches["image"], StoredCausal),
    ):
        branch = load_branch(run / "branches" / "image.safetensors")
        assert isinstance(branch, kind)
        found = branch.embed(cache.load().features, CPU)
        assert found.shape == (cache.manifest.rows, branch.note["out_dim"])
        assert torch.isfinite(found).all()
        assert not branch.wants_tokens
        assert isinstance(branch, Staged) == (kind is StoredCausal)
    assert branch.similarity == "cosine"


def test_weights_are_chosen_where_there_are_several(together: Path, tmp_path: Path) -> None:
    train(paired(tmp_path, "image", "text"), tmp_path / "run", TINY)
    path = tmp_path / "run" / "branches" / "text.safetensors"
    shown = [load_branch(path, weights).note["shown"] for weights in ("kept", "raw", "ema")]
    assert shown == [json.loads(path.with_suffix(".json").read_text())["weights"], "raw", "ema"]
    with pytest.raises(InputError, match="this method keeps one set of weights, not raw"):
        load_branch(together / "branches" / "image.safetensors", "raw")


def test_a_branch_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"image.json does not exist: the run is not finished"):
        load_branch(tmp_path / "image.safetensors")
