"""open_clip: the image and text towers of CLIP-like models (CLIP, SigLIP, CoCa, EVA, ...), as published.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021; Ilharco et al.,
OpenCLIP, 2021. Features are the joint embedding before its L2 norm: a cosine does not change, and heads may use the
length.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.backbones.base import Backbone, Setup, Spec
from xfeat.backbones.images import READING, open_rgb
from xfeat.backbones.open_clip_weights import (
    Weights,
    download,
    find_weights,
    one_line,
    quiet,
    read_shapes,
    tensors_sha256,
)
from xfeat.backbones.runtime import check_precision, exact_float32, import_open_clip, package_version, pick_device
from xfeat.errors import InputError, SampleError

MAX_CHARACTERS = 1_000_000
_IMAGE_PARTS = ("visual",)
_TEXT_PARTS = ("text", "transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection")


def open_tower(spec: Spec, kind: str, setup: Setup) -> Backbone:
    """Load one tower of a model.

    Args:
        spec: ``open_clip:MODEL@WEIGHTS``; weights are a tag, a file, or ``TAG=FILE``.
        kind: ``image`` or ``text``.
        setup: how it runs.

    Raises:
        InputError: a broken installation, an unknown model or tag, weights that are missing or do not fit.
    """
    import_open_clip()
    precision = check_precision(setup.precision)
    where = pick_device(setup.device)
    weights = find_weights(spec)
    model, sha256 = _load(spec.model, weights, precision)
    tower = ImageTower if kind == "image" else TextTower
    return tower(spec.model, weights.tag, model, sha256, where, precision)


class _Tower:
    """What both towers share. Takes over ``model``: the other tower is dropped from it."""

    kind = ""

    def __init__(self, name: str, tag: str, model: Any, weights_sha256: str, device: str, precision: str) -> None:
        import open_clip
        import torch

        self.name = f"open_clip:{name}" + (f"@{tag}" if tag else "")
        self._config: dict[str, Any] = open_clip.get_model_config(name)
        self.dim: int = self._config["embed_dim"]
        self._model, self._device, self._precision, self._sha256 = model, device, precision, weights_sha256
        self._dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
        for part in (_TEXT_PARTS if self.kind == "image" else _IMAGE_PARTS) + ("text_decoder",):
            if getattr(model, part, None) is not None:
                setattr(model, part, None)
        model.to(device).eval()

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON."""
        return {
            "backbone": self.name,
            "kind": self.kind,
            "model": self._config,
            "weights_sha256": self._sha256,
            "precision": self._precision,
            "output": {"layer": "joint embedding", "pooling": "the model's own", "normalised": False},
            "versions": {name: package_version(name) for name in ("torch", "torchvision", "open_clip_torch", "pillow")},
        }

    def _run(self, encoder: Callable[..., Any], batch: Any) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode(), exact_float32():
            features = encoder(batch, normalize=False)
        rows: NDArray[np.float32] = features.float().cpu().numpy()
        if rows.shape[1:] != (self.dim,):
            raise ValueError(f"{self.name} gave features of shape {rows.shape}, its config says {self.dim}")
        return rows


class ImageTower(_Tower):
    """Image files to the model's joint embedding, preprocessed as the model's own configuration says."""

    kind = "image"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        from open_clip.transform import PreprocessCfg, image_transform_v2

        self._settings = PreprocessCfg(**self._model.visual.preprocess_cfg)
        self._transform: Callable[[Any], Any] = image_transform_v2(self._settings, is_train=False)

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON."""
        return {**super().fingerprint(), "preprocess": asdict(self._settings), "reading": READING}

    def load(self, source: Path | str) -> Any:
        """Decode and preprocess one file: (3, height, width) float32 tensor.

        Raises:
            SampleError: the file is missing, corrupt, truncated or too large.
        """
        return self._transform(open_rgb(source))

    def encode(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Encode n preprocessed images: (n, D) float32, not normalised."""
        import torch

        if not items:
            return np.zeros((0, self.dim), np.float32)
        return self._run(self._model.encode_image, torch.stack(list(items)).to(self._device, self._dtype))


class TextTower(_Tower):
    """Texts to the model's joint embedding, tokenised with the model's own tokenizer.

    Attributes:
        truncated: loaded texts that were longer than the context and lost their end.
    """

    kind = "text"

    def __init__(self, name: str, *args: Any) -> None:
        super().__init__(name, *args)
        self.truncated = 0
        self._lock = threading.Lock()
        self._tokenizer = _tokenizer(name)
        self._context = int(self._tokenizer.context_length)
        inner = getattr(self._tokenizer, "tokenizer", None)
        self._pad = int(getattr(inner, "pad_token_id", None) or 0)
        self._nothing = self._tokenizer([""])[0]

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON."""
        text = self._config["text_cfg"]
        tokenizer = {
            "class": type(self._tokenizer).__name__,
            "name": text.get("hf_tokenizer_name", "clip bpe 49408"),
            "settings": text.get("tokenizer_kwargs", {}),
            "context_length": self._context,
        }
        libraries = {name: package_version(name) for name in ("ftfy", "regex", "transformers")}
        return {**super().fingerprint(), "tokenizer": tokenizer, "tokenizer_versions": libraries}

    def load(self, source: Path | str) -> Any:
        """Tokenise one text: (context,) int64 tensor. A longer text is cut as the tokenizer does and counted.

        Raises:
            SampleError: nothing in the text, or over a million characters.
        """
        import torch

        text = str(source)
        if len(text) > MAX_CHARACTERS:
            raise SampleError(f"text of {len(text)} characters is over the limit of {MAX_CHARACTERS}")
        row = self._tokenizer([text])[0]
        if not text.strip() or torch.equal(row, self._nothing):
            raise SampleError("empty text")
        # One more place shows whether the text was cut, whatever special tokens the tokenizer adds.
        if self._filled(row) >= self._context and self._filled(
            self._tokenizer([text], context_length=self._context + 1)[0]
        ) > self._filled(row):
            with self._lock:
                self.truncated += 1
        return row

    def encode(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Encode n tokenised texts: (n, D) float32, not normalised."""
        import torch

        if not items:
            return np.zeros((0, self.dim), np.float32)
        return self._run(self._model.encode_text, torch.stack(list(items)).to(self._device))

    def _filled(self, row: Any) -> int:
        return int((row != self._pad).sum())


def _load(name: str, weights: Weights, precision: str) -> tuple[Any, str]:
    """Create the model on the CPU with its weights; the model and the sha256 of its tensors."""
    import open_clip

    file = weights.file or download(name, weights.tag)
    stored = read_shapes(file)
    try:
        with quiet():
            model = open_clip.create_model(
                name,
                pretrained=str(file),
                precision=precision,
                force_preprocess_cfg=dict(weights.preprocess),
                pretrained_text=False,
                weights_only=True,
            )
    except ImportError as error:
        raise InputError(f"open_clip model {name} needs a package that is missing ({one_line(error)})") from error
    except Exception as error:  # torch raises RuntimeError, open_clip asserts, its converters raise KeyError
        raise InputError(f"weights file {file} does not fit open_clip model {name}: {one_line(error)}") from error
    state = model.state_dict()
    # open_clip resamples position embeddings of another size without a word: the result is not the published model.
    for key, tensor in state.items():
        if key in stored and tuple(tensor.shape) != stored[key] and tensor.numel() > 1:
            raise InputError(
                f"weights file {file} does not fit open_clip model {name}: {key} is {stored[key]}, "
                f"the model has {tuple(tensor.shape)}"
            )
    return model, tensors_sha256(state)


def _tokenizer(name: str) -> Any:
    import open_clip

    try:
        with quiet("huggingface_hub"):
            return open_clip.get_tokenizer(name)
    except ImportError as error:
        raise InputError(f"the tokenizer of {name} needs a package that is missing ({one_line(error)})") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"the tokenizer of {name} is not on this machine and cannot be downloaded ({one_line(error)})"
        ) from error
