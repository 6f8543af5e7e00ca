"""Patch tokens of a timm network: its last feature map before pooling, row by row."""

from collections.abc import Callable
from typing import Any

from xfeat.backbones.network import TokenPass


def trunk_pass(trunk: Any, size: tuple[int, int], head: Callable[[Any], Any] | None = None) -> TokenPass | None:
    """The patch tokens of a timm network, or None where they cannot be told with certainty.

    One image is run to see what the network gives: it must be a sequence or a map as wide as its features, and pooling
    it must give what the whole network gives.

    Args:
        trunk: a timm network in evaluation mode.
        size: (height, width) of its images.
        head: what comes after the trunk.
    """
    import torch

    parameter = next(trunk.parameters())
    image = torch.linspace(-1, 1, 3 * size[0] * size[1]).reshape(1, 3, *size).to(parameter.device)
    with torch.inference_mode():
        try:
            features = trunk.forward_features(image)
            whole, pooled = trunk(image), trunk.forward_head(features)
        except (AttributeError, TypeError, NotImplementedError, RuntimeError):
            return None  # a network that is built in another way
        flatten = _flattening(trunk, features)
        if flatten is None or whole.shape != pooled.shape or not torch.allclose(whole, pooled, rtol=1e-3, atol=1e-5):
            return None
        width = int(flatten(features).shape[2])

    def run(batch: Any) -> tuple[Any, Any]:
        found = trunk.forward_features(batch)
        pooled = trunk.forward_head(found)
        return (head(pooled) if head else pooled), flatten(found)

    left_out = f"{_prefix(trunk)} prefix tokens" if features.ndim == 3 and _prefix(trunk) else "nothing"
    about = {"unit": "patch", "layer": "last", "norm": "as before the model's pooling", "left_out": left_out}
    return TokenPass(run, width, about)


def flat_map(features: Any) -> Any:
    """A map (n, width, rows, columns) to tokens (n, rows * columns, width), row by row."""
    return features.flatten(2).transpose(1, 2)


def _flattening(trunk: Any, features: Any) -> Callable[[Any], Any] | None:
    import torch

    width = getattr(trunk, "num_features", 0)
    if not isinstance(features, torch.Tensor):
        return None
    if features.ndim == 3 and features.shape[2] == width and 0 <= _prefix(trunk) < features.shape[1]:
        prefix = _prefix(trunk)
        return lambda found: found[:, prefix:]
    if features.ndim != 4:
        return None
    places = [place for place in (1, 3) if features.shape[place] == width]
    if len(places) == 2:
        places = [3 if str(getattr(trunk, "output_fmt", "NCHW")).endswith("NHWC") else 1]
    if not places:
        return None
    return flat_map if places == [1] else lambda found: found.flatten(1, 2)


def _prefix(trunk: Any) -> int:
    """How many tokens stand before the patches; -1 where that is not known."""
    count = getattr(trunk, "num_prefix_tokens", None)
    if count is not None:
        return int(count)
    extra = ("cls_token", "class_token", "dist_token", "reg_token")
    return -1 if any(word in name for name, _ in trunk.named_parameters() for word in extra) else 0
