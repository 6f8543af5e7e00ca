"""SSPC branches on disk: what comes back, and files that are refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.paired_building import tiny, views
from xfeat.errors import InputError
from xfeat.methods.sspc import ModalityHead
from xfeat.methods.sspc_settings import SspcSettings
from xfeat.training.resident import InputScale
from xfeat.training.sspc_store import load_gated, save_gated

CPU = torch.device("cpu")


def state(settings: SspcSettings, dim: int, seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return ModalityHead(dim, settings).state_dict()


def save(
    path: Path, *, tokens: bool = False, kept: str = "ema", kinds: tuple[str, ...] = ("raw", "ema"), **changes: Any
) -> dict[str, dict[str, Tensor]]:
    settings = tiny(**changes).resolved(40)
    dim = 7
    states = {kind: state(settings, dim, number) for number, kind in enumerate(kinds)}
    note = {
        "method": "sspc",
        "modality": "text",
        "tokens": tokens,
        "in_dim": dim,
        "weights": kept,
        "settings": settings.model_dump(),
    }
    tensors = {f"{kind}/{name}": value for kind, one in states.items() for name, value in one.items()}
    returned = save_gated(path, tensors, InputScale(torch.full((dim,), 2.0), torch.full((dim,), 3.0)), note)
    assert returned == json.loads(path.with_suffix(".json").read_text())
    return states


@pytest.mark.parametrize(("asked", "found"), [("kept", "ema"), ("raw", "raw"), ("ema", "ema")])
def test_weights_come_back_as_they_were_the_kept_ones_unless_asked(tmp_path: Path, asked: str, found: str) -> None:
    states = save(tmp_path / "text.safetensors", depth=1, heads=2)
    branch = load_gated(tmp_path / "text.safetensors", asked)  # type: ignore[arg-type]
    for name, value in branch.head.state_dict().items():
        assert torch.equal(value, states[found][name])
    assert branch.note["shown"] == found
    assert branch.similarity == "cosine"
    assert not branch.wants_tokens


@pytest.mark.parametrize("input_anchors", ["projected", "raw"])
def test_embeds_scaled_features_by_the_head(tmp_path: Path, input_anchors: str) -> None:
    save(tmp_path / "text.safetensors", input_anchors=input_anchors)
    branch = load_gated(tmp_path / "text.safetensors")
    features = np.random.default_rng(0).normal(size=(2100, 7)).astype(np.float16)
    out = branch.both(features, CPU)
    with torch.no_grad():
        expected = branch.head.branch((torch.from_numpy(features).float() - 2) / 3)
    torch.testing.assert_close(out.joint, expected.joint)
    torch.testing.assert_close(out.input, expected.input)
    torch.testing.assert_close(branch.embed(features, CPU), out.joint)
    assert not out.joint.requires_grad
    torch.testing.assert_close(out.joint.norm(dim=1), torch.ones(2100))


def test_embeds_token_sequences_one_by_one_alike(tmp_path: Path) -> None:
    save(tmp_path / "text.safetensors", tokens=True, depth=1, heads=2)
    branch = load_gated(tmp_path / "text.safetensors")
    view = views("text", count=20, tokens=["text"])["text"]
    assert view.tokens is not None
    assert branch.wants_tokens
    together = branch.embed(view.features, CPU, view.tokens)
    for row in range(20):
        alone = branch.embed(view.features[row : row + 1], CPU, view.tokens.slice(row, row + 1))
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-4)
    with pytest.raises(InputError, match="branch text reads token sequences, which the cache does not hold"):
        branch.embed(view.features, CPU)


def test_equal_trainings_give_equal_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "1" / "text.safetensors", tmp_path / "2" / "text.safetensors"
    for path in (one, two):
        path.parent.mkdir()
        save(path)
    assert one.read_bytes() == two.read_bytes()
    assert one.with_suffix(".json").read_bytes() == two.with_suffix(".json").read_bytes()


def error(path: Path, weights: Any = "kept") -> str:
    with pytest.raises(InputError) as caught:
        load_gated(path, weights)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "text.safetensors"
    assert "text.json does not exist" in error(path)
    save(path, kinds=("raw",), kept="raw")
    assert error(path, "ema").endswith("holds no ema weights: it was trained with ema=0")
    whole, note = path.read_bytes(), json.loads(path.with_suffix(".json").read_text())

    path.write_bytes(whole[:-4])
    assert "is not a whole safetensors file" in error(path)
    save(tmp_path / "other.safetensors", anchors=9)
    path.write_bytes((tmp_path / "other.safetensors").read_bytes())
    assert "is not the file that text.json was written for" in error(path)
    path.write_bytes(whole)

    for changes, words in (
        ({"in_dim": 8}, "does not fit its note"),
        ({"settings": {**note["settings"], "anchors": 9}}, "does not fit its note"),
        ({"weights": 3}, ""),
        ({"settings": 3}, "does not fit its note"),
        ({"settings": {**note["settings"], "new": 1}}, "new"),
    ):
        path.with_suffix(".json").write_text(json.dumps({**note, **changes}))
        assert words in error(path)
    del note["in_dim"]
    path.with_suffix(".json").write_text(json.dumps(note))
    assert "does not fit its note" in error(path)
    path.with_suffix(".json").write_text("[]")
    assert "is damaged" in error(path)
