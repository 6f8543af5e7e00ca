"""Hashing by hand is the oracle; the rest are laws of the normal form and texts that real data contains."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.utils import murmurhash3_32

from xfeat.backbones.filters_text import HashingBackbone
from xfeat.errors import SampleError

HASHING = HashingBackbone()
WORDS = st.text(st.characters(categories=["Ll", "Lo", "Nd"]), min_size=1, max_size=6)


def literal_half(grams: list[str], dim: int) -> NDArray[np.float64]:
    row = np.zeros(dim)
    for gram in grams:
        hashed = murmurhash3_32(gram.encode(), seed=0)
        row[abs(hashed) % dim] += 1 if hashed >= 0 else -1
    return row / (np.linalg.norm(row) or 1.0)


def literal(words: list[str]) -> NDArray[np.float64]:
    grams = []
    for padded in (f" {word} " for word in words):
        for n in range(1, 5):
            grams += [padded[i : i + n] for i in range(len(padded) - n + 1)] if len(padded) > n else []
            if len(padded) <= n:  # a word shorter than n is counted once, whole
                grams.append(padded)
                break
    return np.concatenate([literal_half(grams, 1024), literal_half(words, 1024)])


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_equals_hashing_by_hand(words: list[str]) -> None:
    text = HASHING.load(" ".join(words))
    np.testing.assert_allclose(HASHING.encode([text])[0], literal(text.split(" ")), atol=1e-6)


@given(st.lists(WORDS, min_size=1, max_size=5))
def test_a_row_does_not_depend_on_its_batch(texts: list[str]) -> None:
    items = [HASHING.load(text) for text in texts]
    together = HASHING.encode(items)
    assert together.shape == (len(texts), HASHING.dim)
    assert together.dtype == np.float32
    assert np.abs(together).max() <= 1
    np.testing.assert_array_equal(together, np.concatenate([HASHING.encode([item]) for item in items]))


@given(st.text(max_size=12))
def test_loading_is_idempotent_or_refused(text: str) -> None:
    try:
        once = HASHING.load(text)
    except SampleError:
        assert all(unicodedata.category(c)[0] in "ZC" for c in unicodedata.normalize("NFKC", text))
    else:
        assert HASHING.load(once) == once
        assert np.isfinite(HASHING.encode([once])).all()


@pytest.mark.parametrize(
    ("one", "other"),
    [("SEVEN", "seven"), ("Straße", "STRASSE"), ("cafe\u0301", "café"), ("７", "7"), (" two\n\twords ", "two words")],
)
def test_spellings_of_one_text_are_one_text(one: str, other: str) -> None:
    assert HASHING.load(one) == HASHING.load(other)


def test_vowel_signs_do_not_break_words_and_punctuation_does() -> None:
    words = HASHING.encode([HASHING.load(text) for text in ("तीन", "तीन!", "(तीन)", "तन")])[:, 1024:]
    assert np.count_nonzero(words[0]) == 1
    np.testing.assert_array_equal(words[0], words[1])
    np.testing.assert_array_equal(words[0], words[2])
    assert not np.array_equal(words[0], words[3])


def test_punctuation_alone_is_a_text_without_words() -> None:
    row = HASHING.encode([HASHING.load("?!")])[0]
    assert np.linalg.norm(row[:1024]) == pytest.approx(1)
    assert not row[1024:].any()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty text"),
        (" \t\n\u3000", "empty text"),
        ("\u200b\ufeff", "empty text"),
        ("a\ud800", "not valid Unicode"),
        ("x" * 1_000_001, "over the limit"),
    ],
)
def test_a_text_that_cannot_be_used_says_why(text: str, reason: str) -> None:
    with pytest.raises(SampleError, match=reason):
        HASHING.load(text)


def test_a_path_is_not_a_text() -> None:
    with pytest.raises(TypeError, match="a text sample is a str"):
        HASHING.load(Path("caption.txt"))


def test_no_texts_give_no_rows() -> None:
    assert HASHING.encode([]).shape == (0, HASHING.dim)


def test_fingerprint_is_json() -> None:
    fingerprint = HASHING.fingerprint()
    assert json.loads(json.dumps(fingerprint)) == fingerprint


@given(st.lists(st.lists(WORDS, min_size=1, max_size=4), min_size=1, max_size=3))
def test_tokens_are_the_words_by_hand(texts: list[list[str]]) -> None:
    items = [HASHING.load(" ".join(words)) for words in texts]
    rows, tokens = HASHING.encode_tokens(items)
    np.testing.assert_array_equal(rows, HASHING.encode(items))
    every = [item.split(" ") for item in items]
    assert tokens.lengths.tolist() == [len(words) for words in every]
    expected = [literal([word])[:1024] for words in every for word in words]
    np.testing.assert_allclose(tokens.values, expected, atol=1e-6)
    assert tokens.values.dtype == np.float32


def test_tokens_of_texts_without_words_and_of_very_long_ones() -> None:
    assert HASHING.encode_tokens([HASHING.load("?!"), HASHING.load("a " * 600)])[1].lengths.tolist() == [1, 512]
    assert HASHING.encode_tokens([])[1].values.shape == (0, HASHING.token_dim)
