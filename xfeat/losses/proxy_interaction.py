"""The proxies of one class meet: its hybrid proxy and its proxy in each modality point the same way.

CIIM (TPAMI 2024) states that single-modality and hybrid-modality proxies are learned; that their cosine ties them
is chosen here.
"""

from torch import Tensor
from torch.nn.functional import normalize


def proxy_interaction(hybrid: Tensor, single: Tensor, known: Tensor | None = None) -> Tensor:
    """Mean of ``1 - cos(h_c, p_mc)`` over the known proxies of all modalities.

    Args:
        hybrid: (C, d) float, one proxy per class, of any length but 0.
        single: (M, C, d) float, one per modality and class, of any length but 0.
        known: (M, C) bool, classes that a modality has; None is all. Other proxies have no influence, whatever their
            values are, and take no gradient.

    Returns:
        Scalar in [0, 2] up to rounding; where nothing is known it is 0, with gradient 0.

    Raises:
        ValueError: shapes that do not fit together.
    """
    if (
        hybrid.ndim != 2
        or single.ndim != 3
        or single.shape[1:] != hybrid.shape
        or (known is not None and known.shape != single.shape[:2])
    ):
        shapes = ", ".join(str(tuple(part.shape)) for part in (hybrid, single, known) if part is not None)
        raise ValueError(f"hybrid (C, d), single (M, C, d), known (M, C) do not fit together: {shapes}")
    if known is not None:
        # Zeros for what is not there: a product of 0 and NaN is no number, in the gradient too.
        hybrid = hybrid.where(known.any(dim=0)[:, None], 0.0)
        single = single.where(known[:, :, None], 0.0)
    apart = 1 - (normalize(single, dim=2) * normalize(hybrid, dim=1)).sum(dim=2)
    if known is None:
        return apart.mean()
    return apart.where(known, 0.0).sum() / known.sum().clamp_min(1)
