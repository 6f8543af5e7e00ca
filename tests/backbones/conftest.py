"""Small models with random weights in local files, and pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
LARGER = {**TINY, "vision_cfg": {**TINY["vision_cfg"], "image_size": 64}}
WIDER = {**TINY, "text_cfg": {**TINY["text_cfg"], "width": 32}}
OTHER = {**TINY, "vision_cfg": {**TINY["vision_cfg"], "layers": 2}}


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub cannot be reached, and its cache is empty."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(scope="session")
def clip_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the model xfeat-tiny; registers the configurations with open_clip."""
    import open_clip
    import torch
    from safetensors.torch import save_file

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


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three files of noise, of several shapes."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths = []
    for number, (height, width) in enumerate([(40, 60), (32, 32), (20, 90)]):
        paths.append(folder / f"{number}.png")
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(paths[-1])
    return paths
