"""Texts as token ids for a network: checked, cut to its length, and padded into batches."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfeat.backbones.base import Cut
from xfeat.errors import SampleError

MAX_CHARACTERS = 1_000_000
_UNLIMITED = 10**9  # transformers writes 10**30 where a tokenizer has no limit


def check_text(source: Path | str) -> str:
    """The text itself.

    Raises:
        SampleError: over a million characters, or a lone surrogate.
        TypeError: a path; texts are given as they are.
    """
    if not isinstance(source, str):
        raise TypeError(f"a text sample is a str, got {type(source).__name__}")
    if len(source) > MAX_CHARACTERS:
        raise SampleError(f"text of {len(source)} characters is over the limit of {MAX_CHARACTERS}")
    try:
        source.encode("utf-8")
    except UnicodeEncodeError:
        raise SampleError("text is not valid Unicode (lone surrogate)") from None
    return source


@dataclass(frozen=True)
class TextReader:
    """Tokenises one text; can be pickled, and holds no network. Made by ``text_reader``.

    Attributes:
        tokenizer: a tokenizer of ``transformers`` that nobody else uses.
        length: the most tokens, special ones counted; None without limit.
        prompt: put before every text.
    """

    tokenizer: Any
    length: int | None = None
    prompt: str = ""

    def __call__(self, source: Path | str) -> dict[str, list[int]] | Cut:
        """Token ids, and what else the tokenizer gives, by name: lists of one length. A ``Cut`` if tokens were lost.

        Raises:
            SampleError: nothing in the text, over a million characters, or a lone surrogate.
        """
        text = check_text(source)
        if not text.strip():
            raise SampleError("empty text")
        # The same settings in every call: another setting would change the tokenizer under other threads.
        encoded = self.tokenizer(
            self.prompt + text,
            truncation=self.length is not None,
            max_length=self.length,
            return_overflowing_tokens=self.length is not None,
            return_attention_mask=True,
            verbose=False,
        )
        rows = encoded["input_ids"]
        if rows and isinstance(rows[0], list):  # tokenizers in Rust give one row for every ``length`` tokens
            cut = len(rows) > 1
            item = {name: encoded[name][0] for name in _columns(encoded)}
        else:
            cut = bool(encoded.get("num_truncated_tokens", 0) > 0)
            item = {name: encoded[name] for name in _columns(encoded)}
        if not item["input_ids"]:
            raise SampleError("no word in the text that the model knows")
        return Cut(item) if cut else item


def text_reader(tokenizer: Any, length: int | None, prompt: str = "") -> TextReader:
    """A reader with its own copy of the tokenizer, ready for several threads."""
    reader = TextReader(copy.deepcopy(tokenizer), length if length and length < _UNLIMITED else None, prompt)
    reader("a")  # sets the tokenizer up, once
    return reader


def whole(loaded: dict[str, list[int]] | Cut) -> dict[str, list[int]]:
    """A loaded text, whether it was cut or not."""
    item: dict[str, list[int]] = loaded.item if isinstance(loaded, Cut) else loaded
    return item


@dataclass(frozen=True)
class TextBatch:
    """Fills a batch of loaded texts up to the longest; for ``collate``. Made by ``text_batch``.

    Attributes:
        columns: what stands in a batch, with what fills each of them.
        left: fill before the text instead of after it.
    """

    columns: tuple[tuple[str, int], ...]
    left: bool = False

    def __call__(self, items: Sequence[Mapping[str, list[int]]]) -> Any:
        """Loaded texts to one tensor (n, columns, longest) int64."""
        import torch

        longest = max(len(item["input_ids"]) for item in items)
        batch = torch.empty((len(items), len(self.columns), longest), dtype=torch.int64)
        for place, (name, fill) in enumerate(self.columns):
            batch[:, place] = fill
            for row, item in zip(batch[:, place], items, strict=True):
                values = torch.tensor(item[name])
                row[longest - len(values) if self.left else 0 :][: len(values)] = values
        return batch

    def named(self, batch: Any) -> dict[str, Any]:
        """The columns (n, longest) of a batch by name, as a network of ``transformers`` takes them."""
        return {name: batch[:, place] for place, (name, _) in enumerate(self.columns)}

    def kept(self, batch: Any) -> Any:
        """The places (n, longest) bool of a batch that are no filling."""
        return self.named(batch)["attention_mask"] != 0


def text_batch(reader: TextReader) -> TextBatch:
    """How the tokenizer of a reader fills batches up."""
    tokenizer, names = reader.tokenizer, whole(reader("a"))
    fill = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id}
    return TextBatch(tuple((name, int(fill.get(name, 0))) for name in names), tokenizer.padding_side == "left")


def _columns(encoded: Mapping[str, Any]) -> list[str]:
    return [name for name in encoded if name in ("input_ids", "attention_mask", "token_type_ids")]
