"""Multi-Assignment Sinkhorn-Knopp: soft targets in which every sample belongs to about `required` anchors at once.

SSPC (ICCV 2023, arXiv 2308.13077). Similarities S (B, K) are stacked in K slices, Q_k = exp(S w_k / eps), divided by
their total. Then, with d = 1e-5 and `iterations` times over,

    u: Q <- Q m_j / (sum_i Q + d),  v: Q <- Q / (sum_k Q + d),  z: Q <- Q / (sum_j Q + d),

and with T the sum of the last `required` slices the target is (T - min_j T) / (max_j T - min_j T + d). The guards d are
part of the algorithm: where eps is small an entry far below d grows by 1/d in a step and no more.

Slices of one weight stay equal throughout, so that two arrays carry the discrete weights. Let a and c be those of
weight 0.25 and of weight 1, each times its number of slices, after v. Every other step scales both by rows and columns;
with e = a / c and w = 1 / c, and with the divisors r of z and k of the u that follows,

    e <- e (r_c k_c) / (r_a k_a),    w <- 1 + e + d w r_c k_c,

no exponential and no logarithm after the first. That form is taken on a CPU where exp(S / eps) keeps within float64;
elsewhere the same steps run on logarithms, and nothing waits for the device. Both compute in float64.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

GUARD = 1e-5  # d above
LOW = 0.25  # weight of the slices that are not required
RANGE = 600.0  # natural logarithm of the ratio that float64 holds, with room to spare


class Slices(NamedTuple):
    """Slices after the last z, equal ones once.

    Attributes:
        log: (G, B, K) float64, logarithm of one slice of each group.
        counts: (G,) float64, slices in each group; they sum to K.
        required: how many groups, from the end, make the target.
    """

    log: Tensor
    counts: Tensor
    required: int


@torch.no_grad()
def multi_assignment(
    similarity: Tensor,
    required: int,
    *,
    eps: float = 0.07,
    iterations: int = 20,
    weights: Literal["discrete", "continuous"] = "discrete",
    marginal: Tensor | None = None,
) -> Tensor:
    """Targets of a batch, without gradient.

    Args:
        similarity: (B, K) float, of samples to anchors; any finite values.
        required: in 1..K, the anchors that a sample belongs to: how many slices make the target.
        eps: > 0, the temperature of the assignment.
        iterations: >= 1.
        weights: "discrete": 0.25 for the first K - required slices and 1 for the rest. "continuous": slice k = 1..K has
            0.1 + 0.9 k / K; then K slices are held, some 4 K^2 B float64 numbers at the peak.
        marginal: (K,) weights >= 0 of the anchors, in any unit and order; None is uniform. They are scaled to sum to B,
            and handed out once, before the first iteration: the largest to the anchor with the largest column sum in
            the first slice. As v asks the same of every anchor, columns meet the marginal only where it is uniform.

    Returns:
        (B, K) in [0, 1], in the dtype of the similarity: 0 at the least of every row, at the greatest 1 but for the
        guard. A row without differences is 0.

    Raises:
        ValueError: a setting outside its range, or a marginal of another shape.
    """
    _check(similarity, required, eps, iterations, weights, marginal)
    if weights == "discrete" and required < similarity.shape[1] and _keeps_within_range(similarity, eps):
        total = _linear(similarity, required, eps, iterations, marginal)
    else:
        log, counts, groups = log_slices(
            similarity, required, eps=eps, iterations=iterations, weights=weights, marginal=marginal
        )
        total = (log[-groups:].exp() * counts[-groups:, None, None]).sum(0)
    return spread(total).to(similarity.dtype)


def spread(assignment: Tensor) -> Tensor:
    """Min-max normalisation of every row, in place: (B, K) to [0, 1], 0 for a row without differences."""
    low, high = torch.aminmax(assignment, dim=1, keepdim=True)
    return assignment.sub_(low).div_(high.sub_(low).add_(GUARD))


@torch.no_grad()
def log_slices(
    similarity: Tensor,
    required: int,
    *,
    eps: float = 0.07,
    iterations: int = 20,
    weights: Literal["discrete", "continuous"] = "discrete",
    marginal: Tensor | None = None,
) -> Slices:
    """The slices behind the targets, on logarithms; arguments as of `multi_assignment`, not checked.

    The row sums of each are 1 and, in time, the column sums the marginal, both but for the guard.
    """
    size, counts, groups = _groups(similarity, required, weights)
    logs = similarity.to(counts.dtype) / eps * size[:, None, None]
    # A number instead of a copy to the device.
    guard = counts.new_full((), math.log(GUARD))
    share = counts.log()[:, None, None]
    logs -= (logs + share).logsumexp((0, 1, 2))
    target = _marginal(similarity, marginal, logs[0].logsumexp(0)).log()
    for _ in range(iterations):
        logs -= logs.logsumexp(1, keepdim=True).logaddexp(guard)
        logs += target
        logs -= (logs + share).logsumexp(0).logaddexp(guard)
        logs -= logs.logsumexp(2, keepdim=True).logaddexp(guard)
    return Slices(logs, counts, groups)


def _linear(similarity: Tensor, required: int, eps: float, iterations: int, marginal: Tensor | None) -> Tensor:
    """Sum of the required slices (B, K), float64, in three arrays of that size; see the head of the file."""
    few, many = required, similarity.shape[1] - required
    c = similarity.to(torch.float64, copy=True)
    e, w = c * LOW, torch.empty_like(c)
    top = torch.maximum(c.amax(), e.amax())
    for part in (e, c):
        part.sub_(top).div_(eps).exp_()
    total = e.sum() * many + c.sum() * few
    k_a, k_c = e.sum(0) / total, c.sum(0) / total
    target = _marginal(similarity, marginal, k_a)
    e *= many * target / (total * (k_a + GUARD))
    c *= few * target / (total * (k_c + GUARD))
    # An anchor that nothing may go to has e = 0 / 0; its share of nothing is as good as any.
    torch.add(e, GUARD, out=w).div_(c).add_(1)
    e.div_(c).nan_to_num_(nan=1.0)
    for _ in range(iterations - 1):
        torch.reciprocal(w, out=c)
        r_c = c.sum(1).div_(few).add_(GUARD)
        k_c = (r_c.reciprocal() @ c).div_(few).add_(GUARD)
        c *= e
        r_a = c.sum(1).div_(many).add_(GUARD)
        k_a = (r_a.reciprocal() @ c).div_(many).add_(GUARD)
        e.mul_((r_c / r_a)[:, None]).mul_(k_c / k_a)
        w *= r_c[:, None]
        torch.addcmul(e, w, k_c.mul_(GUARD).div_(target), out=w).add_(1)
    w.reciprocal_()
    return w.div_(w.sum(1, keepdim=True).div_(few).add_(GUARD))


def _keeps_within_range(similarity: Tensor, eps: float) -> bool:
    if similarity.device.type != "cpu" or not len(similarity):
        return False
    low, high = (bound.item() for bound in torch.aminmax(similarity))
    return max(high, LOW * high) - min(low, LOW * low) < RANGE * eps


def _groups(similarity: Tensor, required: int, weights: str) -> tuple[Tensor, Tensor, int]:
    """Weight (G,) and number of slices (G,) of each group, and the number of groups of the target."""
    anchors = similarity.shape[1]
    # Apple's GPUs have no float64.
    real = torch.float32 if similarity.device.type == "mps" else torch.float64
    if weights == "continuous":
        size = torch.arange(1, anchors + 1, dtype=real, device=similarity.device).mul_(0.9 / anchors).add_(0.1)
        return size, torch.ones_like(size), required
    size = torch.full((1 if required == anchors else 2,), LOW, dtype=real, device=similarity.device)
    counts = torch.full_like(size, anchors - required)
    size[-1:], counts[-1:] = 1.0, float(required)
    return size, counts, 1


def _marginal(similarity: Tensor, marginal: Tensor | None, sums: Tensor) -> Tensor:
    """Column sums to meet (K,), handed out in the order of the sums."""
    rows, anchors = similarity.shape
    if marginal is None:
        return torch.full_like(sums, rows / anchors)
    shares = marginal.to(sums).sort().values
    return torch.empty_like(sums).scatter_(0, sums.argsort(stable=True), shares * (rows / shares.sum()))


def _check(
    similarity: Tensor, required: int, eps: float, iterations: int, weights: str, marginal: Tensor | None
) -> None:
    if similarity.ndim != 2:
        raise ValueError(f"similarity must be (B, K), got {tuple(similarity.shape)}")
    anchors = similarity.shape[1]
    if not 1 <= required <= anchors:
        raise ValueError(f"required must lie in 1..{anchors}, the number of anchors, got {required}")
    if not eps > 0 or iterations < 1:
        raise ValueError(f"eps must be > 0 and iterations >= 1, got {eps} and {iterations}")
    if weights not in ("discrete", "continuous"):
        raise ValueError(f"weights must be discrete or continuous, got {weights}")
    if marginal is not None and marginal.shape != (anchors,):
        raise ValueError(f"marginal must be ({anchors},), one weight per anchor, got {tuple(marginal.shape)}")
