"""InfoNCE: each row finds its own pair among the rows of the other modality, and the other way round.

Van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018, eq. 4; both directions
as in CLIP (Radford et al., ICML 2021).
"""

import torch
from torch import Tensor


def info_nce(
    a: Tensor, b: Tensor, temperature: float = 0.05, *, keys: Tensor | None = None, present: Tensor | None = None
) -> Tensor:
    """Mean over both directions and the present rows of ``-log softmax_j(a_i . b_j / temperature)`` at j = i.

    No value is looked at, so that a GPU is not kept waiting and the step can be captured.

    Args:
        a: (B, d) float, rows of unit length.
        b: (B, d) float, rows of unit length; row i belongs to row i of a.
        temperature: > 0.
        keys: (B,) int64. Different rows with one key are no negatives of each other: captions of one image, say.
        present: (B,) bool, rows that have both modalities; None is all. Others are neither asked for nor negatives,
            whatever their values are, and take no gradient.

    Returns:
        Scalar >= 0; where no row is present it is 0, with gradient 0.

    Raises:
        ValueError: a temperature that is not positive, or shapes that do not fit together.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    rows = a.shape[:1]
    if a.ndim != 2 or a.shape != b.shape or any(x is not None and x.shape != rows for x in (keys, present)):
        shapes = ", ".join(str(tuple(part.shape)) for part in (a, b, keys, present) if part is not None)
        raise ValueError(f"a (B, d), b (B, d), keys (B,), present (B,) do not fit together: {shapes}")
    if present is not None:
        # Zeros for what is not there: a product of 0 and NaN is no number, in the gradient too.
        a, b = (part.where(present[:, None], 0.0) for part in (a, b))
    logits = a @ b.T / temperature
    if (left_out := _left_out(keys, present)) is not None:
        # Each row keeps its own pair, so no denominator is empty.
        logits = logits.masked_fill(left_out.fill_diagonal_(False), -torch.inf)
    each = (logits.logsumexp(0) + logits.logsumexp(1)) / 2 - logits.diagonal()
    if present is None:
        return each.mean()
    return each.where(present, 0.0).sum() / present.sum().clamp_min(1)


def _left_out(keys: Tensor | None, present: Tensor | None) -> Tensor | None:
    same = None if keys is None else keys[:, None] == keys
    absent = None if present is None else ~(present[:, None] & present)
    if same is None or absent is None:
        return absent if same is None else same
    return same | absent
