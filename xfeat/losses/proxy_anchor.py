"""Proxy-Anchor: every class proxy pulls the rows of its class and pushes all others, the hardest of them most.

Kim, Kim, Cho and Kwak, "Proxy Anchor Loss for Deep Metric Learning", CVPR 2020, eq. 4. CIIM (TPAMI 2024) states that
samples are compared with learned proxies; that they are compared by this loss is chosen here.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from xfeat.losses.multi_similarity import log_one_plus_sum


def proxy_anchor(
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor,
    *,
    scale: float = 32.0,
    margin: float = 0.1,
    known: Tensor | None = None,
) -> Tensor:
    """Pull and push of every proxy, each a soft maximum over the rows of the batch.

    With s = cos(x, p), X+ the rows of the class of p and X- the others:

        mean over p with X+ of log(1 + sum_X+ exp(-scale (s - margin)))
        + mean over all p of log(1 + sum_X- exp(scale (s + margin))).

    No value is looked at, so that a GPU is not kept waiting.

    Args:
        embeddings: (N, d) float, rows of unit length. N may be 0: the loss is 0 then.
        labels: (N,) int64 in [0, C), the proxy of each row. A row whose proxy does not take part, or whose label is
            outside this range, is pulled by none and pushed by all.
        proxies: (C, d) float, of any length but 0.
        scale: > 0.
        margin: >= 0.
        known: (C,) bool, proxies that take part: those of the classes that a modality has. None is all. Others are in
            neither mean, whatever their values are, and take no gradient.

    Returns:
        Scalar >= 0; where no proxy takes part it is 0, with gradient 0.

    Raises:
        ValueError: a scale or margin outside its range, or shapes that do not fit together.
    """
    if not scale > 0 or not margin >= 0:
        raise ValueError(f"scale must be > 0 and margin >= 0, got {scale} and {margin}")
    _check(embeddings, labels, proxies, known)
    classes = torch.arange(len(proxies), device=labels.device)
    if known is None:
        known = torch.ones_like(classes, dtype=torch.bool)
    # Zeros for what takes no part: a product of 0 and NaN is no number, in the gradient too.
    similarity = normalize(proxies.where(known[:, None], 0.0), dim=1) @ embeddings.T
    own = labels == classes[:, None]
    pull = log_one_plus_sum(-scale * (similarity - margin), own & known[:, None])
    push = log_one_plus_sum(scale * (similarity + margin), ~own & known[:, None])
    pulling = (own.any(dim=1) & known).sum()
    # A proxy without rows to pull or push has a term of 0.
    return pull.sum() / pulling.clamp_min(1) + push.sum() / known.sum().clamp_min(1)


def _check(embeddings: Tensor, labels: Tensor, proxies: Tensor, known: Tensor | None) -> None:
    if (
        embeddings.ndim != 2
        or labels.shape != embeddings.shape[:1]
        or proxies.ndim != 2
        or proxies.shape[1] != embeddings.shape[1]
        or (known is not None and known.shape != proxies.shape[:1])
    ):
        parts = (embeddings, labels, proxies, known)
        shapes = ", ".join(str(tuple(part.shape)) for part in parts if part is not None)
        raise ValueError(f"embeddings (N, d), labels (N,), proxies (C, d), known (C,) do not fit together: {shapes}")
