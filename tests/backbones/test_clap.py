"""The library's own features are the oracle, on small random models that are saved and read back."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from xfeat.backbones.base import Cut, Setup
from xfeat.backbones.clap import AudioTower, TextTower
from xfeat.backbones.registry import open_backbone
from xfeat.errors import InputError

RATE = 8_000
BANDS = 16
CONTEXT = 10
TEXTS = ["a dog barks", "cat", "rain on a roof of tin"]


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "fusion"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model for clips of one second, with its feature extractor and tokenizer."""
    return save(tmp_path_factory.mktemp("clap"), fusion=request.param)


def save(folder: Path, fusion: bool) -> Path:
    import torch
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizer

    torch.manual_seed(0)
    audio = {"window_size": 4, "num_mel_bins": BANDS, "spec_size": 64, "hidden_size": 32, "depths": [1, 1]}
    audio |= {"num_attention_heads": [2, 2], "patch_embeds_hidden_size": 16, "num_hidden_layers": 2, "aff_block_r": 2}
    audio |= {"enable_fusion": fusion, "fusion_type": "aff_2d" if fusion else None}
    text = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"intermediate_size": 32, "max_position_embeddings": CONTEXT + 2}
    model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=8))
    for name, values in model.named_buffers():  # what training would have left in the batch norm
        if name.endswith("running_mean"):
            values.fill_(-40)
        if name.endswith("running_var"):
            values.fill_(400)
    model.save_pretrained(folder)
    cut = "fusion" if fusion else "rand_trunc"
    sizes = {"sampling_rate": RATE, "hop_length": 40, "max_length_s": 1, "fft_window_size": 128}
    ClapFeatureExtractor(BANDS, **sizes, frequency_max=4_000, truncation=cut).save_pretrained(folder)
    letters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcdefghijklmnopqrstuvwxyzĠ"]
    (folder / "vocab.json").write_text(json.dumps({letter: place for place, letter in enumerate(letters)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    RobertaTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    return folder


def clips(folder: Path, *seconds: float) -> list[Path]:
    rng, files = np.random.default_rng(0), []
    for place, length in enumerate(seconds):
        files.append(folder / f"{place}.wav")
        wave = 0.3 * np.sin(np.arange(int(length * RATE)) * (0.2 + place)) + rng.uniform(-0.2, 0.2, int(length * RATE))
        soundfile.write(files[-1], wave, RATE, subtype="FLOAT")
    return files


def whole(items: list[Any]) -> list[Any]:
    return [item.item if isinstance(item, Cut) else item for item in items]


def unit(rows: Any) -> Any:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def library(folder: Path) -> Any:
    from transformers import ClapModel

    return ClapModel.from_pretrained(folder).eval()


def opened(folder: Path, kind: str, setup: Setup | None = None) -> Any:
    return open_backbone(f"clap:laion/tiny@{folder}", kind, setup)


def test_audio_equals_the_library(folder: Path, tmp_path: Path) -> None:
    import torch
    from transformers import ClapFeatureExtractor

    tower = opened(folder, "audio")
    assert isinstance(tower, AudioTower)
    files = clips(tmp_path, 0.4, 1.0, 0.05)
    items = [tower.load(file) for file in files]
    features, tokens = tower.encode_tokens(items)
    waves = [soundfile.read(file)[0] for file in files]
    inputs = ClapFeatureExtractor.from_pretrained(folder)(waves, sampling_rate=RATE, return_tensors="pt")
    inputs["is_longer"] = torch.zeros(3, 1, dtype=torch.bool)  # the library marks a random one in fusion
    model = library(folder)
    with torch.inference_mode():
        output = model.get_audio_features(**inputs)
        hidden = model.audio_model(**inputs).last_hidden_state.numpy()
    assert features.shape == (3, tower.dim) == (3, 8)
    assert features.dtype == tokens.values.dtype == np.float32
    np.testing.assert_allclose(unit(features), output.pooler_output, atol=1e-5)
    assert np.abs(np.linalg.norm(features, axis=1) - 1).max() > 1e-3  # before its norm
    np.testing.assert_array_equal(features, tower.encode(items))
    np.testing.assert_allclose(features[1:], tower.encode(tower.collate(items)[[1, 2]]), atol=1e-6)
    steps = hidden.shape[3]
    assert tokens.offsets.tolist() == [0, steps, 2 * steps, 3 * steps]
    expected = [hidden[clip, :, :, step].mean(axis=1) for clip in range(3) for step in range(steps)]
    np.testing.assert_allclose(tokens.values, expected, atol=1e-5)
    assert tokens.values.shape[1] == tower.token_dim == 32
    assert tower.encode([]).shape == (0, 8)


def test_steps_are_in_order_of_time(folder: Path, tmp_path: Path) -> None:
    tower = opened(folder, "audio")
    wave = np.random.default_rng(1).uniform(-0.5, 0.5, RATE)
    for name, place in (("none.wav", None), ("early.wav", 0.15), ("late.wav", 0.85)):
        changed = wave.copy()
        if place is not None:
            changed[int((place - 0.05) * RATE) : int((place + 0.05) * RATE)] = 0
        soundfile.write(tmp_path / name, changed, RATE, subtype="FLOAT")
    none, early, late = (
        tower.encode_tokens([tower.load(tmp_path / name)])[1].values for name in ("none.wav", "early.wav", "late.wav")
    )
    steps = len(none)
    assert np.abs(early - none).sum(axis=1).argmax() < steps / 3
    assert np.abs(late - none).sum(axis=1).argmax() > steps * 2 / 3


def test_long_clips_are_cut_unless_the_model_fuses(folder: Path, tmp_path: Path) -> None:
    tower = opened(folder, "audio")
    items = [tower.load(file) for file in clips(tmp_path, 0.5, 2.5)]
    fusion = tower.load.extractor.truncation == "fusion"
    assert [isinstance(item, Cut) for item in items] == [False, not fusion]
    mixed, alone = tower.encode(whole(items)), tower.encode(whole(items[1:]))
    np.testing.assert_allclose(mixed[1:], alone, atol=1e-5)
    assert np.isfinite(mixed).all()


def test_a_long_clip_in_fusion_equals_the_library(tmp_path: Path) -> None:
    import torch

    tower = opened(save(tmp_path / "model", fusion=True), "audio")
    views = tower.load(clips(tmp_path, 2.5)[0])
    assert views.shape[0] == 4
    with torch.inference_mode():
        output = library(tmp_path / "model").get_audio_features(
            input_features=torch.from_numpy(views)[None], is_longer=torch.tensor([[True]])
        )
    np.testing.assert_allclose(unit(tower.encode([views])), output.pooler_output, atol=1e-5)


def test_text_equals_the_library(folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer

    tower = opened(folder, "text")
    assert isinstance(tower, TextTower)
    texts = [text[: CONTEXT - 2] for text in TEXTS]
    items = [tower.load(text) for text in texts]
    features, tokens = tower.encode_tokens(items)
    inputs = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    model = library(folder)
    with torch.inference_mode():
        expected = model.get_text_features(**inputs).pooler_output
        hidden = model.text_model(**inputs).last_hidden_state[inputs["attention_mask"] == 1]
    np.testing.assert_allclose(unit(features), expected, atol=1e-5)
    np.testing.assert_array_equal(features, tower.encode(items))
    np.testing.assert_allclose(tokens.values, hidden, atol=1e-5)
    assert tokens.lengths.tolist() == [len(text) + 2 for text in texts]
    assert tokens.values.shape[1] == tower.token_dim == 16


def test_a_long_text_is_cut_to_the_positions_there_are(folder: Path) -> None:
    tower = opened(folder, "text")
    fits, longer = tower.load("a" * (CONTEXT - 2)), tower.load("a" * (CONTEXT - 1))
    assert isinstance(longer, Cut)
    assert longer.item == fits
    assert len(fits["input_ids"]) == CONTEXT
    assert np.isfinite(tower.encode([fits])).all()


@pytest.mark.parametrize("kind", ["audio", "text"])
def test_the_loader_travels_without_the_network(folder: Path, tmp_path: Path, kind: str) -> None:
    tower = opened(folder, kind)
    load, collate = pickle.loads(pickle.dumps((tower.load, tower.collate)))
    sources: list[Any] = list(clips(tmp_path, 0.3, 2.0)) if kind == "audio" else TEXTS
    there, here = (whole([reader(source) for source in sources]) for reader in (load, tower.load))
    assert (collate(there) == tower.collate(here)).all()


def test_fingerprint_tells_what_decides_the_numbers(folder: Path, tmp_path: Path) -> None:
    audio, text = opened(folder, "audio").fingerprint(), opened(folder, "text").fingerprint()
    for fingerprint in (audio, text):
        assert json.loads(json.dumps(fingerprint)) == fingerprint
        assert str(folder) not in json.dumps(fingerprint)
        assert fingerprint["backbone"] == "clap:laion/tiny"
        assert fingerprint["output"]["normalised"] is False
    other = opened(save(tmp_path / "other", fusion="fusion" not in audio["preprocess"]["truncation"]), "audio")
    assert other.fingerprint() != audio
    assert opened(folder, "audio", Setup(precision="bf16")).fingerprint() != audio


def forget_a_layer(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file({name: t for name, t in tensors.items() if "audio_projection" not in name}, folder / "model.safetensors")


def other_truncation(folder: Path) -> None:
    file = folder / "preprocessor_config.json"
    file.write_text(file.read_text().replace("rand_trunc", "fusion"))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (forget_a_layer, "do not fit a CLAP model: audio_projection"),
        (other_truncation, "cuts by 'fusion', but its model is no fusion model"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "is a pickle"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), "cannot be loaded"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "cannot be loaded"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why(tmp_path: Path, harm: Callable[[Path], object], reason: str) -> None:
    save(tmp_path / "model", fusion=False)
    harm(tmp_path / "model")
    with pytest.raises(InputError, match=reason):
        opened(tmp_path / "model", "audio")
