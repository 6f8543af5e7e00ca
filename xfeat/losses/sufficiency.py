"""Sufficiency: the causal part alone is classified as the whole embedding is.

CIIM (TPAMI 2024) states that embeddings are forced to satisfy properties of the causal mechanism; this form of
sufficiency, a distillation (Hinton, Vinyals and Dean, 2015) of class probabilities, is chosen here.
"""

from torch import Tensor
from torch.nn.functional import kl_div, normalize


def sufficiency(causal: Tensor, embeddings: Tensor, proxies: Tensor, *, scale: float = 16.0) -> Tensor:
    """Mean over rows of ``KL(softmax(scale cos(e, h)) || softmax(scale cos(c, h)))`` over the proxies h.

    Only the causal part learns from it: the embeddings are its target and the proxies its measure, and both are
    taught elsewhere.

    Args:
        causal: (N, d) float, the causal part c, of any length but 0.
        embeddings: (N, d) float e, rows of unit length; takes no gradient.
        proxies: (C, d) float, C >= 1, of any length but 0; takes no gradient.
        scale: > 0, inverse temperature.

    Returns:
        Scalar in [0, 2 scale + log C] up to rounding: 0 where c is classified as e is, or where there are no rows.

    Raises:
        ValueError: a scale that is not positive, or shapes that do not fit together.
    """
    if not scale > 0:
        raise ValueError(f"scale must be > 0, got {scale}")
    if (
        causal.ndim != 2
        or causal.shape != embeddings.shape
        or proxies.ndim != 2
        or not len(proxies)
        or proxies.shape[1] != causal.shape[1]
    ):
        shapes = ", ".join(str(tuple(part.shape)) for part in (causal, embeddings, proxies))
        raise ValueError(f"causal (N, d), embeddings (N, d), proxies (C, d) do not fit together: {shapes}")
    directions = scale * normalize(proxies.detach(), dim=1).T
    target = (embeddings.detach() @ directions).log_softmax(dim=1)
    found = (normalize(causal, dim=1) @ directions).log_softmax(dim=1)
    return kl_div(found, target, reduction="sum", log_target=True) / max(len(causal), 1)
