"""Oracle: the double loop over all pairs in float64, and autograd through the definition."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from xfeat.losses import Consistency, factored, mix, reversible_consistency

KINDS = ("one-hot", "multi-hot", "mixed")
# (B, C, O): fewer classes than rows and more, embeddings narrower than the batch and wider, one of everything.
SHAPES = [(7, 3, 5), (7, 3, 10), (3, 6, 4), (4, 9, 12), (6, 6, 6), (1, 1, 1), (1, 3, 4), (5, 1, 2), (9, 4, 1)]


def cosine(a: list[float], b: list[float]) -> float:
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


def literal(targets: Tensor, embeddings: Tensor, recast: Tensor) -> Consistency:
    """Every pair, one number at a time."""
    y, p, z = targets.double().tolist(), recast.double().tolist(), embeddings.double().tolist()
    batch, out = len(z), len(z[0])
    r = [[sum(weight * p[c][o] for c, weight in enumerate(row)) for o in range(out)] for row in y]
    pairs = [(i, j) for i in range(batch) for j in range(batch)]
    intra = sum((2 * cosine(r[i], r[j]) - 2 * cosine(z[i], z[j])) ** 2 for i, j in pairs) / batch**2
    inter = sum((2 * cosine(r[i], z[j]) - 2 * cosine(r[j], z[i])) ** 2 for i, j in pairs) / batch**2
    mse = sum((r[i][o] - z[i][o]) ** 2 for i in range(batch) for o in range(out)) / (batch * out)
    return Consistency(*(torch.tensor(value, dtype=torch.float64) for value in (intra, inter, mse)))


def definition(targets: Tensor, embeddings: Tensor, recast: Tensor) -> Consistency:
    """The formula with its B x B matrices, for autograd."""
    r = targets @ recast
    unit, z = normalize(r, dim=1), normalize(embeddings, dim=1)
    intra = (2 * unit @ unit.T - 2 * z @ z.T).square().mean()
    inter = (2 * unit @ z.T - (2 * unit @ z.T).T).square().mean()
    return Consistency(intra, inter, (r - embeddings).square().mean())


def ours(targets: Tensor, embeddings: Tensor, recast: Tensor) -> Consistency:
    """The loss as it is called in training, where the recast matrix is factored once."""
    return reversible_consistency(targets, embeddings, *factored(recast))


def draw(shape: tuple[int, int, int], kind: str, seed: int, *, unit: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Float64 targets (B, C), embeddings (B, O) and recast (C, O)."""
    batch, classes, out = shape
    g = torch.Generator().manual_seed(seed)
    targets = one_hot(torch.randint(classes, (batch,), generator=g), classes).double()
    if kind != "one-hot":
        targets = (targets + torch.randint(2, (batch, classes), generator=g)).clamp(max=1)
        targets /= targets.sum(1, keepdim=True)
    embeddings = torch.randn(batch, out, generator=g, dtype=torch.float64)
    embeddings = normalize(embeddings, dim=1) if unit else embeddings
    if kind == "mixed":
        embeddings, targets = mix(embeddings, targets, torch.randperm(batch, generator=g), 0.9)
    return targets, embeddings, torch.randn(classes, out, generator=g, dtype=torch.float64)


def drawn(kind: str, seed: int, size: tuple[int, int, int], unit: bool) -> tuple[Tensor, Tensor, Tensor]:
    return draw(size, kind, seed, unit=unit)


INPUTS = st.builds(
    drawn,
    st.sampled_from(KINDS),
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12)),
    st.booleans(),
)


@given(inputs=INPUTS)
def test_equals_the_double_loop(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    for found, expected in zip(ours(*inputs), literal(*inputs), strict=True):
        assert found.item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_double_loop_whatever_is_larger(shape: tuple[int, int, int], kind: str) -> None:
    inputs = draw(shape, kind, 5, unit=True)
    for found, expected in zip(ours(*inputs), literal(*inputs), strict=True):
        assert found.item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "shape",
    [*SHAPES, (64, 10, 32), (40, 50, 64), (300, 10, 128)],
)
def test_float32_differs_by_rounding_alone(shape: tuple[int, int, int], kind: str) -> None:
    """Embeddings of unit length and recast labels of about that length, as in training."""
    targets, embeddings, recast = draw(shape, kind, 6, unit=True)
    recast = normalize(recast, dim=1)
    inputs = [tensor.float() for tensor in (targets, embeddings, recast)]
    expected = definition(*(tensor.double() for tensor in inputs))
    for found, exact in zip(ours(*inputs), expected, strict=True):
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(exact.item(), rel=1e-6, abs=1e-6)


@given(inputs=INPUTS)
def test_gradients_are_those_of_the_definition(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    targets, embeddings, recast = inputs
    found, expected = embeddings.clone().requires_grad_(), embeddings.clone().requires_grad_()
    for one, other in zip(ours(targets, found, recast), definition(targets, expected, recast), strict=True):
        (gradient,) = torch.autograd.grad(one, found, retain_graph=True)
        (exact,) = torch.autograd.grad(other, expected, retain_graph=True)
        # A short row makes any gradient of a cosine long; so the bound is relative to the longest.
        torch.testing.assert_close(gradient, exact, rtol=1e-9, atol=1e-9 * max(1.0, exact.abs().max().item()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(7, 3, 5), (7, 3, 10), (3, 6, 4)])
def test_gradients_match_finite_differences(shape: tuple[int, int, int], kind: str) -> None:
    targets, embeddings, recast = draw(shape, kind, 7, unit=True)
    assert torch.autograd.gradcheck(lambda z: ours(targets, z, recast), (embeddings.requires_grad_(),))


@pytest.mark.parametrize("shape", [(4, 2, 3), (4, 2, 6), (3, 5, 4)])
def test_a_zero_row_has_no_direction_and_a_finite_gradient(shape: tuple[int, int, int]) -> None:
    targets, embeddings, recast = draw(shape, "one-hot", 8, unit=True)
    embeddings[1] = 0
    for dtype in (torch.float64, torch.float32):
        z = embeddings.to(dtype, copy=True).requires_grad_()
        found = ours(targets.to(dtype), z, recast.to(dtype))
        for value, expected in zip(found, literal(targets, embeddings, recast), strict=True):
            assert value.item() == pytest.approx(expected.item(), abs=1e-5)
        sum(found).backward()
        assert z.grad is not None
        assert torch.isfinite(z.grad).all()


@given(inputs=INPUTS, scale=st.floats(0.1, 9.0))
def test_structure_vanishes_where_embeddings_are_the_recast_labels_up_to_length(
    inputs: tuple[Tensor, Tensor, Tensor], scale: float
) -> None:
    targets, _, recast = inputs
    r = targets @ recast
    intra, inter, mse = ours(targets, scale * r, recast)
    assert intra.item() == pytest.approx(0, abs=1e-12)
    assert inter.item() == pytest.approx(0, abs=1e-12)
    assert mse.item() == pytest.approx((1 - scale) ** 2 * r.square().mean().item(), rel=1e-9, abs=1e-12)
    assert ours(targets, r, recast).mse.item() == pytest.approx(0, abs=1e-12)


@given(inputs=INPUTS, seed=st.integers(0, 10**6))
def test_the_order_of_rows_does_not_matter(inputs: tuple[Tensor, Tensor, Tensor], seed: int) -> None:
    targets, embeddings, recast = inputs
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    turned = ours(targets[order], embeddings[order], recast)
    for one, other in zip(turned, ours(*inputs), strict=True):
        assert one.item() == pytest.approx(other.item(), rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("shape", [(7, 3, 5), (7, 3, 10), (3, 6, 4)])
def test_many_members_at_once_are_each_their_own(shape: tuple[int, int, int]) -> None:
    members = [draw(shape, kind, 9, unit=True) for kind in KINDS]

    def loss(z: Tensor, y: Tensor, mixing: Tensor, frame: Tensor) -> Tensor:
        parts = reversible_consistency(y, z, mixing, frame)
        return sum(weight * part for weight, part in zip((1, 2, 3), parts, strict=True))

    whole = [(z, y, *factored(p)) for y, z, p in members]
    gradients, values = torch.func.vmap(torch.func.grad_and_value(loss))(*map(torch.stack, zip(*whole, strict=True)))
    for member, inputs in enumerate(whole):
        gradient, value = torch.func.grad_and_value(loss)(*inputs)
        torch.testing.assert_close(values[member], value)
        torch.testing.assert_close(gradients[member], gradient)


@given(seed=st.integers(0, 10**6), classes=st.integers(1, 9), out=st.integers(1, 12))
def test_factors_multiply_to_the_matrix_and_the_frame_is_orthonormal(seed: int, classes: int, out: int) -> None:
    recast = torch.randn(classes, out, generator=torch.Generator().manual_seed(seed))
    mixing, frame = factored(recast)
    rank = min(classes, out)
    assert (mixing.shape, frame.shape, mixing.dtype, frame.dtype) == (
        (classes, rank),
        (rank, out),
        torch.float32,
        torch.float32,
    )
    torch.testing.assert_close(mixing @ frame, recast, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(frame @ frame.T, torch.eye(rank), atol=1e-6, rtol=0)


def alike(classes: int, out: int, cosine: float, seed: int) -> Tensor:
    """Float64 W (O, C) of unit columns, every two of the same cosine; a negative one turns every second column."""
    g = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(out, classes + 1, generator=g, dtype=torch.float64))[0]
    columns = abs(cosine) ** 0.5 * basis[:, :1] + (1 - abs(cosine)) ** 0.5 * basis[:, 1:]
    if cosine < 0:
        columns = columns * torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(classes)[:classes]
    return columns


def narrow(classes: int, out: int, seed: int) -> Tensor:
    """Float64 W (O, C) of unit columns, more of them than dimensions."""
    g = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(out, classes, generator=g, dtype=torch.float64), dim=0)


HARD_PRIORS = {
    **{f"cosine {c}": alike(6, 16, c, 1) for c in (0.99, 0.995, 0.999, -0.99, -0.999)},
    "antipodal": alike(6, 16, 0.9, 2)[:, :3].repeat(1, 2) * torch.tensor([1, 1, 1, -1, -1, -1]),
    "the same column twice": alike(6, 16, 0.9, 2)[:, :3].repeat(1, 2),
    "fewer dimensions than classes": narrow(9, 4, 3),
    "two dimensions": narrow(9, 2, 4),
    "a line": narrow(5, 1, 5) * torch.linspace(0.5, 1.5, 5),
    "a line with two directions": narrow(5, 1, 5),
}


@pytest.mark.parametrize("rows", [5, 40, 200])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prior", HARD_PRIORS)
def test_dependent_columns_keep_float32_near_the_definition(prior: str, kind: str, rows: int) -> None:
    """Embeddings as training meets them: far from the recast labels, close to them, and in one place."""
    w = HARD_PRIORS[prior]
    recast = torch.linalg.pinv(w).float()
    targets, embeddings, _ = draw((rows, w.shape[1], w.shape[0]), kind, 10, unit=True)
    r = targets @ torch.linalg.pinv(w)
    # Where opposite columns cancel in a row, its recast label is rounding, and the definition itself has no value.
    defined = prior != "antipodal" or r.norm(dim=1).min() > 1e-6
    near = normalize(r + 1e-3 * embeddings, dim=1)
    for some in (embeddings, near, embeddings[:1].expand_as(embeddings)):
        z = some.float().clone().requires_grad_()
        found = ours(targets.float(), z, recast)
        expected = definition(targets.float().double(), z.detach().double(), recast.double())
        for value in found[:2]:
            assert -1e-5 <= value.item() <= 16 + 1e-5
        (gradient,) = torch.autograd.grad(sum(found), z)
        assert torch.isfinite(gradient).all()
        if defined:
            for value, exact in zip(found, expected, strict=True):
                assert value.item() == pytest.approx(exact.item(), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    ("targets", "embeddings", "mixing", "frame"),
    [
        ((2, 3), (2, 4), (3, 3), (3, 5)),
        ((2, 3), (2, 4), (2, 2), (2, 4)),
        ((2, 3), (3, 4), (3, 3), (3, 4)),
        ((2, 3), (2, 4), (3, 2), (3, 4)),
    ],
)
def test_shapes_must_fit_together(
    targets: tuple[int, int], embeddings: tuple[int, int], mixing: tuple[int, int], frame: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        reversible_consistency(*map(torch.zeros, (targets, embeddings, mixing, frame)))
