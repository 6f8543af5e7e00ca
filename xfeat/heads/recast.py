"""Embeds a sample as its class posterior, recast into the shared space the way DRCL recasts labels.

DRCL (arXiv 2501.05686) recasts a label y to r = y P. Here the posterior p = softmax(s z W) takes the place of the label
and the isometry nearest to P that of P: the inner product of two samples is then sum_c p_c p'_c, the probability that
both are of one class where they are drawn independently, which is what a ranking by "same class" should be sorted by.
"""

import torch
from torch import Tensor, nn


class Recast(nn.Module):
    """Unit embeddings z of a branch to posteriors in the shared space.

    Args:
        prior: (O, C) W.
        scale: s, of the logits.

    Shape:
        (B, O) float -> (B, O) float, rows of length 1 at most, to be compared by inner product.
    """

    prior: Tensor
    axes: Tensor

    def __init__(self, prior: Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("prior", scale * prior.float())
        u, _, v = torch.linalg.svd(prior.double(), full_matrices=False)
        # The polar factor: among all isometries the nearest to W, and to pinv(W) transposed.
        self.register_buffer("axes", (u @ v).T.float().contiguous())

    def forward(self, z: Tensor) -> Tensor:
        """Recast a batch; see the class for shapes."""
        posterior: Tensor = (z @ self.prior).softmax(dim=1)
        return posterior @ self.axes
