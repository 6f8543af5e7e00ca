import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from xfeat.training.seeds import seeded, stream_seed

CPU = torch.device("cpu")


def numbers(seed: int, *names: str) -> tuple[Tensor, Tensor]:
    """What is made, and what its generator gives after it."""
    made, generator = seeded(lambda: torch.rand(4), CPU, seed, *names)
    return made, torch.rand(4, generator=generator)


def test_a_stream_seed_depends_on_its_arguments_alone() -> None:
    assert stream_seed(0, "image", "spl") == stream_seed(0, "image", "spl")
    seeds = {
        stream_seed(n, *names) for n in range(3) for names in [(), ("a",), ("b",), ("a", "b"), ("b", "a"), ("ab",)]
    }
    assert len(seeds) == 18


def test_a_stream_seed_is_the_same_in_every_process_and_version() -> None:
    assert stream_seed(7, "image", "rsc") == 1077267674764841712


@given(seed=st.integers(0, 2**70), names=st.lists(st.text(max_size=5), max_size=3))
def test_torch_takes_every_stream_seed(seed: int, names: list[str]) -> None:
    assert 0 <= stream_seed(seed, *names) < 2**63
    torch.Generator().manual_seed(stream_seed(seed, *names))


def test_what_is_made_and_what_comes_after_repeat_themselves() -> None:
    first = numbers(5, "a")
    torch.rand(100)
    torch.manual_seed(8)
    for one, again in zip(first, numbers(5, "a"), strict=True):
        assert torch.equal(one, again)
    for other in (numbers(5, "b"), numbers(6, "a"), numbers(5, "a", "a")):
        assert not any(torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_the_generator_goes_on_where_making_stopped() -> None:
    made, after = numbers(5, "a")
    assert not torch.equal(made, after)
    both, _ = seeded(lambda: torch.rand(8), CPU, 5, "a")
    assert torch.equal(both, torch.cat([made, after]))


def test_the_callers_state_comes_back() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    numbers(5, "a")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_callers_state_comes_back_after_an_error_too() -> None:
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="size"):
        seeded(lambda: torch.rand(4) + torch.rand(5), CPU, 5, "a")
    assert torch.equal(torch.get_rng_state(), before)


def test_two_streams_side_by_side_do_not_feel_each_other() -> None:
    (_, one), (_, two) = (seeded(lambda: torch.rand(4), CPU, 5, name) for name in "ab")
    mixed = [(torch.rand(2, generator=one), torch.rand(2, generator=two)) for _ in range(2)]
    assert torch.equal(torch.cat([first for first, _ in mixed]), numbers(5, "a")[1])
    assert torch.equal(torch.cat([second for _, second in mixed]), numbers(5, "b")[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_weights_start_from_the_same_values_on_a_gpu() -> None:
    device = torch.device("cuda")
    made, generator = seeded(lambda: torch.rand(4), device, 5, "a")
    assert torch.equal(made, numbers(5, "a")[0])
    _, again = seeded(lambda: torch.rand(4), device, 5, "a")
    assert torch.equal(torch.rand(4, generator=generator, device=device), torch.rand(4, generator=again, device=device))
