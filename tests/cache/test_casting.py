from pathlib import Path

import numpy as np
import pytest

from tests.cache.building import assert_same_tokens, make_features, make_plan, make_tokens
from xfeat.cache import CacheWriter, Columns, FeatureCache, Tokens
from xfeat.cache.casting import cast_tokens, finite_rows
from xfeat.errors import InputError

COLUMNS = Columns(["a", "b", "c"], ["train"] * 3)


def three() -> Tokens:
    """Samples of 2, 1 and 3 tokens."""
    return Tokens(np.arange(12, dtype=np.float64).reshape(6, 2), np.array([0, 2, 3, 6]))


def test_failed_samples_keep_no_tokens_whatever_they_held() -> None:
    tokens = three()
    tokens.values[2] = np.nan
    found = cast_tokens(tokens, COLUMNS, ["ok", "unreadable", "ok"], "float16")
    assert found.values.dtype == np.float16
    assert found.lengths.tolist() == [2, 0, 3]
    assert_same_tokens(found, Tokens(np.delete(tokens.values, 2, 0), np.array([0, 2, 2, 5])))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, r"token 1 of sample 'c' is not finite: it holds nan \(1 such tokens here\)"),
        (-np.inf, "it holds -inf"),
        (7e4, "70000.0 is too large for float16: use float32"),
    ],
)
def test_a_token_that_cannot_be_stored_names_its_sample(value: float, message: str) -> None:
    tokens = three()
    tokens.values[4, 1] = value
    with pytest.raises(InputError, match=message):
        cast_tokens(tokens, COLUMNS, ["ok"] * 3, "float16")


def test_a_sample_without_tokens_has_failed_or_is_refused() -> None:
    tokens = Tokens(np.ones((3, 2)), np.array([0, 2, 2, 3]))
    with pytest.raises(InputError, match=r"sample 'b' has no tokens \(1 such samples here\)"):
        cast_tokens(tokens, COLUMNS, ["ok"] * 3, "float32")
    assert cast_tokens(tokens, COLUMNS, ["ok", "failed", "ok"], "float32").lengths.tolist() == [2, 0, 1]


def test_a_writer_leaves_nothing_of_a_shard_it_refuses(tmp_path: Path) -> None:
    plan = make_plan(4, shard_rows=4, token_dim=3)
    tokens = make_tokens(plan)
    assert tokens is not None
    tokens.values[0] = np.nan
    with CacheWriter(tmp_path / "c", plan) as writer:
        with pytest.raises(InputError, match="token 0 of sample 'größe/00000' is not finite"):
            writer.write(0, make_features(plan), tokens=tokens)
        assert list((tmp_path / "c").glob("*.h5*")) == []
        for wrong in (None, Tokens(np.ones((4, 2)), np.arange(5)), tokens.slice(0, 3)):
            with pytest.raises(ValueError, match="this shard takes"):
                writer.write(0, make_features(plan), tokens=wrong)
    other = make_plan(4)
    with CacheWriter(tmp_path / "d", other) as writer, pytest.raises(ValueError, match="this shard takes"):
        writer.write(0, make_features(other), tokens=tokens)


def test_a_failed_sample_is_left_out_with_its_tokens(tmp_path: Path) -> None:
    plan = make_plan(4, shard_rows=2, token_dim=3)
    tokens = make_tokens(plan)
    assert tokens is not None
    with CacheWriter(tmp_path / "c", plan) as writer:
        for shard, status in ((0, ["ok", "gone"]), (1, ["gone", "gone"])):
            rows = writer.manifest.span(shard)
            writer.write(shard, make_features(plan)[slice(*rows)], status, tokens.slice(*rows))
        assert writer.finish().tokens == tokens.lengths[0]
    everything = FeatureCache(tmp_path / "c").load(ok_only=False, with_tokens=True)
    assert everything.tokens is not None
    assert everything.tokens.lengths.tolist() == [tokens.lengths[0], 0, 0, 0]
    assert_same_tokens(FeatureCache(tmp_path / "c").load(with_tokens=True).tokens, tokens.slice(0, 1))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_finite_rows_of_every_number_there_is(dtype: type) -> None:
    with np.errstate(invalid="ignore"):
        values = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(dtype).reshape(-1, 8)
    for given in (values, np.asfortranarray(values)):
        np.testing.assert_array_equal(finite_rows(given), np.isfinite(values).all(axis=1))
    assert finite_rows(np.empty((2, 0), dtype)).all()
