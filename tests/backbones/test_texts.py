"""The tokenizer's own truncation and padding are the oracle."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.backbones.base import Cut
from xfeat.backbones.texts import check_text, text_batch, text_reader, whole
from xfeat.errors import SampleError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "one", "two", "three", "four", "##s"]
TEXTS = st.lists(st.sampled_from(["one", "two", "threes", "fours", "other"]), min_size=1, max_size=9).map(" ".join)


def tokenizer(**settings: Any) -> Any:
    from tokenizers import BertWordPieceTokenizer
    from transformers import PreTrainedTokenizerFast

    rust = BertWordPieceTokenizer(vocab={word: place for place, word in enumerate(WORDS)})
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=rust._tokenizer, **special, **settings)


BY_SIDE = {
    (padding, truncation): tokenizer(padding_side=padding, truncation_side=truncation)
    for padding in ("left", "right")
    for truncation in ("left", "right")
}


@given(st.lists(TEXTS, min_size=1, max_size=4), st.sampled_from(sorted(BY_SIDE)), st.integers(3, 12))
def test_batches_equal_the_tokenizers_own(texts: list[str], sides: tuple[str, str], length: int) -> None:
    own = BY_SIDE[sides]
    reader = text_reader(own, length)
    loaded = [reader(text) for text in texts]
    collate = text_batch(reader)
    batch = collate([whole(item) for item in loaded])
    expected = own(texts, padding=True, truncation=True, max_length=length, return_tensors="pt")
    named = collate.named(batch)
    assert set(named) == set(expected)
    for name, values in named.items():
        np.testing.assert_array_equal(values, expected[name])
    np.testing.assert_array_equal(collate.kept(batch), expected["attention_mask"] == 1)
    full = own(texts)["input_ids"]
    assert [isinstance(item, Cut) for item in loaded] == [len(ids) > length for ids in full]


def test_no_limit_cuts_nothing() -> None:
    reader = text_reader(BY_SIDE["right", "right"], 10**30)
    assert reader.length is None
    assert len(whole(reader("one " * 3_000))["input_ids"]) == 3_002


def test_the_prompt_stands_before_the_text() -> None:
    reader = text_reader(BY_SIDE["right", "right"], 5, "one two ")
    assert whole(reader("three four"))["input_ids"] == [
        WORDS.index(word) for word in ["[CLS]", "one", "two", "three", "[SEP]"]
    ]
    assert pickle.loads(pickle.dumps(reader))("three") == reader("three")


def test_the_tokenizer_of_others_stays_as_it_is() -> None:
    own = tokenizer()
    text_reader(own, 3)("one two three")
    assert len(own("one two three")["input_ids"]) == 5


def test_checks() -> None:
    assert check_text(" Ünï ") == " Ünï "
    with pytest.raises(SampleError, match="1000001 characters is over the limit"):
        check_text("x" * 1_000_001)
    with pytest.raises(SampleError, match="lone surrogate"):
        check_text("\ud800")
    with pytest.raises(TypeError, match="a text sample is a str"):
        check_text(Path("x"))
