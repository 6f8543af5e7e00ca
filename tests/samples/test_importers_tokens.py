from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.errors import InputError
from xfeat.samples.importers import Imported, Names, TokenNames, read_arrays
from xfeat.samples.importers import tokens as module
from xfeat.samples.importers.tokens import TokenRows

LENGTHS = [2, 1, 3]
OFFSETS = np.array([0, 2, 3, 6])
TOKENS = np.arange(24, dtype=np.float32).reshape(6, 4)
FEATURES = np.ones((3, 2))
MASK = np.array([[1, 1, 0], [0, 1, 0], [1, 1, 1]])  # the second sample's token is not its first place


def padded(garbage: float = np.nan) -> np.ndarray:
    out = np.full((3, 3, 4), garbage, np.float32)
    out[MASK.astype(bool)] = TOKENS
    return out


def left_padded() -> np.ndarray:
    out = np.full((3, 3, 4), np.nan, np.float32)
    out[np.arange(3) < np.array(LENGTHS)[:, None]] = TOKENS
    return out


def read(folder: Path, arrays: dict[str, Any], **names: Any) -> Imported:
    np.savez(folder / "a.npz", **arrays)
    return read_arrays(folder / "a.npz", Names(tokens=TokenNames(**names)))


@pytest.mark.parametrize(
    ("arrays", "names"),
    [
        ({"tokens": TOKENS, "offsets": OFFSETS}, {}),
        ({"tokens": TOKENS, "offsets": OFFSETS.astype(np.float64)[:, None]}, {}),
        ({"tokens": TOKENS, "lengths": LENGTHS}, {}),
        ({"tokens": TOKENS, "offsets": [9], "lengths": LENGTHS}, {"lengths": "lengths"}),
        ({"tokens": padded(), "mask": MASK}, {}),
        ({"tokens": padded(), "mask": MASK.astype(bool), "lengths": [9]}, {}),
        ({"tokens": left_padded(), "lengths": LENGTHS}, {}),
        ({"tokens": left_padded(), "mask": MASK, "n": np.array(LENGTHS, np.uint8)}, {"lengths": "n"}),
        ({"words": TOKENS, "begin": OFFSETS}, {"tokens": "words", "offsets": "begin"}),
        ({"words": padded(), "there": MASK}, {"tokens": "words", "mask": "there"}),
    ],
)
@pytest.mark.parametrize("with_features", [True, False])
def test_every_form_is_the_same_sequences(
    tmp_path: Path, arrays: dict[str, Any], names: dict[str, str], with_features: bool
) -> None:
    found = read(tmp_path, {**arrays, **({"features": FEATURES} if with_features else {})}, **names)
    assert found.tokens is not None
    assert found.tokens.lengths.tolist() == LENGTHS
    assert found.tokens.dim == 4
    whole = found.tokens.rows(0, 3)
    assert whole.values.dtype == np.float32
    np.testing.assert_array_equal(whole.values, TOKENS)
    np.testing.assert_array_equal(found.tokens.rows(1, 3).values, TOKENS[2:])
    assert found.tokens.rows(1, 3).offsets.tolist() == [0, 1, 4]
    assert found.pooled is not with_features
    if with_features:
        np.testing.assert_array_equal(found.features.rows(0, 3), FEATURES)
    else:
        means = [TOKENS[:2].mean(0), TOKENS[2], TOKENS[3:].mean(0)]
        np.testing.assert_allclose(found.features.rows(0, 3), means, rtol=1e-6)
        assert found.features.names == ["mean of the tokens"]


def test_padding_without_a_mask_counts_and_that_is_said(tmp_path: Path) -> None:
    found = read(tmp_path, {"tokens": padded(0.0)})
    assert found.tokens is not None
    assert found.tokens.lengths.tolist() == [3, 3, 3]
    assert "no lengths or mask of the tokens: every one counts" in found.notes


def test_an_array_that_is_only_called_tokens_is_left_alone(tmp_path: Path) -> None:
    found = read(tmp_path, {"features": FEATURES, "tokens": np.ones((3, 7), int)})
    assert found.tokens is None
    assert "not used: tokens" in found.notes
    found = read(tmp_path, {"features": FEATURES, "tokens": TOKENS, "offsets": OFFSETS}, tokens="none")
    assert found.tokens is None
    assert "not used: tokens, offsets" in found.notes


def test_a_npy_of_tokens_is_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", left_padded())
    np.save(tmp_path / "n.npy", LENGTHS)
    found = read_arrays(tmp_path / "f.npy", Names(tokens=TokenNames("features", lengths=str(tmp_path / "n.npy"))))
    assert found.pooled
    assert found.tokens is not None
    np.testing.assert_array_equal(found.tokens.rows(0, 3).values, TOKENS)


RAGGED = {"tokens": TOKENS, "offsets": OFFSETS}


@pytest.mark.parametrize(
    ("arrays", "names", "message"),
    [
        ({**RAGGED, "offsets": [0, 2, 3]}, {}, "--tokens tokens: offsets run from 0 to 3: they run from 0 to .* 6"),
        ({**RAGGED, "offsets": [1, 2, 3, 6]}, {}, "offsets run from 1 to 6"),
        ({**RAGGED, "offsets": [0, 4, 3, 6]}, {}, "offsets fall from 4 to 3 at sample 1"),
        ({**RAGGED, "offsets": [0, 2.5, 6]}, {}, "--offsets offsets is .3,. float64: it needs whole numbers"),
        ({**RAGGED, "offsets": [0, 2, 2, 6], "ids": ["a", "b", "c"]}, {}, r"sample 1 \(id 'b'\) has no tokens"),
        ({**RAGGED, "features": np.ones((4, 2))}, {}, "--tokens tokens has 3 samples, the features have 4 rows"),
        ({**RAGGED, "ids": ["a", "b"]}, {}, "--ids ids has 2 rows, the tokens have 3"),
        ({"tokens": TOKENS}, {}, "--tokens tokens is tokens x width: give --offsets"),
        ({"tokens": TOKENS, "mask": MASK}, {"mask": "mask"}, "--mask is for padded tokens"),
        ({"tokens": TOKENS, "lengths": [2, 1, 4]}, {}, "offsets run from 0 to 7"),
        ({"tokens": TOKENS, "lengths": [7, -1]}, {}, "--lengths lengths: sample 1 has -1 tokens"),
        ({"tokens": padded(), "lengths": [2, 1, 4]}, {}, "sample 2 has 4 tokens of 3"),
        ({"tokens": padded(), "lengths": [2, 1]}, {}, "--lengths lengths has 2 rows, the tokens have 3 samples"),
        ({"tokens": padded(), "mask": MASK.T[:2]}, {}, r"--mask mask is \(2, 3\), the tokens are \(3, 3\)"),
        ({"tokens": padded(), "mask": MASK * 2}, {}, "--mask mask holds something besides true and false"),
        ({"tokens": padded(), "mask": MASK * 0}, {}, r"sample 0 \(id '000000'\) has no tokens \(3 such samples\)"),
        ({"tokens": padded(), "o": OFFSETS}, {"offsets": "o"}, "--offsets are for tokens x width"),
        ({"tokens": padded()}, {"lengths": "a", "mask": "b"}, "--lengths and --mask say the same"),
        ({"tokens": padded()}, {"mask": "b"}, "has no array 'b' for --mask"),
        ({"tokens": np.ones(3)}, {}, "--tokens tokens is 3: tokens are"),
        ({"tokens": np.ones((2, 2), complex), "offsets": OFFSETS}, {}, "of type complex128: tokens are real numbers"),
        ({"tokens": np.ones((0, 2)), "offsets": [0]}, {}, "is empty"),
        ({"tokens": np.array([{}]), "offsets": [0]}, {}, "'tokens' holds Python objects"),
        ({**RAGGED, "more": TOKENS}, {"tokens": "tokens,more"}, "--tokens tokens,more: name one array"),
        ({"features": FEATURES}, {"mask": "m"}, "--mask is given, but there are no tokens"),
        ({"features": FEATURES}, {"tokens": "x"}, "has no array 'x' for --tokens"),
        ({"x": FEATURES}, {}, "has no array 'features' for --features"),
    ],
)
def test_refusals(tmp_path: Path, arrays: dict[str, Any], names: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, arrays, **names)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (np.nan, "float32", r"token 1 of sample 2 \(id 'c'\) holds NaN or infinity"),
        (7e4, "float16", r"token 1 of sample 2 \(id 'c'\) holds a value too large for float16: use --dtype float32"),
        (1e39, "float32", "holds NaN or infinity"),
    ],
)
def test_values_that_cannot_be_stored(value: float, dtype: str, message: str) -> None:
    tokens = TOKENS.astype(np.float64)
    tokens[4, 3] = value
    with pytest.raises(InputError, match=message):
        TokenRows("x", tokens, OFFSETS, None).content(["a", "b", "c"], dtype)


def test_content_knows_where_sequences_end_but_not_how_they_were_padded() -> None:
    ids = ["a", "b", "c"]
    ragged = TokenRows("x", TOKENS, OFFSETS, None).content(ids, "float32")
    assert TokenRows("y", padded(), OFFSETS, MASK.astype(bool)).content(ids, "float32") == ragged
    assert TokenRows("x", TOKENS, np.array([0, 1, 3, 6]), None).content(ids, "float32") != ragged
    assert TokenRows("x", TOKENS + 1, OFFSETS, None).content(ids, "float32") != ragged


@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=12), piece=st.integers(1, 30))
def test_pieces_change_nothing(lengths: list[int], piece: int) -> None:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = np.random.default_rng(piece).normal(size=(offsets[-1], 2)).astype(np.float32)
    rows = TokenRows("x", values, offsets, None)
    ids = [str(row) for row in range(len(lengths))]
    whole = rows.content(ids, "float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECE", piece)
        assert rows.content(ids, "float32") == whole
        expected = [values[a:b].astype(np.float64).mean(axis=0) for a, b in pairwise(offsets)]
        np.testing.assert_allclose(rows.means(), expected, rtol=1e-6, atol=1e-7)
