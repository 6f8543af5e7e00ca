"""open_clip: the image and text towers of CLIP-like models (CLIP, SigLIP, CoCa, EVA, ...), as published.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021; Ilharco et al.,
OpenCLIP, 2021. Features are the joint embedding before its L2 norm: a cosine does not change, and heads may use the
length.
"""

from dataclasses import asdict
from functools import partial
from typing import Any

from xfeat.backbones.base import Setup, Spec, TokenBackbone
from xfeat.backbones.images import READING, ImageReader
from xfeat.backbones.network import Network, NetworkBackbone
from xfeat.backbones.open_clip_text import text_reader, tokenizer_of
from xfeat.backbones.open_clip_tokens import patch_pass, word_pass
from xfeat.backbones.open_clip_weights import find_weights, load_model
from xfeat.backbones.runtime import check_precision, import_open_clip, package_version, pick_device

_IMAGE_PARTS = ("visual",)
_TEXT_PARTS = ("text", "transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection")


def open_tower(spec: Spec, kind: str, setup: Setup) -> TokenBackbone:
    """Load one tower of a model.

    Args:
        spec: ``open_clip:MODEL@WEIGHTS``; weights are a tag, a file, or ``TAG=FILE``.
        kind: ``image`` or ``text``.
        setup: how it runs.

    Raises:
        InputError: a broken installation, an unknown model or tag, weights that are missing or do not fit.
    """
    import_open_clip()
    check_precision(setup.precision)
    pick_device(setup.device)
    weights = find_weights(spec)
    model, sha256 = load_model(spec.model, weights)
    tower = ImageTower if kind == "image" else TextTower
    return tower(spec.model, weights.tag, model, sha256, setup)


class _Tower(NetworkBackbone):
    """What both towers share. Takes over ``model``: the other tower is dropped from it.

    Attributes:
        device: the torch device it runs on.
        compiled: whether it runs through ``torch.compile``.
        token_dim: width of the tokens; 0 where this model has none.
    """

    kind = ""

    def __init__(self, name: str, tag: str, model: Any, weights_sha256: str, setup: Setup) -> None:
        import open_clip

        self.name = f"open_clip:{name}" + (f"@{tag}" if tag else "")
        self._config: dict[str, Any] = open_clip.get_model_config(name)
        self.dim: int = self._config["embed_dim"]
        self._model, self._sha256 = model, weights_sha256
        for part in (_TEXT_PARTS if self.kind == "image" else _IMAGE_PARTS) + ("text_decoder",):
            if getattr(model, part, None) is not None:
                setattr(model, part, None)
        encode = model.encode_image if self.kind == "image" else model.encode_text
        self._runs_on(Network(model, partial(encode, normalize=False), self.dim, self.name, setup))

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON."""
        return {
            "backbone": self.name,
            "kind": self.kind,
            "model": self._config,
            "weights_sha256": self._sha256,
            **self._network.fingerprint(),
            "output": {"layer": "joint embedding", "pooling": "the model's own", "normalised": False},
            "versions": {name: package_version(name) for name in ("torch", "torchvision", "open_clip_torch", "pillow")},
        }


class ImageTower(_Tower):
    """Image files to the model's joint embedding, preprocessed as the model's own configuration says."""

    kind = "image"

    def __init__(self, name: str, tag: str, model: Any, weights_sha256: str, setup: Setup) -> None:
        super().__init__(name, tag, model, weights_sha256, setup)
        from open_clip.transform import PreprocessCfg, image_transform_v2

        self._settings = PreprocessCfg(**model.visual.preprocess_cfg)
        self.load = ImageReader(image_transform_v2(self._settings, is_train=False))
        self._has(patch_pass(model.visual))

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON."""
        return {**super().fingerprint(), "preprocess": asdict(self._settings), "reading": READING}


class TextTower(_Tower):
    """Texts to the model's joint embedding, tokenised with the model's own tokenizer."""

    kind = "text"

    def __init__(self, name: str, tag: str, model: Any, weights_sha256: str, setup: Setup) -> None:
        super().__init__(name, tag, model, weights_sha256, setup)
        self._tokenizer = tokenizer_of(name, self._config)
        self.load = text_reader(self._tokenizer)
        self._has(word_pass(model, self._tokenizer.built))

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON."""
        text = self._config["text_cfg"]
        tokenizer = {
            "class": type(self._tokenizer.built).__name__,
            "name": text.get("hf_tokenizer_name", "clip bpe 49408"),
            "settings": text.get("tokenizer_kwargs", {}),
            "context_length": self._tokenizer.context,
        }
        libraries = {name: package_version(name) for name in ("ftfy", "regex", "transformers")}
        return {**super().fingerprint(), "tokenizer": tokenizer, "tokenizer_versions": libraries}
