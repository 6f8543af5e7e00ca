"""Invariance: the embedding of a sample is the same under every intervention.

CIIM (TPAMI 2024) states that the causal embedding is invariant; that this is measured by the cosine is chosen here.
"""

from torch import Tensor


def invariance(embeddings: Tensor) -> Tensor:
    """Mean over rows and unordered pairs of interventions of ``1 - cos``.

    For unit vectors 1 - cos is half the squared distance, and the sum of all squared distances is K times that from
    the mean: sum_k<l |e_k - e_l|^2 = K sum_k |e_k - mean|^2 = K^2 - |sum_k e_k|^2. So the cost is O(K N d), and nothing
    cancels where the embeddings agree.

    Args:
        embeddings: (K, N, d) float, the N rows under each of K >= 1 interventions, of unit length.

    Returns:
        Scalar in [0, K / (K - 1)]; with one intervention, or no rows, it is 0, with gradient 0.

    Raises:
        ValueError: not three dimensions, or no intervention.
    """
    if embeddings.ndim != 3 or not len(embeddings):
        raise ValueError(f"embeddings must be (K, N, d) with K >= 1, got {tuple(embeddings.shape)}")
    interventions, rows, _ = embeddings.shape
    from_mean = embeddings - embeddings.mean(dim=0)
    return from_mean.square().sum() / max((interventions - 1) * rows, 1)
