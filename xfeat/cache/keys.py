"""Keys that tell whether a sample is the one that was encoded: of where it comes from, and of its bytes."""

import hashlib
from collections.abc import Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

CONTENT_BYTES = 16


def source_keys(sources: Sequence[str]) -> NDArray[np.uint64]:
    """(n,) XXH3-64 of each source: a path relative to its root, or the text itself."""
    encoded = (source.encode("utf-8", "surrogatepass") for source in sources)
    return np.fromiter(map(xxhash.xxh3_64_intdigest, encoded), np.uint64, len(sources))


def content_key(data: bytes) -> bytes:
    """BLAKE2b-128 of a file's bytes, or of a text in UTF-8: 16 bytes."""
    return hashlib.blake2b(data, digest_size=CONTENT_BYTES).digest()
