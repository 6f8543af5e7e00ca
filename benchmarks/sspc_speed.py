"""Time and memory of SSPC's targets, against the K slices written out.

    python benchmarks/sspc_speed.py sinkhorn [--rows 5716] [--anchors 64] [--repeats 7] [--threads 2]

The K slices are written as the algorithm reads, with a new array for every step, and once more in place. All run in one
process, in turn. Bytes are those of torch's profiler (profile_memory): every allocation summed, and the most that is
held at once; the similarities themselves are not counted.
"""

import argparse
import os
from collections.abc import Callable

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line does, before torch is imported

import torch
from drcl_speed import machine, measure
from torch import Tensor
from torch.nn.functional import normalize
from torch.profiler import ProfilerActivity, profile

from xfeat.losses import multi_assignment, single_assignment
from xfeat.losses.multi_sinkhorn import log_slices, spread

GUARD = 1e-5


def plain(similarity: Tensor, required: int, eps: float, iterations: int) -> Tensor:
    rows, anchors = similarity.shape
    weights = torch.ones(anchors, 1, 1, dtype=similarity.dtype)
    weights[: anchors - required] = 0.25
    q = torch.exp(similarity * weights / eps).clamp(max=torch.finfo(similarity.dtype).max)
    q = q / q.sum()
    for _ in range(iterations):
        q = q * (rows / anchors / (q.sum(1, keepdim=True) + GUARD))
        q = q / (q.sum(0, keepdim=True) + GUARD)
        q = q / (q.sum(2, keepdim=True) + GUARD)
    total = q[-required:].sum(0)
    low, high = total.amin(1, keepdim=True), total.amax(1, keepdim=True)
    return (total - low) / (high - low + GUARD)


def in_place(similarity: Tensor, required: int, eps: float, iterations: int) -> Tensor:
    rows, anchors = similarity.shape
    weights = torch.ones(anchors, 1, 1, dtype=similarity.dtype)
    weights[: anchors - required] = 0.25
    q = (similarity * weights).div_(eps).exp_().clamp_(max=torch.finfo(similarity.dtype).max)
    q /= q.sum()
    for _ in range(iterations):
        q *= rows / anchors / (q.sum(1, keepdim=True) + GUARD)
        q /= q.sum(0, keepdim=True) + GUARD
        q /= q.sum(2, keepdim=True) + GUARD
    total = q[-required:].sum(0)
    low, high = total.amin(1, keepdim=True), total.amax(1, keepdim=True)
    return (total - low) / (high - low + GUARD)


def logarithms(similarity: Tensor, required: int, eps: float, iterations: int) -> Tensor:
    """The form that a GPU and small eps take."""
    log, counts, groups = log_slices(similarity, required, eps=eps, iterations=iterations)
    return spread((log[-groups:].exp() * counts[-groups:, None, None]).sum(0)).to(similarity.dtype)


def allocated(run: Callable[[], object]) -> tuple[int, int]:
    """Bytes that a call allocates, summed, and the most that it holds at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    results = found.profiler.kineto_results if found.profiler else None
    events = [event for event in (results.events() if results else []) if event.name() == "[memory]"]
    held = peak = total = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak, total = max(peak, held), total + max(0, event.nbytes())
    return total, peak


def print_sinkhorn(rows: int, anchors: int, repeats: int) -> None:
    """The table of one batch joined to its queue."""
    g = torch.Generator().manual_seed(0)
    samples, points = (normalize(torch.randn(size, 64, generator=g), dim=1) for size in (rows, anchors))
    similarity, setting = samples @ points.T, (anchors // 2, 0.07, 20)
    double = similarity.double()
    runs: dict[str, Callable[[], Tensor]] = {
        "K slices, float32": lambda: plain(similarity, *setting),
        "K slices, float64": lambda: plain(double, *setting),
        "K slices in place, float32": lambda: in_place(similarity, *setting),
        "multi_assignment": lambda: multi_assignment(similarity, setting[0], eps=setting[1], iterations=setting[2]),
        "its form on logarithms": lambda: logarithms(similarity, *setting),
        "single_assignment": lambda: single_assignment(similarity, eps=setting[1], iterations=setting[2]),
    }
    exact = runs["K slices, float64"]()
    away = {name: f"{(run().double() - exact).abs().max().item():.0e}" for name, run in runs.items()}
    away["single_assignment"] = "other targets"
    sizes = {name: allocated(run) for name, run in runs.items()}
    times = measure(dict(runs), repeats, similarity.device)
    print(
        f"{rows} x {anchors}, required {setting[0]}, eps {setting[1]}, {setting[2]} iterations; shares of the first row"
    )
    print()
    print("| form | ms | share | allocated MB | share | peak MB | share | off float64 by |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    first = next(iter(runs))
    for name in runs:
        total, peak = sizes[name]
        print(
            f"| {name} | {1e3 * times[name]:.1f} | {_share(times[first], times[name])} "
            f"| {total / 1e6:.1f} | {_share(sizes[first][0], total)} "
            f"| {peak / 1e6:.1f} | {_share(sizes[first][1], peak)} | {away[name]} |"
        )


def _share(of: float, part: float) -> str:
    return f"1/{of / part:.1f}" if part < of else f"{part / of:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("sinkhorn",))
    parser.add_argument("--rows", type=int, default=5716, help="216 of a batch and 5,500 of its queue")
    parser.add_argument("--anchors", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    print(f"machine: {machine(torch.device('cpu'))}\n")
    print_sinkhorn(o.rows, o.anchors, o.repeats)


if __name__ == "__main__":
    main()
