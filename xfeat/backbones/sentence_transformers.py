"""sentence-transformers: text encoders as published, pooled as the model's own modules say.

Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", EMNLP 2019.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.backbones.base import Setup, Spec
from xfeat.backbones.network import Network, NetworkBackbone, TokenPass
from xfeat.backbones.runtime import check_precision, inference, package_version, pick_device
from xfeat.backbones.saved import (
    describe,
    files_sha256,
    find_folder,
    hushed,
    import_extra,
    require_safetensors,
    tokenizer_sha256,
)
from xfeat.backbones.texts import text_batch, text_reader, whole
from xfeat.backbones.weights import one_line
from xfeat.errors import InputError

ORGANIZATION = "sentence-transformers"  # of hub names that have none, as the library has it
_PROBE = "A text of a few words, Übung macht den Meister."
_TOKENS = {"unit": "word piece", "layer": "token embeddings", "left_out": "padding", "special": "kept"}
_PACKAGES = ("torch", "transformers", "tokenizers", "sentence-transformers")


def open_texts(spec: Spec, setup: Setup) -> "SentenceBackbone":
    """Load a model.

    Args:
        spec: ``sentence-transformers:NAME`` from the hub, ``...:NAME@FOLDER`` or ``...:FOLDER``.
        setup: how it runs.

    Raises:
        InputError: the package is missing; no such model; pickled weights, code of its own; a model that does not take
            text through a tokenizer alone.
    """
    check_precision(setup.precision)
    pick_device(setup.device)
    library = import_extra("sentence_transformers", "text")
    folder, name = find_folder(spec, ORGANIZATION)
    weights = require_safetensors(folder, _parts(folder))
    try:
        with hushed():
            model = library.SentenceTransformer(
                str(folder),
                device="cpu",
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"use_safetensors": True},
            )
    except Exception as error:  # transformers raises OSError, ValueError, KeyError, ImportError, ...
        raise InputError(f"backbone {spec}: the model in {folder} cannot be loaded ({one_line(error)})") from error
    return SentenceBackbone(f"{spec.family}:{name}", model, files_sha256(weights), setup)


class SentenceBackbone(NetworkBackbone):
    """Texts to the model's sentence embeddings, tokenised with its own tokenizer and cut at its own length.

    The prompt that the model names as its default is put before each text, as the library's ``encode`` does.

    Raises:
        InputError: the library's own ``encode`` gives other numbers, so that the model does more than is known here.
    """

    kind = "text"

    def __init__(self, name: str, model: Any, weights_sha256: str, setup: Setup) -> None:
        self.name, self._sha256, self._model = name, weights_sha256, model.float().eval()
        tokenizer = model.tokenizer
        if not hasattr(tokenizer, "special_tokens_map"):
            raise InputError(f"backbone {name}: its first module has no tokenizer of transformers")
        self._prompt = (model.prompts or {}).get(model.default_prompt_name) or ""
        # Before the reader takes its copy: the library sets its own tokenizer up as it goes.
        expected = _expected(name, model)
        self.load = text_reader(tokenizer, model.max_seq_length, self._prompt)
        self.collate = text_batch(self.load)
        self._extras = _prompt_length(self.load.tokenizer, self._prompt)
        width, self.dim = self._check(expected), len(expected)
        self._runs_on(Network(model, lambda batch: self._run(batch)["sentence_embedding"], self.dim, name, setup))
        self._has(TokenPass(self._run_tokens, width, _TOKENS, self.collate.kept) if width else None)

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON."""
        modules = [_describe_module(module) for module in self._model]
        return {
            "backbone": self.name,
            "kind": self.kind,
            "modules": modules,
            "weights_sha256": self._sha256,
            **self._network.fingerprint(),
            "output": {
                "layer": "sentence embedding",
                "pooling": "the model's own",
                "normalised": any(module["class"] == "Normalize" for module in modules),
            },
            "tokenizer": {
                "class": type(self.load.tokenizer).__name__,
                "sha256": tokenizer_sha256(self.load.tokenizer),
                "context_length": self.load.length,
                "prompt": self._prompt,
            },
            "versions": {package: package_version(package) for package in _PACKAGES},
        }

    def _run(self, batch: Any) -> dict[str, Any]:
        output: dict[str, Any] = self._model({**self.collate.named(batch), **self._extras})
        return output

    def _run_tokens(self, batch: Any) -> tuple[Any, Any]:
        output = self._run(batch)
        return output["sentence_embedding"], output["token_embeddings"]

    def _check(self, expected: NDArray[np.float32]) -> int:
        """Compare with the library's own embedding of the probe; returns the width of the tokens."""
        try:
            with inference("cpu", "fp32"):
                output = self._run(self.collate([whole(self.load(_PROBE))]))
            got = output["sentence_embedding"][0].numpy()
        except Exception as error:  # a module that wants more than tokens
            raise InputError(f"backbone {self.name}: does not run on tokens alone ({one_line(error)})") from error
        if got.shape != expected.shape or not np.allclose(got, expected, atol=1e-4, rtol=1e-4):
            raise InputError(f"backbone {self.name}: prepares its text in a way that xfeat does not know")
        hidden = output.get("token_embeddings")
        return int(hidden.shape[2]) if hidden is not None and hidden.ndim == 3 else 0


def _expected(name: str, model: Any) -> NDArray[np.float32]:
    try:
        return np.asarray(model.encode([_PROBE], show_progress_bar=False)[0], np.float32)
    except Exception as error:  # a model of images or audio alone
        raise InputError(f"backbone {name}: does not encode a text ({one_line(error)})") from error


def _parts(folder: Path) -> list[str]:
    """Where in the folder the model's modules lie.

    Raises:
        InputError: a list of modules that cannot be read, or that names code outside the library.
    """
    listing = folder / "modules.json"
    if not listing.is_file():
        return [""]
    try:
        modules = json.loads(listing.read_text(encoding="utf-8"))
        parts, types = ([str(module[key]) for module in modules] for key in ("path", "type"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{listing} is not a list of modules ({one_line(error)})") from None
    foreign = [kind for kind in types if not kind.startswith("sentence_transformers.")]
    if foreign:
        raise InputError(f"model {folder} needs code of its own ({foreign[0]}), which is not run")
    return parts


def _prompt_length(tokenizer: Any, prompt: str) -> dict[str, int]:
    """How many tokens of each text are the prompt's: models may leave them out of their pooling."""
    if not prompt:
        return {}
    ids = tokenizer(prompt, truncation=False, verbose=False)["input_ids"]
    return {"prompt_length": len(ids) - int(bool(ids) and ids[-1] in tokenizer.all_special_ids)}


def _describe_module(module: Any) -> dict[str, Any]:
    config: dict[str, Any] = dict(module.get_config_dict()) if hasattr(module, "get_config_dict") else {}
    network = getattr(module, "auto_model", None)
    if network is not None:
        config["network"] = {"class": type(network).__name__, **network.config.to_dict()}
    return {"class": type(module).__name__, "config": describe(config)}
