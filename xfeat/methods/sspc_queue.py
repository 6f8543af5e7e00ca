"""The last samples of one embedding space, in a ring of fixed size on the device."""

import torch
from torch import Tensor, nn


class Queue(nn.Module):
    """A ring buffer of embeddings. Pushing writes the new rows over the oldest; nothing else moves.

    Args:
        size: rows it holds; 0 makes a queue that is always full and empty.
        width: d of an embedding.

    The place of the next row and the number of rows so far live on the host, so that pushing never waits for the
    device; they are part of the state that a checkpoint keeps.
    """

    rows: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(size, width))
        self._next, self._filled = 0, 0

    @property
    def size(self) -> int:
        """Rows it holds when full."""
        return len(self.rows)

    @property
    def full(self) -> bool:
        """Whether as many rows were pushed as it holds."""
        return self._filled == self.size

    def filled(self) -> Tensor:
        """(n, d) the rows pushed so far, the last ``size`` of them, in no order; a view."""
        return self.rows[: self._filled]

    @torch.no_grad()
    def push(self, embeddings: Tensor) -> None:
        """Add (n, d) rows; of more than fit, the last ones count."""
        new = embeddings.detach()[-self.size :] if self.size else embeddings[:0]
        start = 0
        while start < len(new):
            count = min(len(new) - start, self.size - self._next)
            self.rows[self._next : self._next + count].copy_(new[start : start + count])
            self._next = (self._next + count) % self.size
            start += count
        self._filled = min(self.size, self._filled + len(new))

    def get_extra_state(self) -> Tensor:
        """Place of the next row and rows so far, as a tensor that safetensors can keep."""
        return torch.tensor([self._next, self._filled])

    def set_extra_state(self, state: Tensor) -> None:
        """Put back what ``get_extra_state`` gave."""
        self._next, self._filled = (int(value) for value in state)
