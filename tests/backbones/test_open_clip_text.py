import json
import pickle
from pathlib import Path
from typing import Any

import open_clip
import pytest

from xfeat.backbones.base import Cut
from xfeat.backbones.open_clip_text import TextReader, Tokenizer, text_reader, tokenizer_of
from xfeat.errors import InputError, SampleError

pytestmark = pytest.mark.usefixtures("offline")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "dog", "red", "##s"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer of nine word pieces, as transformers saves it."""
    from transformers import BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    BertTokenizerFast(vocab={word: place for place, word in enumerate(WORDS)}).save_pretrained(folder)
    return folder


def clip(context: int = 12) -> TextReader:
    return text_reader(Tokenizer("", context))


@pytest.mark.parametrize("words", [1, 9, 10, 11, 40])
def test_says_that_a_text_was_cut_when_it_is_longer_than_the_context(words: int) -> None:
    item = clip()("cat " * words)
    assert isinstance(item, Cut) == (words + 2 > 12)  # start and end marks take two of the twelve places


@pytest.mark.parametrize(("words", "cut"), [(1, False), (6, False), (7, True), (50, True)])
def test_says_so_of_a_tokenizer_from_the_hub_too(bert: Path, words: int, cut: bool) -> None:
    item = text_reader(Tokenizer(str(bert), 8))("cat " * words)
    assert isinstance(item, Cut) == cut
    row = (item.item if isinstance(item, Cut) else item).tolist()
    kept = min(words, 6)
    assert row == [2, *[5] * kept, 3, *[0] * (6 - kept)]


@pytest.mark.parametrize("text", ["", " \n\t", "&nbsp;"])  # the tokenizer decodes HTML: the last is a space
def test_an_empty_text_is_a_failed_sample(text: str) -> None:
    with pytest.raises(SampleError, match="empty text"):
        clip()(text)


def test_a_text_is_limited_and_must_be_unicode() -> None:
    with pytest.raises(SampleError, match="over the limit"):
        clip()("a" * 1_000_001)
    with pytest.raises(SampleError, match="not valid Unicode"):
        clip()("\ud800")


@pytest.mark.parametrize("from_hub", [False, True])
def test_is_sent_without_its_tokenizer(bert: Path, from_hub: bool) -> None:
    reader = text_reader(Tokenizer(str(bert), 8)) if from_hub else clip()
    sent = pickle.dumps(reader)
    assert len(sent) < 2_000
    assert pickle.loads(sent)("a red cat").tolist() == reader("a red cat").tolist()


def settings_of(tokenizer: Any) -> tuple[Any, ...]:
    cleaning, reduction = tokenizer.clean_fn.__name__, getattr(tokenizer, "reduction_fn", None)
    return type(tokenizer), tokenizer.context_length, cleaning, reduction


def test_every_listed_model_has_the_tokenizer_that_open_clip_gives_it() -> None:
    seen = {}
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        assert config["embed_dim"] > 0
        seen.setdefault(tokenizer_of(name, config), name)
    built = {tokenizer: name for tokenizer, name in seen.items() if not tokenizer.source}
    assert built
    for tokenizer, name in built.items():
        assert settings_of(tokenizer.built) == settings_of(open_clip.get_tokenizer(name))
    for tokenizer in seen.keys() - built.keys():  # their files are on the hub
        text = open_clip.get_model_config(seen[tokenizer])["text_cfg"]
        assert tokenizer.source == text["hf_tokenizer_name"]
        assert json.loads(tokenizer.options) == text.get("tokenizer_kwargs", {})


def test_the_settings_reach_the_tokenizer(bert: Path) -> None:
    config = {"hf_tokenizer_name": str(bert), "context_length": 6, "tokenizer_kwargs": {"strip_sep_token": True}}
    assert tokenizer_of("x", {"text_cfg": config})("a cat").tolist() == [2, 4, 5, 0, 0, 0]


def test_a_tokenizer_that_is_not_here_or_not_named() -> None:
    with pytest.raises(InputError, match=r"tokenizer an/absent-one is not on this machine and cannot be downloaded"):
        text_reader(Tokenizer("an/absent-one"))
    with pytest.raises(InputError, match="names no tokenizer"):
        tokenizer_of("My-SigLIP", {"text_cfg": {"context_length": 64}})
