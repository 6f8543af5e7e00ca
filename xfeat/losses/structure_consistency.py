"""Structure consistency between recast labels R and embeddings Z of one batch.

DRCL (arXiv 2501.05686), reversible semantic consistency, with S(A, B) = 2 cos(A_i, B_j):
intra = mean (S(R,R) - S(Z,Z))^2 and inter = mean (S(R,Z) - S(R,Z)^T)^2.
"""

from torch import Tensor
from torch.nn.functional import normalize


def structure_consistency(recast: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """The intra- and inter-structure losses; both share the normalised rows.

    Args:
        recast: (B, O) float, labels recast into the embedding space.
        embeddings: (B, O) float. Rows need not have unit length; a zero row has cosine 0 with everything.

    Returns:
        Two scalars in [0, 16]: intra (structure inside the modality follows the structure of the labels) and inter
        (label-to-embedding structure is symmetric).

    Raises:
        ValueError: the shapes differ.
    """
    if recast.shape != embeddings.shape:
        raise ValueError(f"recast {tuple(recast.shape)} and embeddings {tuple(embeddings.shape)} must have one shape")
    r, z = normalize(recast, dim=1), normalize(embeddings, dim=1)
    cross = r @ z.T
    # S carries a factor 2, its square 4.
    intra = 4 * (r @ r.T - z @ z.T).square().mean()
    inter = 4 * (cross - cross.T).square().mean()
    return intra, inter
