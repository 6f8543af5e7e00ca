"""Feature augmentation: every embedding and its label take a small part of another sample of the batch.

DRCL (arXiv 2501.05686): z' = g z + (1 - g) z[pi], y' = g y + (1 - g) y[pi]; g = 0.9. It acts after the network.
"""

from torch import Tensor


def mix(embeddings: Tensor, targets: Tensor, permutation: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Mix rows with the rows the permutation names.

    Args:
        embeddings: (B, O) float.
        targets: (B, C) float.
        permutation: (B,) int64, a permutation of 0..B-1.
        gamma: in [0, 1], the share that a row keeps; at 1 nothing changes.

    Returns:
        Mixed embeddings (B, O) and targets (B, C).
    """
    if gamma == 1.0:
        return embeddings, targets
    return embeddings.lerp(embeddings[permutation], 1 - gamma), targets.lerp(targets[permutation], 1 - gamma)
