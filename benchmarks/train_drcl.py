"""Training speed of DRCL's second stage against a plain PyTorch loop: same network, loss, batch, data and validations.

    python benchmarks/train_drcl.py

Both run in one process, in turn; the ratio is that of the medians. The plain loop is written by hand, without a
DataLoader, in the straightforward way: torch's own layers, every loss as its formula reads, default Adam.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from xfeat.methods.base import BranchData, Rows
from xfeat.methods.drcl import RscStage
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.training.loop import Place, fit

CASES = (
    # name, training rows, D, settings
    ("small, D 128", 2173, 128, {"epochs": 10}),
    ("small, D 768", 10_000, 768, {"epochs": 2}),
    ("paper, D 4096", 2173, 4096, {"size": "paper", "epochs": 2}),
)
CLASSES, VAL_ROWS = 10, 231


def make_data(rows: int, dim: int, device: torch.device) -> BranchData:
    generator = torch.Generator().manual_seed(0)

    def part(count: int) -> Rows:
        labels = torch.randint(CLASSES, (count,), generator=generator)
        features = torch.randn(count, dim, generator=generator) + nn.functional.one_hot(labels, dim)
        return Rows(features.to(device), nn.functional.one_hot(labels, CLASSES).float().to(device))

    return BranchData("x", part(rows), part(VAL_ROWS))


def plain_network(dim: int, s: Any) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(dim, s.hidden),
        nn.ReLU(),
        nn.Dropout(s.dropout),
        nn.Linear(s.hidden, s.hidden),
        nn.ReLU(),
        nn.Dropout(s.dropout),
        nn.Linear(s.hidden, s.out, bias=False),
    )


def plain_loss(z: Tensor, y: Tensor, prior: Tensor, s: DrclSettings, q: float) -> Tensor:
    r = y @ torch.linalg.pinv(prior)
    rn, zn = r / r.norm(dim=1, keepdim=True), z / z.norm(dim=1, keepdim=True)
    rr, zz, rz = 2 * rn @ rn.T, 2 * zn @ zn.T, 2 * rn @ zn.T
    intra, inter = ((rr - zz) ** 2).mean(), ((rz - rz.T) ** 2).mean()
    p = ((z @ prior).softmax(1) * y).sum(1)
    gce = -p.log().mean() if q == 0 else ((1 - p**q) / q).mean()
    return s.alpha * (intra + inter) + s.beta * ((r - z) ** 2).mean() + s.eta * gce


def plain_loop(data: BranchData, prior: Tensor, s: Any) -> float:
    torch.manual_seed(0)
    net = plain_network(data.dim, s).to(prior.device)
    adam = torch.optim.Adam(net.parameters(), lr=s.lr, betas=(0.5, 0.999))
    for epoch in range(s.epochs):
        net.train()
        q = min(1.0, epoch / max(1, s.epochs // 2))
        for batch in torch.randperm(len(data.train)).split(s.batch_size):
            z, y = nn.functional.normalize(net(data.train.features[batch])), data.train.targets[batch]
            other = torch.randperm(len(batch))
            z, y = s.gamma * z + (1 - s.gamma) * z[other], s.gamma * y + (1 - s.gamma) * y[other]
            loss = plain_loss(z, y, prior, s, q)
            adam.zero_grad()
            loss.backward()
            adam.step()
        net.eval()
        with torch.no_grad():
            value = plain_loss(nn.functional.normalize(net(data.val.features)), data.val.targets, prior, s, 0.5)
    return value.item()


def ours(data: BranchData, prior: Tensor, s: DrclSettings) -> float:
    return fit(lambda: RscStage(data, prior, s), Place(prior.device, 0, ("bench",))).score


def measure(runs: dict[str, Callable[[], float]], repeats: int, synchronize: Callable[[], None]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            synchronize()
            started = time.perf_counter()
            run()
            synchronize()
            if repeat:  # the first round warms up
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    gpu = device.type == "cuda"
    where = torch.cuda.get_device_name(device) if gpu else f"CPU, {options.threads} threads, {platform.machine()}"
    print(f"machine: {where}; torch {torch.__version__}; medians of {options.repeats} runs in turn\n")
    print("| case | rows | batch | epochs | plain loop s/epoch | xfeat s/epoch | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, rows, dim, given in CASES:
        data = make_data(rows, dim, device)
        s = DrclSettings(**given).resolved(rows, CLASSES)  # type: ignore[arg-type]
        prior = torch.linalg.qr(torch.randn(s.out or 1, CLASSES))[0].to(device)
        took = measure(
            {
                "plain": lambda data=data, prior=prior, s=s: plain_loop(data, prior, s),
                "ours": lambda data=data, prior=prior, s=s: ours(data, prior, s),
            },
            options.repeats,
            torch.cuda.synchronize if gpu else lambda: None,
        )
        epochs = s.epochs or 1
        plain, fast = took["plain"] / epochs, took["ours"] / epochs
        print(f"| {name} | {rows} | {s.batch_size} | {epochs} | {plain:.3f} | {fast:.3f} | {fast / plain:.2f} |")


if __name__ == "__main__":
    main()
