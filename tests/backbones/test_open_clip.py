"""The oracle is open_clip itself, called literally on a tiny model with random weights in a local file."""

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from xfeat.backbones.base import Cut, Setup, Spec
from xfeat.backbones.open_clip import open_tower

CPU = Setup("cpu")
WORKER = """
import pickle, sys
from xfeat.backbones.base import Cut
batches = []
for load, collate, sources in pickle.loads(sys.stdin.buffer.read()):
    items = [load(source) for source in sources]
    batches.append(collate([item.item if isinstance(item, Cut) else item for item in items]).numpy())
sys.stdout.buffer.write(pickle.dumps(batches))
"""
pytestmark = pytest.mark.usefixtures("offline")


def tower(weights: Path | str, kind: str, setup: Setup = CPU) -> Any:
    return open_tower(Spec("open_clip", "xfeat-tiny", str(weights)), kind, setup)


def literal(weights: Path) -> tuple[Any, Any]:
    model, _, preprocess = open_clip.create_model_and_transforms("xfeat-tiny", pretrained=str(weights))
    return model.eval(), preprocess


def test_image_features_are_those_of_open_clip(clip_weights: Path, pictures: list[Path]) -> None:
    model, preprocess = literal(clip_weights)
    with torch.no_grad():
        expected = torch.cat([model.encode_image(preprocess(Image.open(path))[None]) for path in pictures]).numpy()
    mine = tower(clip_weights, "image")
    features = mine.encode([mine.load(path) for path in pictures])
    assert features.dtype == np.float32
    assert features.shape == (3, mine.dim) == (3, 16)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-6)


def test_text_features_are_those_of_open_clip(clip_weights: Path) -> None:
    texts = ["a red square", "Ein Hund läuft.", "word " * 50]
    model, _ = literal(clip_weights)
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer("xfeat-tiny")(texts)).numpy()
    mine = tower(clip_weights, "text")
    np.testing.assert_allclose(mine.encode([loaded(mine, text) for text in texts]), expected, rtol=1e-4, atol=1e-6)


def loaded(mine: Any, text: str) -> Any:
    item = mine.load(text)
    return item.item if isinstance(item, Cut) else item


def test_a_batch_is_a_list_of_items_or_what_collate_makes_of_it(clip_weights: Path, pictures: list[Path]) -> None:
    for mine, sources in ((tower(clip_weights, "image"), pictures), (tower(clip_weights, "text"), ["one", "two", "3"])):
        items = [mine.load(source) for source in sources]
        batch = mine.collate(items)
        assert np.array_equal(mine.encode(batch), mine.encode(items))
        assert np.allclose(mine.encode(batch[[2, 0]]), mine.encode(items)[[2, 0]], atol=1e-6)


def test_what_workers_are_sent_is_small_and_works_in_another_process(clip_weights: Path, pictures: list[Path]) -> None:
    image, text = tower(clip_weights, "image"), tower(clip_weights, "text")
    jobs = [(image.load, image.collate, pictures), (text.load, text.collate, ["a cat", "word " * 50])]
    sent = pickle.dumps(jobs)
    assert len(sent) < 5_000
    done = subprocess.run([sys.executable, "-c", WORKER], input=sent, capture_output=True, check=True)
    for mine, (_, _, sources), theirs in zip((image, text), jobs, pickle.loads(done.stdout), strict=True):
        assert np.array_equal(theirs, mine.collate([loaded(mine, source) for source in sources]).numpy())


@pytest.mark.parametrize("kind", ["image", "text"])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_is_near_and_says_so(
    clip_weights: Path, pictures: list[Path], kind: str, precision: str
) -> None:
    exact, half = tower(clip_weights, kind), tower(clip_weights, kind, Setup("cpu", precision))
    items = [exact.load(source) for source in (pictures if kind == "image" else ["a", "b c"])]
    expected, features = exact.encode(items), half.encode(items)
    assert features.dtype == np.float32
    assert 0 < np.abs(features - expected).max() < 0.05 * np.abs(expected).max()
    assert half.fingerprint()["precision"] == f"{precision} autocast"
    assert half.fingerprint()["weights_sha256"] == exact.fingerprint()["weights_sha256"]


def test_nothing_gives_no_rows(clip_weights: Path) -> None:
    assert tower(clip_weights, "image").encode([]).shape == tower(clip_weights, "text").encode([]).shape == (0, 16)


def test_only_the_tower_in_use_stays_in_memory(clip_weights: Path) -> None:
    whole = sum(p.numel() for p in literal(clip_weights)[0].parameters())
    image, text = (sum(p.numel() for p in tower(clip_weights, kind)._model.parameters()) for kind in ("image", "text"))
    assert image < whole
    assert text < whole
    assert image + text <= whole + 1  # the temperature is in both


@pytest.mark.parametrize("form", ["plain.pt", "wrapped.pth", "parallel.pt"])
def test_the_container_of_the_weights_does_not_matter(clip_weights: Path, tmp_path: Path, form: str) -> None:
    state: dict[str, Any] = literal(clip_weights)[0].state_dict()
    if form == "wrapped.pth":
        state = {"epoch": 3, "state_dict": state}
    if form == "parallel.pt":
        state = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save(state, tmp_path / form)
    assert tower(tmp_path / form, "image").fingerprint() == tower(clip_weights, "image").fingerprint()


def test_the_fingerprint_says_what_decides_the_numbers(clip_weights: Path) -> None:
    image, text = (tower(clip_weights, kind).fingerprint() for kind in ("image", "text"))
    assert image["model"] == open_clip.get_model_config("xfeat-tiny")
    assert image["preprocess"]["size"] == (32, 32)
    assert image["weights_sha256"] == text["weights_sha256"]
    assert text["tokenizer"]["context_length"] == 12
    assert image["precision"] == "fp32"
    assert image["output"]["normalised"] is False
    assert all(image["versions"].values())
    assert str(clip_weights.parent) not in json.dumps([image, text])


def test_one_other_number_in_the_weights_is_another_fingerprint(clip_weights: Path, tmp_path: Path) -> None:
    state = literal(clip_weights)[0].state_dict()
    state["visual.proj"][0, 0] += 1e-3
    save_file(state, tmp_path / "w.safetensors")
    assert tower(tmp_path / "w.safetensors", "image").fingerprint() != tower(clip_weights, "image").fingerprint()


def test_preprocessing_comes_from_the_configuration_beside_the_weights(
    clip_weights: Path, pictures: list[Path], tmp_path: Path
) -> None:
    settings = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "interpolation": "bilinear", "resize_mode": "squash"}
    (tmp_path / "w.safetensors").write_bytes(clip_weights.read_bytes())
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": {"embed_dim": 16}, "preprocess_cfg": settings})
    )
    _, _, preprocess = open_clip.create_model_and_transforms(
        "xfeat-tiny", image_mean=(0.5, 0.4, 0.3), image_std=(0.2,) * 3, image_interpolation="bilinear",
        image_resize_mode="squash",
    )  # fmt: skip
    mine = tower(tmp_path / "w.safetensors", "image")
    torch.testing.assert_close(mine.load(pictures[2]), preprocess(Image.open(pictures[2])))
    assert mine.fingerprint() != tower(clip_weights, "image").fingerprint()
