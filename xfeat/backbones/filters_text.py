"""`filters:hashing`: hashed character n-grams and words; no vocabulary, no learned weights.

Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009 (signed hashing), as kept by
scikit-learn's HashingVectorizer (MurmurHash3, seed 0).
"""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.errors import SampleError

CHARACTER_DIM = 1024
CHARACTER_NGRAMS = (1, 4)
WORD_DIM = 1024
# Runs without white space and punctuation. Not \w+, which breaks words at the vowel signs of Indic scripts.
WORD_PATTERN = r"[^\s\u2000-\u206f\u3000-\u303f!-/:-@\[-`{-~]+"
MAX_CHARACTERS = 1_000_000


class HashingBackbone:
    """Text to 1,024 hashed character n-grams (1 to 4, within words) followed by 1,024 hashed words.

    Each half has norm 1, or 0 where the text has no word (or signs cancel), so every value lies in [-1, 1].
    """

    kind = "text"
    name = "filters:hashing"
    dim = CHARACTER_DIM + WORD_DIM

    def fingerprint(self) -> dict[str, Any]:
        """Every setting that changes the numbers, JSON-able."""
        import sklearn

        return {
            "backbone": self.name,
            "algorithm": 1,
            "text": "NFKC, casefold, NFKC, spaces collapsed",
            "characters": {"dim": CHARACTER_DIM, "ngrams": list(CHARACTER_NGRAMS), "analyzer": "char_wb"},
            "words": {"dim": WORD_DIM, "pattern": WORD_PATTERN},
            "hash": "murmurhash3_32, seed 0, alternate sign",
            "norm": "l2 per half",
            "max_characters": MAX_CHARACTERS,
            "dim": self.dim,
            "versions": {
                "unicode": unicodedata.unidata_version,
                "numpy": np.__version__,
                "scikit-learn": sklearn.__version__,
            },
        }

    def load(self, source: Path | str) -> str:
        """Normalise one text: NFKC, casefold, runs of white space to one space.

        Raises:
            SampleError: nothing visible in the text, over a million characters, or a lone surrogate.
            TypeError: ``source`` is a path; texts are given as they are.
        """
        if not isinstance(source, str):
            raise TypeError(f"a text sample is a str, got {type(source).__name__}")
        if len(source) > MAX_CHARACTERS:
            raise SampleError(f"text of {len(source)} characters is over the limit of {MAX_CHARACTERS}")
        try:
            source.encode("utf-8")
        except UnicodeEncodeError:
            raise SampleError("text is not valid Unicode (lone surrogate)") from None
        # Casefolding can undo NFKC (Unicode 3.13, D146), hence the second pass.
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", source).casefold())
        if all(unicodedata.category(character)[0] in "ZC" for character in folded):
            raise SampleError("empty text")
        return " ".join(folded.split())

    def encode(self, items: Sequence[str]) -> NDArray[np.float32]:
        """Hash n loaded texts; a row never depends on its batch. Returns (n, 2048) float32."""
        if not items:
            return np.zeros((0, self.dim), np.float32)
        from sklearn.feature_extraction.text import HashingVectorizer

        shared = {"alternate_sign": True, "norm": "l2", "lowercase": False, "dtype": np.float64}
        characters = HashingVectorizer(
            n_features=CHARACTER_DIM, ngram_range=CHARACTER_NGRAMS, analyzer="char_wb", **shared
        )
        words = HashingVectorizer(n_features=WORD_DIM, token_pattern=WORD_PATTERN, **shared)
        halves = [vectorizer.transform(items).toarray() for vectorizer in (characters, words)]
        return np.concatenate(halves, axis=1).astype(np.float32)
