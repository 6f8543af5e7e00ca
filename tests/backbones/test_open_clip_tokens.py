"""The oracle walks through the model's own modules, layer by layer, for tiny models of each kind of tower."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from xfeat.backbones.base import Setup, Spec
from xfeat.backbones.open_clip import open_tower

pytestmark = pytest.mark.usefixtures("offline")
VIT = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
POOLED_BY_ATTENTION = {"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 4}
CONFIGS: dict[str, dict[str, Any]] = {
    "xfeat-clip": {"embed_dim": 16, "vision_cfg": VIT, "text_cfg": TEXT},
    "xfeat-resnet": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16},
        "text_cfg": {**TEXT, "pool_type": "eos", "eos_id": 49407},
    },
    "xfeat-clipa": {
        "embed_dim": 16,
        "vision_cfg": {**VIT, "pool_type": "avg", "final_ln_after_pool": True},
        "text_cfg": {**TEXT, "no_causal_mask": True, "pool_type": "last"},
    },
    "xfeat-coca": {
        "embed_dim": 16,
        "vision_cfg": {**VIT, **POOLED_BY_ATTENTION, "output_tokens": True},
        "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**TEXT, "attn_pooler_heads": 2},
        "custom_text": True,
    },
    "xfeat-timm": {
        "embed_dim": 16,
        "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160},
        "text_cfg": TEXT,
        "custom_text": True,
    },
    "xfeat-convnext": {
        "embed_dim": 16,
        "vision_cfg": {"timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "mlp", "image_size": 160},
        "text_cfg": {**TEXT, "no_causal_mask": True},
        "custom_text": True,
    },
}
SENTENCES = ["a", "a red square", "Ein Hund läuft über die Wiese und bellt und bellt und bellt"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models")
    for name, config in CONFIGS.items():
        (place / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(place)
    return place


def pair(folder: Path, name: str, kind: str) -> tuple[Any, Any]:
    """The backbone, and open_clip's own model with the same weights."""
    torch.manual_seed(0)
    model = open_clip.create_model(name).eval()
    for module in model.modules():  # other than what they begin with, so that their place matters
        if isinstance(module, torch.nn.LayerNorm | torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    save_file(model.state_dict(), folder / f"{name}.safetensors")
    return open_tower(Spec("open_clip", name, str(folder / f"{name}.safetensors")), kind, Setup("cpu")), model


def patches_of_a_vit(visual: Any, images: torch.Tensor, *, normed: bool) -> torch.Tensor:
    x = visual.conv1(images).flatten(2).permute(0, 2, 1)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], 1) + visual.positional_embedding
    x = visual.ln_pre(x)
    for block in visual.transformer.resblocks:
        x = block(x)
    return (visual.ln_post(x) if normed else x)[:, 1:]


def patches_of_a_resnet(visual: Any, images: torch.Tensor) -> torch.Tensor:
    maps = []
    hook = visual.attnpool.register_forward_pre_hook(lambda _, args: maps.append(args[0]))
    visual(images)
    hook.remove()
    return torch.stack([maps[0][:, :, row, column] for row in range(2) for column in range(2)], 1)


def patches_of_a_trunk(trunk: Any, images: torch.Tensor) -> torch.Tensor:
    x = trunk.forward_features(images)
    if x.ndim == 3:
        return x[:, 1:]
    return torch.stack([x[:, :, row, column] for row in range(x.shape[2]) for column in range(x.shape[3])], 1)


@pytest.mark.parametrize(
    ("name", "patches", "norm", "left_out"),
    [
        ("xfeat-clip", lambda v, x: patches_of_a_vit(v, x, normed=True), "final", "class token"),
        ("xfeat-clipa", lambda v, x: patches_of_a_vit(v, x, normed=False), "none", "class token"),
        ("xfeat-coca", lambda v, x: patches_of_a_vit(v, x, normed=False), "none", "class token"),
        ("xfeat-resnet", patches_of_a_resnet, "none", "nothing"),
        ("xfeat-timm", lambda v, x: patches_of_a_trunk(v.trunk, x), "as before the model's pooling", "1 prefix tokens"),
        ("xfeat-convnext", lambda v, x: patches_of_a_trunk(v.trunk, x), "as before the model's pooling", "nothing"),
    ],
)
def test_patch_tokens(folder: Path, name: str, patches: Any, norm: str, left_out: str) -> None:
    mine, model = pair(folder, name, "image")
    size = model.visual.image_size
    images = torch.randn(3, 3, *(size if isinstance(size, tuple) else (size, size)))
    with torch.no_grad():
        pooled, expected = model.encode_image(images, normalize=False).numpy(), patches(model.visual, images).numpy()
    features, tokens = mine.encode_tokens(images)
    np.testing.assert_allclose(features, pooled, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features, mine.encode(images), rtol=0, atol=1e-6)
    assert tokens.values.dtype == np.float32
    assert tokens.lengths.tolist() == [expected.shape[1]] * 3
    assert tokens.values.shape[1] == mine.token_dim
    np.testing.assert_allclose(tokens.values.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)
    about = mine.token_fingerprint()
    assert (about["unit"], about["layer"], about["norm"], about["left_out"]) == ("patch", "last", norm, left_out)


def words_of(text: Any, ids: torch.Tensor, mask: torch.Tensor | None, *, normed: bool) -> torch.Tensor:
    x = text.token_embedding(ids)
    if getattr(text, "cls_emb", None) is not None:
        x = torch.cat([x, text.cls_emb.expand(len(x), 1, -1)], 1)
    x = x + text.positional_embedding
    for block in text.transformer.resblocks:
        x = block(x, attn_mask=mask)
    return text.ln_final(x) if normed else x


@pytest.mark.parametrize("name", ["xfeat-clip", "xfeat-resnet", "xfeat-timm", "xfeat-convnext", "xfeat-coca"])
def test_word_tokens(folder: Path, name: str) -> None:
    mine, model = pair(folder, name, "text")
    items = [getattr(item, "item", item) if not torch.is_tensor(item) else item for item in map(mine.load, SENTENCES)]
    ids = torch.stack(items)
    text = getattr(model, "text", model)
    mask = text.attn_mask
    if name == "xfeat-coca":  # as the weights were trained: its class token counts as the first place of the mask
        mask = mask + text._build_additive_mask(ids, ids.shape[1] + 1, torch.float32)
    with torch.no_grad():
        hidden = words_of(text, ids, mask, normed=name != "xfeat-coca").numpy()
        pooled = model.encode_text(ids, normalize=False).numpy()
    features, tokens = mine.encode_tokens(ids)
    np.testing.assert_allclose(features, pooled, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features, mine.encode(ids), rtol=0, atol=1e-6)
    ends = [row.tolist().index(49407) + 1 for row in ids]
    assert tokens.lengths.tolist() == ends == [3, 5, 12]
    expected = np.concatenate([row[:end] for row, end in zip(hidden, ends, strict=True)])
    assert tokens.values.shape[1] == mine.token_dim == 16
    np.testing.assert_allclose(tokens.values, expected, rtol=1e-4, atol=1e-5)
    assert mine.token_fingerprint()["unit"] == "word piece"


def test_no_word_tokens_where_a_text_has_no_end_that_the_model_knows(folder: Path) -> None:
    mine, _ = pair(folder, "xfeat-clipa", "text")
    assert mine.token_dim == 0
    assert mine.token_fingerprint() == {}
    with pytest.raises(ValueError, match="no text tokens"):
        mine.encode_tokens(torch.zeros(1, 12, dtype=torch.int64))


def test_word_tokens_of_a_network_of_transformers(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "red"]
    BertTokenizerFast(vocab={word: place for place, word in enumerate(words)}).save_pretrained(tmp_path / "bert")
    config = BertConfig(vocab_size=7, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(config).save_pretrained(tmp_path / "bert")
    place = str(tmp_path / "bert")
    text = {"hf_model_name": place, "hf_tokenizer_name": place, "hf_pooler_type": "mean_pooler", "context_length": 8}
    (tmp_path / "xfeat-bert.json").write_text(
        json.dumps({"embed_dim": 8, "vision_cfg": VIT, "text_cfg": {**text, "hf_proj_type": "linear"}})
    )
    open_clip.add_model_config(tmp_path / "xfeat-bert.json")
    mine, model = pair(tmp_path, "xfeat-bert", "text")
    ids = torch.stack([mine.load("a cat"), mine.load("red red a cat")])
    with torch.no_grad():
        hidden = model.text.transformer(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state.numpy()
        pooled = model.encode_text(ids).numpy()
    features, tokens = mine.encode_tokens(ids)
    np.testing.assert_allclose(features, pooled, rtol=1e-4, atol=1e-6)
    assert tokens.lengths.tolist() == [4, 6]
    np.testing.assert_allclose(tokens.values, np.concatenate([hidden[0, :4], hidden[1, :6]]), rtol=1e-4, atol=1e-5)


def test_nothing_gives_no_tokens(folder: Path) -> None:
    mine, _ = pair(folder, "xfeat-clip", "image")
    features, tokens = mine.encode_tokens([])
    assert (features.shape, tokens.values.shape, len(tokens)) == ((0, 16), (0, 32), 0)
