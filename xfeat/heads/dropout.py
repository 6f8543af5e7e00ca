"""Dropout masks that are cheap to draw, on a CPU most of all.

Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014; inverted scaling.
"""

import torch
from torch import Tensor

LEVELS = 256  # a mask value is decided by one random byte


def dropout_mask(rows: int, width: int, p: float, generator: torch.Generator) -> Tensor:
    """A multiplicative mask: 0 with probability p, otherwise what keeps the mean.

    One 64-bit random number decides eight values, which costs less than a uniform number for each (benchmarks/drcl.py);
    p is therefore rounded to a multiple of 1/256.

    Args:
        rows: B.
        width: values per row.
        p: in [0, 1).
        generator: whose device the mask is made on.

    Returns:
        (B, width) float32 of zeros and 1 / (1 - p).

    Raises:
        ValueError: p outside [0, 1).
    """
    if not 0.0 <= p < 1.0:
        raise ValueError(f"p must lie in [0, 1), got {p}")
    dropped = min(LEVELS - 1, round(p * LEVELS))
    count = rows * width
    words = torch.empty(-(-count // 8), dtype=torch.int64, device=generator.device)
    values = words.random_(-(2**63), None, generator=generator).view(torch.uint8)[:count]
    kept = (values >= dropped).view(rows, width)
    return kept * (LEVELS / (LEVELS - dropped))
