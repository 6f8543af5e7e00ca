"""Separation: the bias part of an embedding tells its modality, the causal part does not.

CIIM (TPAMI 2024) states that a causal intervention removes modality bias; that the two parts are told apart by modality
classifiers is chosen here, the adversarial one after Ganin and Lempitsky, ICML 2015.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


class Separation(NamedTuple):
    """Balanced cross-entropies of the two modality classifiers, scalars >= 0; log M is chance.

    Attributes:
        causal: of the classifier on the causal part.
        bias: of the classifier on the bias part.
    """

    causal: Tensor
    bias: Tensor


def separation(causal_logits: Tensor, bias_logits: Tensor, modality: Tensor) -> Separation:
    """How well each part tells the modality; both terms are to be minimised.

    Both classifiers learn to be right. The bias part is taught to help its own. The causal part is taught to hinder
    its own by the caller, who puts `reverse_gradient` between it and the classifier:

        causal_logits = causal_classifier(reverse_gradient(causal, weight))

    Without that, the term would put the modality into the causal part.

    The mean is over the modalities that occur in the batch, of the mean over the rows of each, so that none is told
    by being frequent.

    Args:
        causal_logits: (N, M) float.
        bias_logits: (N, M) float.
        modality: (N,) int64 in [0, M).

    Returns:
        The two terms; where there are no rows they are 0.

    Raises:
        ValueError: shapes that do not fit together.
    """
    if causal_logits.ndim != 2 or causal_logits.shape != bias_logits.shape or modality.shape != causal_logits.shape[:1]:
        shapes = ", ".join(str(tuple(part.shape)) for part in (causal_logits, bias_logits, modality))
        raise ValueError(f"causal_logits (N, M), bias_logits (N, M), modality (N,) do not fit together: {shapes}")
    # Counted by comparison: bincount would make a GPU wait.
    counts = (modality[:, None] == torch.arange(causal_logits.shape[1], device=modality.device)).sum(dim=0)
    occurring = (counts > 0).sum().clamp_min(1)
    causal, bias = (
        cross_entropy(logits, modality, counts.clamp_min(1).to(logits.dtype).reciprocal(), reduction="sum") / occurring
        for logits in (causal_logits, bias_logits)
    )
    return Separation(causal, bias)
