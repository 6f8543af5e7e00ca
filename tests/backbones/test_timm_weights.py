from pathlib import Path
from typing import Any

import pytest
import timm
import timm.data
import timm.models
import torch
from safetensors.torch import save_file

from xfeat.backbones.base import parse_spec
from xfeat.backbones.timm_weights import Weights, find_weights, load_model
from xfeat.backbones.weights import tensors_sha256
from xfeat.errors import InputError

pytestmark = pytest.mark.usefixtures("offline")


def state(name: str = "test_vit", **settings: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    found: dict[str, Any] = timm.create_model(name, **settings).state_dict()
    return found


def loaded(spec: str) -> Any:
    return load_model(find_weights(parse_spec(spec)))


@pytest.mark.parametrize("classes", [0, 10, 1000])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_may_have_any_classifier_or_none(tmp_path: Path, classes: int, suffix: str) -> None:
    tensors, file = state(num_classes=classes), tmp_path / f"w{suffix}"
    save_file(tensors, file) if suffix == ".safetensors" else torch.save({"state_dict": tensors}, file)
    model = loaded(f"timm:test_vit.r160_in1k@{file}")
    expected = {name: tensor for name, tensor in tensors.items() if not name.startswith("head.")}
    assert tensors_sha256(model.state_dict()) == tensors_sha256(expected)


@pytest.mark.parametrize("form", [True, False])
def test_a_folder_as_timm_saves_it(tmp_path: Path, form: bool) -> None:
    model = timm.create_model("test_vit", num_classes=7, img_size=96, pretrained_cfg_overlay={"mean": (0.1, 0.2, 0.3)})
    timm.models._hub.save_for_hf(model, tmp_path / "mine", safe_serialization=form)
    weights = find_weights(parse_spec(f"timm:test_vit@{tmp_path / 'mine'}"))
    assert weights.name == "test_vit"
    assert weights.args["img_size"] == [96, 96]
    theirs = load_model(weights)
    assert timm.data.resolve_model_data_config(theirs)["mean"] == [0.1, 0.2, 0.3]
    expected = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("head.")}
    assert tensors_sha256(theirs.state_dict()) == tensors_sha256(expected)


def change(tensors: dict[str, Any], what: str) -> dict[str, Any]:
    if what == "missing":
        del tensors["blocks.0.attn.qkv.weight"], tensors["norm.bias"]
    if what == "unexpected":
        tensors["blocks.9.attn.qkv.weight"] = torch.zeros(1)
    if what == "shape":
        tensors["pos_embed"] = torch.zeros(1, 50, 64)  # timm alone would resample it
    return tensors


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing", r"it lacks blocks\.0\.attn\.qkv\.weight, norm\.bias$"),
        ("unexpected", r"it holds blocks\.9\.attn\.qkv\.weight, which the model has not"),
        ("shape", r"pos_embed is \(1, 50, 64\), the model has \(1, 101, 64\)"),
    ],
)
def test_refuses_weights_that_do_not_fit(tmp_path: Path, what: str, message: str) -> None:
    save_file(change(state(), what), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=f"does not fit timm model test_vit.r160_in1k: {message}") as caught:
        loaded(f"timm:test_vit.r160_in1k@{tmp_path / 'w.safetensors'}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("timm:test_vitt", r"no timm model 'test_vitt' \(did you mean test_vit"),
        ("timm:test_vit.r160_in1", r"no tag 'r160_in1' \(did you mean r160_in1k\?\): its tags are r160_in1k"),
        ("timm:vit_base_patch16_224", r"write timm:vit_base_patch16_224\.TAG with TAG one of .*augreg_in1k"),
        ("timm:test_mambaout", "no weights are published under that name; pass a file"),
        ("timm:test_vit.r160_in1k@none/w.pt", "does not exist"),
        ("timm:test_vit.r160_in1k", r"cannot be downloaded.*timm:test_vit\.r160_in1k@/path/to/model\.safetensors"),
    ],
)
def test_refuses_in_one_clear_line(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        loaded(spec)
    assert "\n" not in str(caught.value)


def test_a_file_whose_preprocessing_cannot_be_told_needs_its_tag(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(InputError, match=r"image preprocessing.*timm:vit_base_patch16_224\.TAG@.*augreg_in1k"):
        find_weights(parse_spec(f"timm:vit_base_patch16_224@{file}"))
    named = "vit_base_patch16_224.dino"
    assert find_weights(parse_spec(f"timm:{named}@{file}")) == Weights(named, named, file, {})
    cached = tmp_path / "models--timm--vit_base_patch16_224.dino" / "snapshots" / "0" / "model.safetensors"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"")
    assert find_weights(parse_spec(f"timm:vit_base_patch16_224@{cached}")).name == named
    assert find_weights(parse_spec(f"timm:test_vit@{file}")).name == "test_vit"  # it has one tag only


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "holds no config.json"),
        ("{", "not a timm configuration"),
        ('{"pretrained_cfg": {}}', "not a timm configuration"),
        ('{"architecture": "test_resnet"}', r"holds test_resnet, not test_vit: write timm:test_resnet@"),
        ('{"architecture": "test_vit"}', r"holds no model\.safetensors or pytorch_model\.bin"),
    ],
)
def test_a_folder_of_something_else(tmp_path: Path, config: str | None, message: str) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match=message) as caught:
        find_weights(parse_spec(f"timm:test_vit@{tmp_path}"))
    assert "\n" not in str(caught.value)
