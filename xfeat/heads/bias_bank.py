"""What is known of each modality's bias: its running mean and deviation, from which interventions take theirs.

CIIM (TPAMI 2024) states an intervention that removes modality bias; that the bias is replaced by statistics of other
modalities, and that these are running averages (as in batch normalisation: Ioffe and Szegedy, ICML 2015), is chosen.
"""

import torch
from torch import Tensor, nn

MOMENTUM = 0.1  # share of a batch in the running statistics


class BiasBank(nn.Module):
    """Running statistics of the bias of M modalities.

    Args:
        modalities: M.
        dim: d.

    Buffers:
        mean, std: (M, d); 0 before the first batch of a modality, which is then taken whole.
        seen: (M,) bool.
    """

    mean: Tensor
    std: Tensor
    seen: Tensor

    def __init__(self, modalities: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(modalities, dim))
        self.register_buffer("std", torch.zeros(modalities, dim))
        self.register_buffer("seen", torch.zeros(modalities, dtype=torch.bool))

    @property
    def modalities(self) -> int:
        """M."""
        return len(self.mean)

    def means(self) -> Tensor:
        """The mean bias of every modality, (M, 1, d)."""
        return self.mean.unsqueeze(1)

    def draw(self, chosen: Tensor, noise: Tensor) -> Tensor:
        """A bias of each chosen modality for every row.

        Args:
            chosen: (K,) int64 places in [0, M).
            noise: (K, N, d) standard normal.

        Returns:
            (K, N, d).
        """
        return self.mean[chosen].unsqueeze(1) + self.std[chosen].unsqueeze(1) * noise

    @torch.no_grad()
    def update(self, place: int, bias: Tensor) -> None:
        """Move the statistics of one modality towards a batch.

        Args:
            place: of the modality, in [0, M).
            bias: (n, d), n >= 1.
        """
        share = 1 - (1 - MOMENTUM) * self.seen[place].to(self.mean.dtype)
        self.mean[place].lerp_(bias.mean(0), share)
        self.std[place].lerp_(bias.std(0, correction=0), share)
        self.seen[place] = True
