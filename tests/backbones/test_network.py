import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from xfeat.backbones.base import Setup
from xfeat.backbones.network import Network, TokenPass, stack
from xfeat.errors import InputError


def module() -> torch.nn.Module:
    torch.manual_seed(0)
    conv = [torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3)]
    return torch.nn.Sequential(*conv, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def network(setup: Setup, dim: int = 4) -> Network:
    made = module()
    return Network(made, made, dim, "family:model", setup)


IMAGES = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_runs_in_evaluation_mode_and_keeps_no_gradients() -> None:
    with torch.no_grad():
        expected = module().eval()(IMAGES).numpy()
    features = network(Setup("cpu")).features(list(IMAGES))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-6)


def test_lays_convolutions_out_for_speed_and_leaves_a_single_one() -> None:
    made = module()
    Network(made, made, 4, "x", Setup("cpu"))
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in made.parameters() if w.ndim == 4)
    single = torch.nn.Conv2d(3, 4, 2)
    Network(single, single, 4, "x", Setup("cpu"))
    assert single.weight.is_contiguous()


def test_several_threads_may_encode_at_once() -> None:
    mine = network(Setup("cpu"))
    expected = mine.features(IMAGES)
    with ThreadPoolExecutor(4) as pool:
        for features in pool.map(mine.features, [IMAGES] * 16):
            np.testing.assert_allclose(features, expected, rtol=0, atol=1e-6)


def test_only_kept_tokens_are_given() -> None:
    mine = network(Setup("cpu"))
    flat = TokenPass(
        lambda x: (x.mean((1, 2, 3))[:, None].expand(-1, 4), x.flatten(2).transpose(1, 2)),
        3,
        {},
        lambda x: torch.arange(64) <= torch.arange(len(x))[:, None],
    )
    _, tokens = mine.features_and_tokens(IMAGES, flat)
    assert tokens.lengths.tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(tokens.slice(2, 3).values, IMAGES[2, :, 0, :3].T.numpy())


def test_features_of_another_width_than_announced_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"family:model gave features of shape \(5, 4\), its width is 3"):
        network(Setup("cpu"), dim=3).features(IMAGES)


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        (Setup("cpu"), {"precision": "fp32"}),
        (Setup("cpu", compile=True), {"precision": "fp32"}),
        (Setup("cpu", "bf16"), {"precision": "bf16 autocast"}),
        (Setup("cpu", "bf16", compile=True), {"precision": "bf16 autocast", "compiled": True}),
    ],
)
def test_the_fingerprint_says_compiled_where_that_changes_more_than_the_last_bits(
    setup: Setup, expected: dict[str, object]
) -> None:
    mine = network(setup)
    assert mine.compiled == setup.compile
    assert mine.fingerprint() == expected


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_compiled_gives_the_same_features_for_batches_of_several_sizes() -> None:
    made = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GELU())
    plain, compiled = (Network(made, made, 4, "x", Setup("cpu", compile=compile)) for compile in (False, True))
    rows = torch.randn(5, 3)
    for batch in (rows, rows[:2]):
        np.testing.assert_allclose(compiled.features(batch), plain.features(batch), rtol=1e-4, atol=1e-6)


def test_a_compiler_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config as inductor

    torch._dynamo.reset()
    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    with pytest.raises(InputError, match=r"family:model cannot be compiled here .*leave compiling out") as caught:
        network(Setup("cpu", compile=True)).features(IMAGES[:, :, :7])
    assert "\n" not in str(caught.value)


def test_stacks_items_of_one_shape() -> None:
    assert torch.equal(stack(list(IMAGES)), IMAGES)
