"""Time of an SSPC training step at the paper's sizes, and how much of it goes into assignments.

    python benchmarks/sspc_step.py [--device auto] [--steps 5] [--threads 2]

Three modalities of 4096, 300 and 4096 numbers, input space 4096, joint space 6144, batch 216, 64 anchors in each space,
queues of 5,500 that are full. The numbers are random: nothing is learned, but every product is as large as in training.
A step is the loss, its gradient, Adam, the average of the weights and the queues. Assignments are timed inside steps of
a second run, with the device waited for around each.
"""

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line does, before torch is imported

import torch
from drcl_speed import machine
from torch import Tensor
from torch.nn.functional import normalize

from xfeat.methods import sspc
from xfeat.methods.sspc import Features
from xfeat.methods.sspc_settings import SspcSettings
from xfeat.methods.sspc_stage import SspcObjective
from xfeat.training.device import find_device

DIMS = {"video": 4096, "text": 300, "audio": 4096}


class Clock:
    """Seconds spent in calls of one function."""

    def __init__(self, call: Callable[..., Tensor], wait: Callable[[], None]) -> None:
        self.call, self.wait, self.seconds, self.calls = call, wait, 0.0, 0

    def __call__(self, *args: object, **options: object) -> Tensor:
        """Call the function, and wait for what it began."""
        self.wait()
        started = time.perf_counter()
        found = self.call(*args, **options)
        self.wait()
        self.seconds += time.perf_counter() - started
        self.calls += 1
        return found


def objective(settings: SspcSettings, device: torch.device) -> SspcObjective:
    torch.manual_seed(0)
    made = SspcObjective(DIMS, settings).to(device)
    for queues in made._queues():
        for queue in queues:
            queue.push(normalize(torch.randn(queue.size, queue.rows.shape[1], device=device), dim=1))
    return made


def steps(made: SspcObjective, batch: dict[str, Features], keys: Tensor, count: int) -> Callable[[], None]:
    optimizer = torch.optim.AdamW([p for p in made.parameters() if p.requires_grad], lr=5e-5, fused=True)

    def run() -> None:
        for _ in range(count):
            loss = made(batch, keys, {}, torch.zeros((), device=keys.device))["loss"]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            made.after_step()

    return run


def print_step(device: torch.device, count: int) -> None:
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    settings = SspcSettings(size="paper").resolved(100_000)
    made = objective(settings, device)
    rows = settings.batch_size or 1
    batch = {name: Features(torch.randn(rows, dim, device=device)) for name, dim in DIMS.items()}
    run = steps(made, batch, torch.arange(rows, device=device), count)
    run()  # the first steps make the optimizer's state
    wait()
    started = time.perf_counter()
    run()
    wait()
    whole = (time.perf_counter() - started) / count
    clock = Clock(sspc.multi_assignment, wait)
    sspc.multi_assignment = clock
    started = time.perf_counter()
    run()
    timed = (time.perf_counter() - started) / count
    sspc.multi_assignment = clock.call
    numbers = sum(p.numel() for p in made.heads.parameters())
    print(f"{numbers / 1e6:.0f} million parameters, batch {rows}, mean of {count} steps")
    print("\n| step, ms | with waiting around assignments, ms | assignments in a step | their time, ms | share |")
    print("| --- | --- | --- | --- | --- |")
    each = clock.seconds / count
    print(f"| {1e3 * whole:.0f} | {1e3 * timed:.0f} | {clock.calls // count} | {1e3 * each:.0f} | {each / timed:.1%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = find_device(options.device)
    print(f"machine: {machine(device)}\n")
    print_step(device, options.steps)


if __name__ == "__main__":
    main()
