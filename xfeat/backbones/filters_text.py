"""`filters:hashing`: hashed character n-grams and words; no vocabulary, no learned weights.

Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009 (signed hashing), as kept by
scikit-learn's HashingVectorizer (MurmurHash3, seed 0).
"""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.backbones.texts import MAX_CHARACTERS, check_text
from xfeat.cache.tokens import Tokens, offsets_of
from xfeat.errors import SampleError

CHARACTER_DIM = 1024
CHARACTER_NGRAMS = (1, 4)
WORD_DIM = 1024
# Runs without white space and punctuation. Not \w+, which breaks words at the vowel signs of Indic scripts.
WORD_PATTERN = r"[^\s\u2000-\u206f\u3000-\u303f!-/:-@\[-`{-~]+"
MAX_TOKENS = 512
_SHARED: dict[str, Any] = {"alternate_sign": True, "norm": "l2", "lowercase": False, "dtype": np.float64}


class HashingBackbone:
    """Text to 1,024 hashed character n-grams (1 to 4, within words) followed by 1,024 hashed words.

    Each half has norm 1, or 0 where the text has no word (or signs cancel), so every value lies in [-1, 1].
    """

    kind = "text"
    name = "filters:hashing"
    dim = CHARACTER_DIM + WORD_DIM
    token_dim = CHARACTER_DIM

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
        text = check_text(source)
        # Casefolding can undo NFKC (Unicode 3.13, D146), hence the second pass.
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        if all(unicodedata.category(character)[0] in "ZC" for character in folded):
            raise SampleError("empty text")
        return " ".join(folded.split())

    def encode(self, items: Sequence[str]) -> NDArray[np.float32]:
        """Hash n loaded texts; a row never depends on its batch. Returns (n, 2048) float32."""
        if not items:
            return np.zeros((0, self.dim), np.float32)
        halves = [vectorizer.transform(items).toarray() for vectorizer in (_characters(), _words())]
        return np.concatenate(halves, axis=1).astype(np.float32)

    def token_fingerprint(self) -> dict[str, Any]:
        """Which tokens they are: one per word, by its characters."""
        return {"unit": "word", "layer": "hashed character n-grams", "norm": "l2 per word", "most": MAX_TOKENS}

    def encode_tokens(self, items: Sequence[str]) -> tuple[NDArray[np.float32], Tokens]:
        """As ``encode``, and for each text its first 512 words, each as 1,024 hashed character n-grams of norm 1.

        A text without a word, of punctuation alone, is one token.
        """
        words = [re.findall(WORD_PATTERN, item)[:MAX_TOKENS] or [item] for item in items]
        every = [word for text in words for word in text]
        values = _characters().transform(every).toarray() if every else np.zeros((0, CHARACTER_DIM))
        offsets = offsets_of(np.array([len(text) for text in words], np.int64))
        return self.encode(items), Tokens(values.astype(np.float32), offsets)


def _characters() -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(n_features=CHARACTER_DIM, ngram_range=CHARACTER_NGRAMS, analyzer="char_wb", **_SHARED)


def _words() -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(n_features=WORD_DIM, token_pattern=WORD_PATTERN, **_SHARED)
