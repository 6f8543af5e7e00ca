"""How open_clip's text towers read a text: with the tokenizer that the model's configuration names."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from xfeat.backbones.base import Cut
from xfeat.backbones.texts import check_text
from xfeat.backbones.weights import one_line, quiet
from xfeat.errors import InputError, SampleError

CONTEXT = 77
_lock = threading.Lock()  # tokenizers of transformers keep the length they cut to: one call at a time


@dataclass(frozen=True)
class Tokenizer:
    """Which tokenizer; small, so that each process builds its own.

    Attributes:
        source: its name on the hub or its folder; empty for the byte pairs of CLIP.
        context: places in a text.
        mode: how a tokenizer of the hub is used; empty for its own way.
        options: its other settings, as JSON.
    """

    source: str
    context: int = CONTEXT
    mode: str = ""
    options: str = "{}"

    def __call__(self, text: str, context: int = 0) -> Any:
        """One text to (context,) int64 ids.

        Raises:
            InputError: the tokenizer is not here and cannot be downloaded, or a package that it needs is missing.
        """
        with _lock:
            return _build(self)([text], context_length=context or self.context)[0]

    @property
    def built(self) -> Any:
        """The tokenizer itself, of this process.

        Raises:
            InputError: as calling it.
        """
        with _lock:
            return _build(self)


def tokenizer_of(name: str, config: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of a model's configuration, as ``open_clip.get_tokenizer`` chooses it.

    Raises:
        InputError: the configuration does not say.
    """
    text = config["text_cfg"]
    source = str(text.get("hf_tokenizer_name") or "")
    if not source and "siglip" in name.lower():
        raise InputError(f"open_clip model {name}: its configuration names no tokenizer; add hf_tokenizer_name to it")
    options = json.dumps(text.get("tokenizer_kwargs") or {}, sort_keys=True)
    mode = str(text.get("tokenizer_mode") or "") if source else ""
    return Tokenizer(source, int(text.get("context_length") or CONTEXT), mode, options)


@dataclass(frozen=True)
class TextReader:
    """Tokenises one text; can be pickled, and holds no network. Made by ``text_reader``.

    Attributes:
        tokenizer: which one.
        pad: the id that fills a text up.
        nothing: the ids of the empty text.
    """

    tokenizer: Tokenizer
    pad: int
    nothing: tuple[int, ...]

    def __call__(self, source: Path | str, /) -> Any:
        """Tokenise one text: (context,) int64 tensor. A longer text is cut as the tokenizer does: a ``Cut``.

        Raises:
            SampleError: nothing in the text, over a million characters, or a lone surrogate.
        """
        text = check_text(source)
        row = self.tokenizer(text)
        if not text.strip() or tuple(row.tolist()) == self.nothing:
            raise SampleError("empty text")
        # One more place shows whether the text was cut, whatever special tokens the tokenizer adds.
        context = self.tokenizer.context
        if self._filled(row) < context or self._filled(self.tokenizer(text, context + 1)) == self._filled(row):
            return row
        return Cut(row)

    def _filled(self, row: Any) -> int:
        return int((row != self.pad).sum())


def text_reader(tokenizer: Tokenizer) -> TextReader:
    """A reader with a tokenizer that is known to be here.

    Raises:
        InputError: it is not.
    """
    inner = getattr(tokenizer.built, "tokenizer", None)
    pad = int(getattr(inner, "pad_token_id", None) or 0)
    return TextReader(tokenizer, pad, tuple(tokenizer("").tolist()))


@lru_cache(maxsize=4)
def _build(tokenizer: Tokenizer) -> Any:
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    options = json.loads(tokenizer.options)
    try:
        if not tokenizer.source:
            return SimpleTokenizer(context_length=tokenizer.context, **options)
        with quiet("huggingface_hub"):
            return HFTokenizer(
                tokenizer.source, context_length=tokenizer.context, tokenizer_mode=tokenizer.mode or None, **options
            )
    except ImportError as error:
        raise InputError(
            f"tokenizer {tokenizer.source} needs a package that is missing ({one_line(error)}): "
            'pip install "xfeat[text]"'
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"tokenizer {tokenizer.source} is not on this machine and cannot be downloaded ({one_line(error)})"
        ) from error
