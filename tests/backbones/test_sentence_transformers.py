"""The library's own `encode` is the oracle, on small random models that are saved and read back."""

import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from xfeat.backbones.base import Cut, Setup
from xfeat.backbones.registry import open_backbone
from xfeat.backbones.sentence_transformers import SentenceBackbone
from xfeat.errors import InputError, SampleError

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "a", "cat", "sat", "on", "the", "mat", "dog", "##s", "query", ":"]
TEXTS = ["a cat", "the cat sat on the mat on the mat on the mat", "dogs", "sat on a dog : the cats", "zebra"]
LENGTH = 9


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of width 16 with a WordPiece tokenizer, as `transformers` saves it."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("network")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **sizes)).save_pretrained(folder)
    BertWordPieceTokenizer(vocab={word: place for place, word in enumerate(WORDS)}).save(str(folder / "words.json"))
    BertTokenizerFast(tokenizer_file=str(folder / "words.json")).save_pretrained(folder)
    return folder


def save(
    network: Path, folder: Path, pooling: str = "mean", unit: bool = False, dense: int = 0, **settings: object
) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    include = bool(settings.pop("include_prompt", True))
    modules = [Transformer(str(network), max_seq_length=LENGTH), Pooling(16, pooling, include_prompt=include)]
    modules += [Dense(16, dense)] if dense else []
    modules += [Normalize()] if unit else []
    SentenceTransformer(modules=modules, device="cpu", **settings).save(str(folder))
    return folder


def opened(folder: Path, setup: Setup | None = None) -> SentenceBackbone:
    backbone = open_backbone(f"sentence-transformers:tiny@{folder}", setup=setup)
    assert isinstance(backbone, SentenceBackbone)
    return backbone


def loaded(backbone: SentenceBackbone, texts: list[str]) -> list[dict[str, list[int]]]:
    return [item.item if isinstance(item, Cut) else item for item in map(backbone.load, texts)]


PROMPT = {"prompts": {"q": "query : "}, "default_prompt_name": "q"}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pooling": "cls", "unit": True},
        {"pooling": "max", "dense": 5},
        {"pooling": "lasttoken", **PROMPT},
        {"pooling": "mean", "include_prompt": False, **PROMPT},
    ],
    ids=["mean", "cls-unit", "max-dense", "prompt", "prompt-left-out"],
)
def test_equals_the_library(network: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    from sentence_transformers import SentenceTransformer

    folder = save(network, tmp_path / "model", **settings)  # type: ignore[arg-type]
    backbone = opened(folder)
    expected = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    items = loaded(backbone, TEXTS)
    features = backbone.encode(items)
    assert features.dtype == np.float32
    assert (backbone.kind, backbone.dim) == ("text", expected.shape[1])
    np.testing.assert_allclose(features, expected, atol=1e-5)
    collated = backbone.collate(items)
    np.testing.assert_allclose(backbone.encode(collated), expected, atol=1e-5)
    np.testing.assert_allclose(backbone.encode(collated[[2, 0]]), expected[[2, 0]], atol=1e-5)
    unit = bool(settings.get("unit"))
    assert backbone.fingerprint()["output"]["normalised"] is unit
    assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5) is unit


def test_a_long_text_is_cut_and_says_so(network: Path, tmp_path: Path) -> None:
    backbone = opened(save(network, tmp_path / "model"))
    words = ["cat"] * (LENGTH - 2)
    fits, longer = backbone.load(" ".join(words)), backbone.load(" ".join([*words, "dog"]))
    assert isinstance(longer, Cut)
    assert longer.item == fits
    assert fits["input_ids"] == [WORDS.index(word) for word in ["[CLS]", *words, "[SEP]"]]


def test_tokens_are_the_word_pieces(network: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = save(network, tmp_path / "model")
    backbone = opened(folder)
    items = loaded(backbone, TEXTS)
    features, tokens = backbone.encode_tokens(items)
    np.testing.assert_array_equal(features, backbone.encode(items))
    assert tokens.lengths.tolist() == [len(item["input_ids"]) for item in items]
    expected = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, output_value="token_embeddings")
    assert tokens.values.dtype == np.float32
    np.testing.assert_allclose(tokens.values, np.concatenate([rows.numpy() for rows in expected]), atol=1e-5)
    assert backbone.token_dim == 16
    assert backbone.encode([]).shape == (0, 16)
    assert backbone.encode_tokens([])[1].values.shape == (0, 16)


def test_the_loader_travels_without_the_network(network: Path, tmp_path: Path) -> None:
    backbone = opened(save(network, tmp_path / "model", **PROMPT))  # type: ignore[arg-type]
    sent = pickle.dumps((backbone.load, backbone.collate))
    assert len(sent) < 20_000
    load, collate = pickle.loads(sent)
    assert [load(text) for text in TEXTS] == [backbone.load(text) for text in TEXTS]
    items = loaded(backbone, TEXTS)
    assert (collate(items) == backbone.collate(items)).all()


def test_several_threads_load_and_encode_at_once(network: Path, tmp_path: Path) -> None:
    backbone = opened(save(network, tmp_path / "model"))
    alone = [backbone.encode(loaded(backbone, [text])) for text in TEXTS]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: backbone.encode(loaded(backbone, [text])), TEXTS * 20))
    for place, row in enumerate(together):
        np.testing.assert_allclose(row, alone[place % len(TEXTS)], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "empty text"), (" \n\t", "empty text"), ("a\ud800", "lone surrogate"), ("x" * 1_000_001, "over the limit")],
)
def test_text_that_cannot_be_used_says_why(network: Path, tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(SampleError, match=reason):
        opened(save(network, tmp_path / "model")).load(text)


def test_fingerprint_tells_what_decides_the_numbers(network: Path, tmp_path: Path) -> None:
    plain, moved = save(network, tmp_path / "one"), save(network, tmp_path / "two")
    first = opened(plain).fingerprint()
    assert json.loads(json.dumps(first)) == first
    assert first == opened(moved).fingerprint()
    assert str(tmp_path) not in json.dumps(first)
    assert first["backbone"] == "sentence-transformers:tiny"
    assert open_backbone(f"sentence-transformers:{plain}").name == "sentence-transformers:one"
    others = [
        opened(save(network, tmp_path / "cls", pooling="cls")),
        opened(save(network, tmp_path / "prompt", **PROMPT)),  # type: ignore[arg-type]
        opened(plain, Setup(precision="bf16")),
    ]
    assert all(other.fingerprint() != first for other in others)


def test_half_precision_is_near(network: Path, tmp_path: Path) -> None:
    folder = save(network, tmp_path / "model", unit=True)
    full, half = opened(folder), opened(folder, Setup(precision="bf16"))
    rows = half.encode(loaded(half, TEXTS))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, full.encode(loaded(full, TEXTS)), atol=0.05)


def with_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def with_code(folder: Path) -> None:
    listing = folder / "modules.json"
    listing.write_text(listing.read_text().replace("sentence_transformers.", "evil_modules.", 1))


def with_path(folder: Path) -> None:
    listing = folder / "modules.json"
    listing.write_text(listing.read_text().replace("1_Pooling", "../elsewhere"))


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (with_pickle, "pytorch_model.bin is a pickle"),
        (with_code, r"code of its own \(evil_modules"),
        (with_path, "lies outside the folder"),
        (without_weights, "cannot be loaded"),
        (lambda folder: (folder / "modules.json").write_text("[1]"), "not a list of modules"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why(
    network: Path, tmp_path: Path, harm: Callable[[Path], object], reason: str
) -> None:
    folder = save(network, tmp_path / "model")
    harm(folder)
    with pytest.raises(InputError, match=reason):
        opened(folder)
