"""The oracle is open_clip itself, called literally on a tiny model with random weights in a local file."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from xfeat.backbones.base import Setup, Spec
from xfeat.backbones.open_clip import open_tower
from xfeat.backbones.open_clip_weights import find_weights, tensors_sha256
from xfeat.errors import InputError, SampleError

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
LARGER = {**TINY, "vision_cfg": {**TINY["vision_cfg"], "image_size": 64}}
WIDER = {**TINY, "text_cfg": {**TINY["text_cfg"], "width": 32}}
OTHER = {**TINY, "vision_cfg": {**TINY["vision_cfg"], "layers": 2}}


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the model xfeat-tiny; registers the configurations with open_clip."""
    folder = tmp_path_factory.mktemp("open_clip")
    (folder / "configs").mkdir()
    for name, config in {
        "xfeat-tiny": TINY,
        "xfeat-larger": LARGER,
        "xfeat-wider": WIDER,
        "xfeat-other": OTHER,
    }.items():
        (folder / "configs" / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / "configs")
    torch.manual_seed(0)
    save_file(open_clip.create_model("xfeat-tiny").state_dict(), folder / "tiny.safetensors")
    return folder / "tiny.safetensors"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths = []
    for number, (height, width) in enumerate([(40, 60), (32, 32), (20, 90)]):
        paths.append(folder / f"{number}.png")
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def tower(weights: Path | str, kind: str, model: str = "xfeat-tiny") -> Any:
    return open_tower(Spec("open_clip", model, str(weights)), kind, Setup("cpu"))


def literal(weights: Path) -> tuple[Any, Any]:
    model, _, preprocess = open_clip.create_model_and_transforms("xfeat-tiny", pretrained=str(weights))
    return model.eval(), preprocess


def test_image_features_are_those_of_open_clip(weights: Path, pictures: list[Path]) -> None:
    model, preprocess = literal(weights)
    with torch.no_grad():
        expected = torch.cat([model.encode_image(preprocess(Image.open(path))[None]) for path in pictures]).numpy()
    mine = tower(weights, "image")
    features = mine.encode([mine.load(path) for path in pictures])
    assert features.dtype == np.float32
    assert features.shape == (3, mine.dim) == (3, 16)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-6)


def test_text_features_are_those_of_open_clip(weights: Path) -> None:
    texts = ["a red square", "Ein Hund läuft.", "word " * 50]
    model, _ = literal(weights)
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer("xfeat-tiny")(texts)).numpy()
    mine = tower(weights, "text")
    np.testing.assert_allclose(mine.encode([mine.load(text) for text in texts]), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("words", [1, 9, 10, 11, 40])
def test_counts_a_text_as_truncated_when_it_is_longer_than_the_context(weights: Path, words: int) -> None:
    mine = tower(weights, "text")
    mine.load("cat " * words)
    assert mine.truncated == int(words + 2 > 12)  # start and end marks take two of the twelve places


@pytest.mark.parametrize("text", ["", " \n\t", "&nbsp;"])  # the tokenizer decodes HTML: the last is a space
def test_an_empty_text_is_a_failed_sample(weights: Path, text: str) -> None:
    with pytest.raises(SampleError, match="empty text"):
        tower(weights, "text").load(text)


def test_nothing_gives_no_rows(weights: Path) -> None:
    assert tower(weights, "image").encode([]).shape == tower(weights, "text").encode([]).shape == (0, 16)


def test_only_the_tower_in_use_stays_in_memory(weights: Path) -> None:
    whole = sum(p.numel() for p in literal(weights)[0].parameters())
    image, text = (sum(p.numel() for p in tower(weights, kind)._model.parameters()) for kind in ("image", "text"))
    assert image < whole
    assert text < whole
    assert image + text <= whole + 1  # the temperature is in both


@pytest.mark.parametrize("form", ["plain.pt", "wrapped.pth", "parallel.pt"])
def test_the_container_of_the_weights_does_not_matter(weights: Path, tmp_path: Path, form: str) -> None:
    state: dict[str, Any] = literal(weights)[0].state_dict()
    if form == "wrapped.pth":
        state = {"epoch": 3, "state_dict": state}
    if form == "parallel.pt":
        state = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save(state, tmp_path / form)
    assert tower(tmp_path / form, "image").fingerprint() == tower(weights, "image").fingerprint()


def test_the_fingerprint_says_what_decides_the_numbers(weights: Path) -> None:
    image, text = (tower(weights, kind).fingerprint() for kind in ("image", "text"))
    assert image["model"] == TINY
    assert image["preprocess"]["size"] == (32, 32)
    assert image["weights_sha256"] == text["weights_sha256"]
    assert text["tokenizer"]["context_length"] == 12
    assert image["precision"] == "fp32"
    assert image["output"]["normalised"] is False
    assert all(image["versions"].values())
    assert str(weights.parent) not in json.dumps([image, text])


def test_one_other_number_in_the_weights_is_another_fingerprint(weights: Path, tmp_path: Path) -> None:
    state = literal(weights)[0].state_dict()
    state["visual.proj"][0, 0] += 1e-3
    save_file(state, tmp_path / "w.safetensors")
    assert tower(tmp_path / "w.safetensors", "image").fingerprint() != tower(weights, "image").fingerprint()


def test_the_hash_sees_names_types_and_shapes() -> None:
    states = [
        {"a": torch.zeros(4)},
        {"b": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(4, dtype=torch.int32)},
        {"a": torch.zeros(8, dtype=torch.bfloat16)},
        {"a": torch.tensor(0.0)},
    ]
    assert len({tensors_sha256(state) for state in states}) == len(states)
    rows = torch.arange(6.0).reshape(2, 3)
    assert tensors_sha256({"a": rows.T.contiguous().T}) == tensors_sha256({"a": rows})


class Evil:
    """Unpickling it runs a command."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.witness),)


def test_a_weights_file_is_never_unpickled(weights: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": Evil(tmp_path / "ran")}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="cannot be read as tensors"):
        tower(tmp_path / "w.pt", "image")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights"])
def test_refuses_a_file_that_is_no_weights(weights: Path, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as tensors") as caught:
        tower(tmp_path / name, "image")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", ["xfeat-other", "xfeat-wider", "xfeat-larger"])
def test_refuses_weights_of_another_model(weights: Path, model: str) -> None:
    # For the larger image open_clip alone would resample the positions and go on.
    with pytest.raises(InputError, match=f"does not fit open_clip model {model}") as caught:
        tower(weights, "image", model)
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
def test_refuses_in_one_clear_line(weights: Path, model: str, asked: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        tower(asked, "image", model)
    assert "\n" not in str(caught.value)


def test_every_published_pair_of_other_activation_names_a_model_that_exists(weights: Path) -> None:
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


def test_preprocessing_comes_from_the_configuration_beside_the_weights(
    weights: Path, pictures: list[Path], tmp_path: Path
) -> None:
    settings = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "interpolation": "bilinear", "resize_mode": "squash"}
    (tmp_path / "w.safetensors").write_bytes(weights.read_bytes())
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": settings}))
    _, _, preprocess = open_clip.create_model_and_transforms(
        "xfeat-tiny", image_mean=(0.5, 0.4, 0.3), image_std=(0.2,) * 3, image_interpolation="bilinear",
        image_resize_mode="squash",
    )  # fmt: skip
    mine = tower(tmp_path / "w.safetensors", "image")
    torch.testing.assert_close(mine.load(pictures[2]), preprocess(Image.open(pictures[2])))
    assert mine.fingerprint() != tower(weights, "image").fingerprint()


def test_a_file_whose_preprocessing_cannot_be_told_needs_its_tag(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"")
    with pytest.raises(InputError, match=r"image preprocessing.*@TAG=.*laion2b_s32b_b82k"):
        find_weights(Spec("open_clip", "ViT-L-14", str(file)))
    assert find_weights(Spec("open_clip", "ViT-L-14", f"laion2b_s32b_b82k={file}")).preprocess["mean"] == [0.5] * 3
    siglip = find_weights(Spec("open_clip", "ViT-B-16-SigLIP", str(file))).preprocess
    assert (siglip["mean"], siglip["resize_mode"]) == ([0.5] * 3, "squash")


@pytest.mark.parametrize("device", ["gpu", "cuda"])
def test_a_device_that_is_not_there(weights: Path, device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match=f"device '{device}'"):
        open_tower(Spec("open_clip", "xfeat-tiny", str(weights)), "image", Setup(device))


def test_torch_and_torchvision_that_do_not_belong_together_are_explained(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    code = "from xfeat.backbones.registry import open_backbone; open_backbone('open_clip:RN50@openai', 'image')"
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    last = done.stderr.splitlines()[-1]
    assert "not a matching pair" in last
    assert "pip install --force-reinstall torch torchvision --index-url" in last
