import json
from pathlib import Path

import numpy as np
import pytest

from tests.cache.building import assert_same_tokens, make_features, make_plan, make_tokens, write_cache
from tests.cache.test_reader import flip
from xfeat.cache import CacheWriter, FeatureCache, Tokens
from xfeat.cache.shard import compose_shard, put_shard
from xfeat.cache.verify import verify
from xfeat.errors import InputError


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_tokens_come_with_their_rows(tmp_path: Path, dtype: str) -> None:
    plan = make_plan(dtype=dtype, token_dim=3)
    made = make_tokens(plan)
    assert made is not None
    tokens = Tokens(made.values.astype(dtype), made.offsets)
    cache = write_cache(tmp_path / "c", plan)
    assert (cache.manifest.token_dim, cache.manifest.tokens) == (3, len(tokens.values))
    found = cache.load(with_tokens=True)
    assert_same_tokens(found.tokens, tokens)
    assert found.tokens is not None
    assert found.tokens.values.dtype == dtype
    train = cache.load(["train"], with_tokens=True, with_features=False)
    assert train.features.shape == (17, 0)
    assert_same_tokens(train.tokens, tokens.rows(np.arange(0, 50, 3)))
    for check in (True, False):
        assert_same_tokens(Tokens.concatenate([cache.tokens(shard, check=check) for shard in range(4)]), tokens)
    assert_same_tokens(Tokens.concatenate([b.tokens for b in cache.blocks(with_tokens=True) if b.tokens]), tokens)
    assert cache.load().tokens is None
    np.testing.assert_array_equal(cache.load().features, make_features(plan).astype(dtype))
    assert verify(cache.path) == []


def test_a_flipped_token_byte_is_found_where_tokens_are_read(tmp_path: Path) -> None:
    plan = make_plan(token_dim=3)
    cache = write_cache(tmp_path / "c", plan)
    tokens = make_tokens(plan)
    assert tokens is not None
    flip(tmp_path / "c" / "00001.h5", tokens.slice(20, 21).values.tobytes())
    for read in (lambda: cache.load(with_tokens=True), lambda: cache.tokens(1)):
        with pytest.raises(InputError, match=r"00001\.h5: tokens of rows 0 to \d+ differ from their checksum"):
            read()
    assert len(verify(cache.path)) == 1
    assert len(cache.load()) == len(cache.load(with_tokens=True, check=False)) == 50


def test_tokens_are_part_of_the_content(tmp_path: Path) -> None:
    plan = make_plan(4, token_dim=3)
    tokens = make_tokens(plan)
    assert tokens is not None
    moved = tokens.offsets.copy()
    row = int(np.argmax(tokens.lengths > 1))
    moved[row + 1] -= 1
    contents = set()
    for name, given in (
        ("a", tokens),
        ("b", Tokens(tokens.values + 1, tokens.offsets)),
        ("c", Tokens(tokens.values, moved)),
    ):
        with CacheWriter(tmp_path / name, plan) as writer:
            writer.write(0, make_features(plan), tokens=given)
            contents.add(writer.finish().content)
    assert len(contents) == 3


def test_a_manifest_from_before_there_were_tokens_is_read(tmp_path: Path) -> None:
    plan = make_plan()
    cache = write_cache(tmp_path / "c", plan)
    path = cache.path / "manifest.json"
    document = json.loads(path.read_text())
    assert (document.pop("token_dim"), document.pop("tokens")) == (0, 0)
    path.write_text(json.dumps(document))
    old = FeatureCache(cache.path)
    np.testing.assert_array_equal(old.load().features, make_features(plan))
    assert old.load(with_tokens=True).tokens is None
    with pytest.raises(InputError, match="holds no token sequences"):
        old.tokens(0)
    assert verify(cache.path) == []
    with CacheWriter(cache.path, plan) as writer:
        assert (writer.missing, writer.damaged) == ([], [])


def test_a_cache_with_tokens_is_another_than_one_without(tmp_path: Path) -> None:
    write_cache(tmp_path / "c", make_plan())
    with (
        pytest.raises(InputError, match="another width of tokens"),
        CacheWriter(tmp_path / "c", make_plan(token_dim=3)),
    ):
        pass


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_tokens_that_are_not_finite_do_not_pass_verify(tmp_path: Path, value: float) -> None:
    plan = make_plan(4, token_dim=3)
    tokens = make_tokens(plan)
    assert tokens is not None
    tokens.values[2, 1] = value
    cache = write_cache(tmp_path / "c", plan)
    start, stop = cache.manifest.span(0)
    shard = compose_shard(
        make_features(plan),
        plan.columns.rows(start, stop),
        ["ok", "ok", "ok", "failed"],
        cache.manifest.fingerprint_sha256,
        tokens,
    )
    put_shard(cache.path / "00000.h5", shard)
    assert verify(cache.path) == [
        "00000.h5: tokens that are not finite",
        "00000.h5: 1 samples without tokens, or failed ones with some",
    ]
