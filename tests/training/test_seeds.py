import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.training.seeds import random_state, random_stream, set_random_state, stream_seed

CPU = torch.device("cpu")


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


def test_a_stream_repeats_itself_and_gives_the_callers_state_back() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with random_stream(CPU, 5, "a"):
        first = torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(100)
    with random_stream(CPU, 5, "a"):
        again = torch.rand(4)
    with random_stream(CPU, 5, "b"):
        other = torch.rand(4)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_callers_state_comes_back_after_an_error_too() -> None:
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="size"), random_stream(CPU, 5, "a"):
        torch.rand(4) + torch.rand(5)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_state_is_put_back_where_it_was_taken() -> None:
    with random_stream(CPU, 5, "a"):
        torch.rand(3)
        state = random_state(CPU)
        ahead = torch.rand(3)
        set_random_state(CPU, state)
        assert torch.equal(torch.rand(3), ahead)
