import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from xfeat.cache import Tokens
from xfeat.errors import InputError
from xfeat.extraction.encode import Encoder, cores_kept, is_out_of_memory


class Doubles:
    """A number x to (x, 2x); its tokens are x times x. Memory, as it says, holds so many samples."""

    kind, name, dim, token_dim = "image", "test:doubles", 2, 1

    def __init__(self, holds: int = 100, error: Callable[[], Exception] = MemoryError) -> None:
        self.holds, self.error, self.sizes, self.threads = holds, error, list[int](), set[str]()

    def fingerprint(self) -> dict[str, Any]:
        return {}

    def load(self, source: Path | str) -> Any:
        raise NotImplementedError

    def encode(self, items: Sequence[int]) -> NDArray[np.float32]:
        self.sizes.append(len(items))
        self.threads.add(threading.current_thread().name)
        if len(items) > self.holds:
            raise self.error()
        return np.array([[x, 2 * x] for x in items], np.float32)

    def encode_tokens(self, items: Sequence[int]) -> tuple[NDArray[np.float32], Tokens]:
        values = np.concatenate([np.full((int(x), 1), x, np.float32) for x in items])
        return self.encode(items), Tokens(values, np.cumsum([0, *map(int, items)]))


ERRORS: list[Callable[[], Exception]] = [
    MemoryError,
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
]


@pytest.mark.parametrize(
    ("holds", "limit", "error"),
    [(100, 0, ERRORS[0]), (10, 0, ERRORS[0]), (9, 5, ERRORS[0]), (4, 2, ERRORS[1]), (1, 1, ERRORS[2])],
)
@pytest.mark.parametrize("items", [list(range(1, 11)), torch.arange(1, 11)], ids=["list", "tensor"])
def test_a_batch_that_memory_does_not_hold_is_halved(
    error: Callable[[], Exception], holds: int, limit: int, items: Any
) -> None:
    backbone = Doubles(holds, error)
    encoder = Encoder(backbone, tokens=True)
    first, second = encoder.submit(items, 10).result(), encoder.submit(items, 10).result()
    encoder.close()
    for batch in (first, second):
        assert batch.features.tolist() == [[x, 2 * x] for x in range(1, 11)]
        assert batch.tokens is not None
        assert batch.tokens.lengths.tolist() == list(range(1, 11))
        assert batch.tokens.values[:, 0].tolist() == [x for x in range(1, 11) for _ in range(x)]
    assert encoder.limit == limit
    refused = [size for size in backbone.sizes if size > holds]
    assert len(refused) == len(set(refused))  # what was too large once is not tried again


def test_one_sample_that_memory_does_not_hold_is_the_end() -> None:
    encoder = Encoder(Doubles(0, ERRORS[1]), tokens=False)
    with pytest.raises(InputError, match=r"test:doubles: memory does not hold a batch of one \(CUDA out of memory"):
        encoder.submit([1, 2], 2).result()
    encoder.close()


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ValueError("can't allocate memory")])
def test_other_errors_are_raised(error: Exception) -> None:
    assert not is_out_of_memory(error)
    encoder = Encoder(Doubles(1, lambda: error), tokens=False)
    with pytest.raises(type(error), match=str(error)):
        encoder.submit([1, 2], 2).result()
    encoder.close()


class Short(Doubles):
    def encode_tokens(self, items: Sequence[int]) -> tuple[NDArray[np.float32], Tokens]:
        return super().encode(items), Tokens(np.zeros((1, 1), np.float32), np.array([0, 1]))


def test_token_sequences_of_another_number_of_samples_are_refused() -> None:
    encoder = Encoder(Short(), tokens=True)
    with pytest.raises(ValueError, match="gave 1 token sequences for 2 samples"):
        encoder.submit([1, 2], 2).result()
    encoder.close()


def test_threads_share_the_cores_and_give_them_back() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    class Watching(Doubles):
        def encode(self, items: Sequence[int]) -> NDArray[np.float32]:
            seen.append(torch.get_num_threads())
            return super().encode(items)

    try:
        torch.set_num_threads(8)
        with cores_kept():
            encoder = Encoder(Watching(), tokens=False)
            assert encoder.threads == 4
            encoder.submit([1], 1).result()
            encoder.close()
        assert seen == [2]
        assert torch.get_num_threads() == 8
    finally:
        torch.set_num_threads(before)
