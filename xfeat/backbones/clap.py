"""CLAP: audio and text in one space, as published; read with ``transformers``.

Wu et al., "Large-scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption Augmentation",
ICASSP 2023; audio tower: Chen et al., "HTS-AT", ICASSP 2022. Features are the joint embedding before its L2 norm.
"""

from typing import Any

import numpy as np

from xfeat.backbones.audio import CHANNELS, LIMITS, RESAMPLING, SILENCE
from xfeat.backbones.base import Setup, Spec, TokenBackbone
from xfeat.backbones.clap_audio import LONG_CLIPS, ClipBatch, ClipReader
from xfeat.backbones.network import Network, NetworkBackbone, TokenPass
from xfeat.backbones.runtime import check_precision, package_version, pick_device
from xfeat.backbones.saved import describe, find_folder, hushed, import_extra, require_safetensors, tokenizer_sha256
from xfeat.backbones.texts import text_batch, text_reader
from xfeat.backbones.weights import one_line, tensors_sha256
from xfeat.errors import InputError

_STEPS = {"unit": "time step", "layer": "last hidden state", "frequencies": "mean", "clip": "filled up"}
_WORDS = {"unit": "word piece", "layer": "last hidden state", "left_out": "padding", "special": "kept"}
_PACKAGES = ("torch", "transformers")


def open_tower(spec: Spec, kind: str, setup: Setup) -> TokenBackbone:
    """Load one tower of a model.

    Args:
        spec: ``clap:NAME`` from the hub, ``clap:NAME@FOLDER`` or ``clap:FOLDER``.
        kind: ``audio`` or ``text``.
        setup: how it runs.

    Raises:
        InputError: the package is missing; no such model, pickled weights, or weights that do not fill the model.
    """
    check_precision(setup.precision)
    pick_device(setup.device)
    library = import_extra("transformers", "audio")
    folder, name = find_folder(spec)
    require_safetensors(folder)
    prepare = library.ClapFeatureExtractor if kind == "audio" else library.AutoTokenizer
    try:
        with hushed():
            model, loading = library.ClapModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
            prepared = prepare.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # OSError, ValueError, KeyError, ImportError, RuntimeError, safetensors' own
        raise InputError(f"backbone {spec}: the model in {folder} cannot be loaded ({one_line(error)})") from error
    # transformers fills what the weights lack with random numbers.
    absent = [key for key in loading["missing_keys"] if not key.endswith(("position_ids", "token_type_ids"))]
    if wrong := sorted([*absent, *(str(entry[0]) for entry in loading["mismatched_keys"])]):
        raise InputError(f"backbone {spec}: the weights in {folder} do not fit a CLAP model: {wrong[0]} is not in them")
    tower = AudioTower if kind == "audio" else TextTower
    return tower(f"{spec.family}:{name}", model.float().eval(), prepared, setup)


class _Tower(NetworkBackbone):
    """What both towers share: one encoder and its projection into the joint space."""

    kind = ""

    def __init__(self, name: str, model: Any, tokens: TokenPass, setup: Setup) -> None:
        import torch

        self.name, self.dim = name, int(model.config.projection_dim)
        self._config = describe(model.config.to_dict())
        self._sha256 = tensors_sha256(model.state_dict())
        self._encoder = getattr(model, f"{self.kind}_model")
        self._projection = getattr(model, f"{self.kind}_projection")
        both = torch.nn.ModuleList([self._encoder, self._projection])
        self._runs_on(Network(both, lambda batch: self._project(self._run(batch)), self.dim, name, setup))
        self._has(tokens)

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON."""
        return {
            "backbone": self.name,
            "kind": self.kind,
            "model": self._config,
            "weights_sha256": self._sha256,
            **self._network.fingerprint(),
            "output": {"layer": "joint embedding", "pooling": "the model's own", "normalised": False},
            "versions": {package: package_version(package) for package in _PACKAGES},
        }

    def _run(self, batch: Any) -> Any:
        raise NotImplementedError

    def _project(self, output: Any) -> Any:
        return self._projection(output.pooler_output)


class AudioTower(_Tower):
    """Audio files to the joint embedding, through the model's own log-mel settings.

    Its tokens are the steps of the last layer in order of time, the mean over frequencies of each. The clip is what the
    model sees, repeated or padded to its full length: all sequences have one length.
    """

    kind = "audio"

    def __init__(self, name: str, model: Any, extractor: Any, setup: Setup) -> None:
        settings = model.config.audio_config
        self._fusion = bool(settings.enable_fusion)
        if self._fusion != (extractor.truncation == "fusion"):
            raise InputError(
                f"backbone {name}: its feature extractor cuts by {extractor.truncation!r}, but its model is "
                f"{'a' if self._fusion else 'no'} fusion model"
            )
        self.load, self.collate = ClipReader(extractor), ClipBatch(self._fusion)
        width = int(settings.patch_embeds_hidden_size * 2 ** (len(settings.depths) - 1))
        super().__init__(name, model, TokenPass(self._run_tokens, width, _STEPS), setup)

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON."""
        import scipy
        import soundfile

        reading = {
            "channels": CHANNELS,
            "resample": RESAMPLING,
            "long": LONG_CLIPS["fusion" if self._fusion else "cut"],
            "limits": dict(LIMITS),
            "silence": SILENCE,
        }
        versions = {
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "libsndfile": soundfile.__libsndfile_version__,
        }
        preprocess = describe(self.load.extractor.to_dict())
        return {**super().fingerprint(), "preprocess": preprocess, "reading": reading, "reading_versions": versions}

    def _run(self, batch: Any) -> Any:
        views, longer = self.collate.views(batch)
        return self._encoder(input_features=views, is_longer=longer)

    def _run_tokens(self, batch: Any) -> tuple[Any, Any]:
        output = self._run(batch)
        # (n, D, frequencies, steps): the tower folds time into its picture, and unfolds it again at its end.
        return self._project(output), output.last_hidden_state.float().mean(dim=2).transpose(1, 2)


class TextTower(_Tower):
    """Texts to the joint embedding, tokenised with the model's own tokenizer; its tokens are word pieces."""

    kind = "text"

    def __init__(self, name: str, model: Any, tokenizer: Any, setup: Setup) -> None:
        settings = model.config.text_config
        # Positions are counted from behind the padding's id.
        most = int(settings.max_position_embeddings) - int(settings.pad_token_id or 0) - 1
        self.load = text_reader(tokenizer, min(int(tokenizer.model_max_length), most))
        self.collate = text_batch(self.load)
        tokens = TokenPass(self._run_tokens, int(settings.hidden_size), _WORDS, self.collate.kept)
        super().__init__(name, model, tokens, setup)

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON."""
        tokenizer = {
            "class": type(self.load.tokenizer).__name__,
            "sha256": tokenizer_sha256(self.load.tokenizer),
            "context_length": self.load.length,
            "version": package_version("tokenizers"),
        }
        return {**super().fingerprint(), "tokenizer": tokenizer}

    def _run(self, batch: Any) -> Any:
        return self._encoder(**self.collate.named(batch))

    def _run_tokens(self, batch: Any) -> tuple[Any, Any]:
        output = self._run(batch)
        return self._project(output), output.last_hidden_state
