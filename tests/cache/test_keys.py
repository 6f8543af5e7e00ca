import hashlib

import numpy as np
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from xfeat.cache.keys import content_key, source_keys


@given(st.lists(st.text(st.characters())))
def test_source_keys_are_xxh3_of_utf8(sources: list[str]) -> None:
    keys = source_keys(sources)
    assert keys.dtype == np.uint64
    assert keys.tolist() == [xxhash.xxh3_64(text.encode("utf-8", "surrogatepass")).intdigest() for text in sources]


def test_a_source_that_is_no_unicode_has_a_key_of_its_own() -> None:
    assert len(set(source_keys(["a\udcff", "a\udcfe", "a"]).tolist())) == 3


def test_content_keys_are_blake2b_of_16_bytes() -> None:
    assert content_key(b"abc") == hashlib.blake2b(b"abc", digest_size=16).digest()
    assert len({content_key(b""), content_key(b"a"), content_key(b"b")}) == 3
