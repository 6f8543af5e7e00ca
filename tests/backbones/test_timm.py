"""The oracle is timm itself, called literally on its own tiny models with random weights in local files."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import timm.data
import torch
from PIL import Image
from safetensors.torch import save_file

from xfeat.backbones.base import Setup
from xfeat.backbones.registry import open_backbone

MODELS = ["test_vit.r160_in1k", "test_resnet.r160_in1k", "test_convnext.r160_in1k", "test_mambaout"]


def saved(folder: Path, name: str, **settings: Any) -> tuple[Any, Path]:
    torch.manual_seed(0)
    model = timm.create_model(name, **settings)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    save_file(model.state_dict(), folder / "w.safetensors")
    return model.eval(), folder / "w.safetensors"


def opened(spec: str, setup: Setup | None = None) -> Any:
    return open_backbone(spec, "image", setup or Setup("cpu"))


@pytest.mark.parametrize("name", MODELS)
def test_features_are_those_of_timm_without_its_classifier(tmp_path: Path, pictures: list[Path], name: str) -> None:
    model, file = saved(tmp_path, name)
    model.reset_classifier(0)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    with torch.no_grad():
        expected = model(torch.stack([transform(Image.open(path)) for path in pictures])).numpy()
    mine = opened(f"timm:{name}@{file}")
    features = mine.encode(mine.collate([mine.load(path) for path in pictures]))
    assert features.dtype == np.float32
    assert features.shape == (3, mine.dim)
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-5)
    assert mine.encode([]).shape == (0, mine.dim)


def row_by_row(x: torch.Tensor, name: str) -> torch.Tensor:
    if x.ndim == 3:
        return x[:, 1:]
    places = [(row, column) for row in range(5) for column in range(5)]
    return torch.stack([x[:, r, c] if name == "test_mambaout" else x[:, :, r, c] for r, c in places], 1)


@pytest.mark.parametrize("name", MODELS)
def test_tokens_are_the_last_patches(tmp_path: Path, name: str) -> None:
    model, file = saved(tmp_path, name)
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        expected = row_by_row(model.forward_features(images), name).numpy()
    mine = opened(f"timm:{name}@{file}")
    features, tokens = mine.encode_tokens(images)
    np.testing.assert_allclose(features, mine.encode(images), rtol=0, atol=1e-6)
    assert tokens.lengths.tolist() == [expected.shape[1]] * 2
    assert tokens.values.shape[1] == mine.token_dim
    np.testing.assert_allclose(tokens.values.reshape(expected.shape), expected, rtol=1e-3, atol=1e-5)
    left_out = "1 prefix tokens" if "vit" in name else "nothing"
    assert (mine.token_fingerprint()["unit"], mine.token_fingerprint()["left_out"]) == ("patch", left_out)


def test_no_tokens_where_the_network_has_no_map(tmp_path: Path) -> None:
    _, file = saved(tmp_path, "pit_ti_224.in1k")
    mine = opened(f"timm:pit_ti_224.in1k@{file}")
    assert (mine.dim, mine.token_dim, mine.token_fingerprint()) == (256, 0, {})
    with pytest.raises(ValueError, match="no image tokens"):
        mine.encode_tokens(torch.zeros(1, 3, 224, 224))


def test_the_fingerprint_says_what_decides_the_numbers(tmp_path: Path) -> None:
    model, file = saved(tmp_path, "test_vit.r160_in1k")
    mine = opened(f"timm:test_vit.r160_in1k@{file}")
    print_ = mine.fingerprint()
    assert print_["backbone"] == mine.name == "timm:test_vit.r160_in1k"
    assert print_["preprocess"]["input_size"] == [3, 160, 160]
    assert print_["preprocess"]["mean"] == list(timm.data.resolve_model_data_config(model)["mean"])
    assert print_["precision"] == "fp32"
    assert all(print_["versions"].values())
    assert str(tmp_path) not in json.dumps(print_)
    state = model.state_dict()
    state["cls_token"][0, 0, 0] += 1e-3
    save_file(state, file)
    assert opened(f"timm:test_vit.r160_in1k@{file}").fingerprint() != print_


def test_half_precision_is_near_and_says_so(tmp_path: Path) -> None:
    _, file = saved(tmp_path, "test_resnet.r160_in1k")
    exact, half = (opened(f"timm:test_resnet.r160_in1k@{file}", Setup("cpu", p)) for p in ("fp32", "bf16"))
    images = torch.randn(2, 3, 160, 160)
    expected = exact.encode(images)
    assert 0 < np.abs(half.encode(images) - expected).max() < 0.05 * np.abs(expected).max()
    assert half.fingerprint()["precision"] == "bf16 autocast"


def test_what_workers_are_sent_is_small(tmp_path: Path, pictures: list[Path]) -> None:
    _, file = saved(tmp_path, "test_vit.r160_in1k")
    mine = opened(f"timm:test_vit.r160_in1k@{file}")
    sent = pickle.dumps(mine.load)
    assert len(sent) < 5_000
    assert torch.equal(pickle.loads(sent)(pictures[0]), mine.load(pictures[0]))
