"""Consistency of anchor assignments: similarities to anchors predict the soft targets that another space gives.

SSPC (ICCV 2023, arXiv 2308.13077): binary cross entropy whose logits are exp(similarity / 0.1). Logits are positive, so
that an anchor counts as "no" with 0.5 at most; what is learned is which ones count more.
"""

from torch import Tensor
from torch.nn.functional import softplus


def assignment_cost(
    logits: Tensor, target: Tensor, temperature: float = 0.1, *, present: Tensor | None = None
) -> Tensor:
    """Mean over anchors and the present rows of ``-t log s - (1 - t) log(1 - s)``, s = sigmoid(exp(x / temperature)).

    No value is looked at, so that a GPU is not kept waiting and the step can be captured.

    Args:
        logits: (B, K) float x, cosines. exp(x / temperature) must be finite.
        target: (B, K) float t in [0, 1]; takes no gradient.
        temperature: > 0.
        present: (B,) bool, rows that count; None is all. Values of the others have no influence, and take no gradient.

    Returns:
        Scalar >= 0; where no row is present it is 0, with gradient 0.

    Raises:
        ValueError: a temperature that is not positive, or shapes that do not fit together.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    if logits.ndim != 2 or logits.shape != target.shape or (present is not None and present.shape != logits.shape[:1]):
        shapes = ", ".join(str(tuple(part.shape)) for part in (logits, target, present) if part is not None)
        raise ValueError(f"logits (B, K), target (B, K), present (B,) do not fit together: {shapes}")
    target = target.detach()
    if present is not None:
        logits, target = (part.where(present[:, None], 0.0) for part in (logits, target))
    score = (logits / temperature).exp()
    # -log s is softplus(-score); -log(1 - s) is that and the score itself.
    each = ((1 - target) * score + softplus(-score)).mean(1)
    if present is None:
        return each.mean()
    return each.where(present, 0.0).sum() / present.sum().clamp_min(1)
