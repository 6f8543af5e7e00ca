"""Digits as text: number words in many languages, in phrases, in upper and lower case, and misspelled."""

import unicodedata

import numpy as np

from xfeat.samples.demo.languages import NUMBER_WORDS
from xfeat.samples.demo.rows import Row

# The phrases of one split are never seen in another.
PHRASES = {
    "train": ("the number {}", "{} of them", "count to {}", "platform {}", "about {} apples", "page {}", "say {}"),
    "val": ("room {}", "{} times", "number {} please", "{} more"),
    "test": ("chapter {}", "exactly {}", "{} people", "gate {}", "press {} now", "we saw {} birds"),
}
# Most bare words are there to be learned; their phrases and misspellings are mostly there to be tested.
SPLITS = ("train", "val", "test")
BARE_SHARES = (0.9, 0.03, 0.07)
CHANGED_SHARES = (0.5, 0.15, 0.35)
FORMS = ("bare", "phrase", "phrase", "misspelled")


def make_words(seed: int, per_class: int | None = None) -> list[Row]:
    """Write each number word bare, in two phrases and misspelled, and deal the four to splits one by one.

    No text, however cased, is in two splits, and phrases belong to one split each; most words of the test split were
    seen in training in another form, and some were not. A word that means another digit in an earlier language (Danish
    "ni" is 9, Japanese "ni" is 2) is left out, and so is such a misspelling.

    Args:
        seed: chooses phrases, misspellings, case and split.
        per_class: at most so many texts of each digit; all, about 150, by default.
    """
    rng = np.random.default_rng([seed, 2])
    numbers = [(word, digit) for words in NUMBER_WORDS.values() for digit, word in enumerate(words)]
    meaning: dict[str, int] = {}
    for word, digit in numbers:
        meaning.setdefault(fold(word), digit)
    texts: dict[str, tuple[str, int, str]] = {}
    for word, digit in numbers:
        for form in FORMS:
            split = str(rng.choice(SPLITS, p=BARE_SHARES if form == "bare" else CHANGED_SHARES))
            spelled = _misspell(word, rng) if form == "misspelled" else word
            if meaning.setdefault(fold(spelled), digit) != digit:
                continue
            text = str(rng.choice(PHRASES[split])).format(spelled) if form == "phrase" else spelled
            texts.setdefault(fold(text), (_recase(text, rng), digit, split))
    kept = [entry for digit in range(10) for entry in [e for e in texts.values() if e[1] == digit][:per_class]]
    return [Row(f"text-{i:04d}", split, str(digit), text=text) for i, (text, digit, split) in enumerate(kept)]


def fold(text: str) -> str:
    """Bring a text to the form in which two texts count as the same: NFKC and casefold."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _misspell(word: str, rng: np.random.Generator) -> str:
    """Drop, double or swap letters inside a word of four letters or more, once; shorter words are left alone."""
    if len(word) < 4 or not word.isalpha():
        return word
    at = int(rng.integers(1, len(word) - 1))
    slips = (
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
    )
    return slips[int(rng.integers(3))]


def _recase(text: str, rng: np.random.Generator) -> str:
    """Leave half of the texts as they are; the rest get a capital or are shouted, where that loses nothing."""
    recased = (text, text, text.capitalize(), text.upper())[int(rng.integers(4))]
    return recased if fold(recased) == fold(text) else text
