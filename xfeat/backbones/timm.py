"""timm: image networks as published, without their classifier (Wightman, "PyTorch Image Models", 2019).

Features are what the network pools before its classifier; images are prepared as the weights' own configuration says.
"""

from collections.abc import Mapping
from typing import Any

from xfeat.backbones.base import Setup, Spec, TokenBackbone
from xfeat.backbones.images import READING, ImageReader
from xfeat.backbones.network import Network, NetworkBackbone
from xfeat.backbones.patches import trunk_pass
from xfeat.backbones.runtime import check_precision, import_timm, inference, package_version, pick_device
from xfeat.backbones.timm_weights import Weights, find_weights, load_model
from xfeat.backbones.weights import one_line, tensors_sha256
from xfeat.errors import InputError


def open_images(spec: Spec, setup: Setup) -> TokenBackbone:
    """Load a network.

    Args:
        spec: ``timm:MODEL.TAG`` from the hub, ``timm:MODEL.TAG@FILE``, or ``timm:MODEL@FOLDER`` as timm saves for the
            hub.
        setup: how it runs.

    Raises:
        InputError: a broken installation, an unknown model or tag, weights that are missing or do not fit.
    """
    import_timm()
    check_precision(setup.precision)
    pick_device(setup.device)
    weights = find_weights(spec)
    return TimmImages(weights, load_model(weights), setup)


class TimmImages(NetworkBackbone):
    """Image files to the network's pooled features. Takes over ``model``.

    Attributes:
        device: the torch device it runs on.
        compiled: whether it runs through ``torch.compile``.
        token_dim: width of the patch tokens; 0 where the network has none that can be told with certainty.

    Raises:
        InputError: a network that does not take RGB images, or does not give one vector for each.
    """

    kind = "image"

    def __init__(self, weights: Weights, model: Any, setup: Setup) -> None:
        import timm.data

        data: Any = timm.data  # untyped
        self.name = f"timm:{weights.name}"
        self._weights, self._model = weights, model.eval()
        self._sha256 = tensors_sha256(model.state_dict())
        self._data: Mapping[str, Any] = data.resolve_model_data_config(model)
        self._size = tuple(self._data["input_size"])
        if self._size[0] != 3:
            raise InputError(f"backbone {self.name} takes images of {self._size[0]} channels, not RGB")
        self.dim = _width(self.name, model, self._size)
        self.load = ImageReader(data.create_transform(**self._data, is_training=False))
        self._runs_on(Network(model, model, self.dim, self.name, setup))
        self._has(trunk_pass(model, self._size[1:]))

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON."""
        architecture = self._weights.name.partition(".")[0]
        return {
            "backbone": self.name,
            "kind": self.kind,
            "model": {"architecture": architecture, "args": dict(self._weights.args)},
            "weights_sha256": self._sha256,
            **self._network.fingerprint(),
            "output": {"layer": "before the classifier", "pooling": "the model's own", "normalised": False},
            "preprocess": {key: list(v) if isinstance(v, tuple) else v for key, v in self._data.items()},
            "reading": READING,
            "versions": {name: package_version(name) for name in ("torch", "torchvision", "timm", "pillow")},
        }


def _width(name: str, model: Any, size: tuple[int, ...]) -> int:
    """What the network gives for one image: D. Its own attributes may mean a layer further in."""
    import torch

    try:
        with inference("cpu", "fp32"):
            features = model(torch.zeros(1, *size))
    except Exception as error:  # a configuration that does not fit its network
        raise InputError(f"backbone {name} does not run on its own image size {size} ({one_line(error)})") from error
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        shape = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
        raise InputError(f"backbone {name} gives {shape} for one image, not one vector")
    return int(features.shape[1])
