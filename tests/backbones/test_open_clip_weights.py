import json
from pathlib import Path

import open_clip
import pytest

from xfeat.backbones.base import Spec
from xfeat.backbones.open_clip_weights import find_weights, load_model
from xfeat.errors import InputError

pytestmark = pytest.mark.usefixtures("offline", "clip_weights")


def load(model: str, asked: str) -> None:
    load_model(model, find_weights(Spec("open_clip", model, asked)))


@pytest.mark.parametrize("model", ["xfeat-other", "xfeat-wider", "xfeat-larger"])
def test_refuses_weights_of_another_model(clip_weights: Path, model: str) -> None:
    # For the larger image open_clip alone would resample the positions and go on.
    with pytest.raises(InputError, match=f"does not fit open_clip model {model}") as caught:
        load(model, str(clip_weights))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "asked", "message"),
    [
        ("xfeat-tinny", "x", r"did you mean xfeat-tiny"),
        ("ViT-B-32", "", r"no weights given.*ViT-B-32@TAG.*laion2b_s34b_b79k"),
        ("xfeat-tiny", "", "no tags, pass a file"),
        ("ViT-B-32", "laion2b_s34b_b79", r"did you mean laion2b_s34b_b79k"),
        ("ViT-B-32-quickgelu", "laion2b_s34b_b79k", "belongs to ViT-B-32"),
        ("ViT-B-32", "none/w.pt", "does not exist"),
        ("ViT-B-32", "openai", "QuickGELU.*use open_clip:ViT-B-32-quickgelu@"),
        ("ViT-B-32", "openai=w.pt", "does not exist"),
        ("ViT-B-32", "laion2b_s34b_b79k", r"cannot be downloaded.*ViT-B-32@laion2b_s34b_b79k=/path"),
    ],
)
def test_refuses_in_one_clear_line(model: str, asked: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(model, asked)
    assert "\n" not in str(caught.value)


def test_every_published_pair_of_other_activation_names_a_model_that_exists() -> None:
    wrong = [
        Spec("open_clip", model, tag)
        for model, tag in open_clip.list_pretrained()
        if bool(open_clip.get_model_config(model).get("quick_gelu"))
        != bool(open_clip.pretrained.get_pretrained_cfg(model, tag).get("quick_gelu"))
        and model != "roberta-ViT-B-32"  # its one tag does not state what its one configuration does
    ]
    assert wrong
    for spec in wrong:
        with pytest.raises(InputError, match="QuickGELU") as caught:
            find_weights(spec)
        advised = str(caught.value).partition("use open_clip:")[2].removesuffix("@...")
        assert find_weights(Spec("open_clip", advised, spec.weights)).tag == spec.weights
    assert find_weights(Spec("open_clip", "roberta-ViT-B-32", "laion2b_s12b_b32k")).tag


def test_a_file_is_known_to_use_quickgelu_by_its_name_its_place_or_its_configuration(tmp_path: Path) -> None:
    published = tmp_path / "ViT-B-32.pt"  # the name of OpenAI's file
    named = tmp_path / "vit_b_32-quickgelu-mine.pt"
    cached = tmp_path / "models--timm--vit_base_patch32_clip_224.openai" / "snapshots" / "0" / "model.safetensors"
    beside = tmp_path / "run" / "w.safetensors"
    for file in (published, named, cached, beside):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    (tmp_path / "run" / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"quick_gelu": True}}))
    for file in (published, named, cached, beside):
        with pytest.raises(InputError, match="use open_clip:ViT-B-32-quickgelu@"):
            find_weights(Spec("open_clip", "ViT-B-32", str(file)))


def test_a_file_whose_preprocessing_cannot_be_told_needs_its_tag(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"")
    with pytest.raises(InputError, match=r"image preprocessing.*@TAG=.*laion2b_s32b_b82k"):
        find_weights(Spec("open_clip", "ViT-L-14", str(file)))
    assert find_weights(Spec("open_clip", "ViT-L-14", f"laion2b_s32b_b82k={file}")).preprocess["mean"] == [0.5] * 3
    siglip = find_weights(Spec("open_clip", "ViT-B-16-SigLIP", str(file))).preprocess
    assert (siglip["mean"], siglip["resize_mode"]) == ([0.5] * 3, "squash")
