"""What a rank leaves of a gain: 1/log2(rank + 1) (Burges et al., ICML 2005)."""

import torch
from torch import Tensor


def cumulated_discounts(last: int, device: torch.device) -> Tensor:
    """(last + 1,) float64: 0, and the sums of 1/log2(rank + 1) over the first 1, 2, ..., ``last`` ranks."""
    sums = torch.zeros(last + 1, dtype=torch.float64)
    torch.cumsum(1 / torch.arange(2, last + 2, dtype=torch.float64).log2(), 0, out=sums[1:])
    return sums.to(device)
