"""Time of an epoch of DRCL's second stage at the paper's Wikipedia shapes, against a plain loop.

The plain loop does what the reference does: three B x B cosine matrices through O, default Adam, the last incomplete
batch dropped, a pass over the validation rows and one over the test rows in every epoch. Both run in one process, in
turn.
"""

import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, one_hot

from xfeat.methods.base import BranchData
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.drcl_stages import RscStage
from xfeat.training.loop import Place, fit
from xfeat.training.resident import InputScale, ResidentRows, Table

TRAIN, VAL, TEST, CLASSES = 2173, 231, 462, 10
SHAPES = {"image": 4096, "text": 300}


def make_data(dim: int, device: torch.device) -> tuple[BranchData, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (TRAIN + VAL + TEST,), generator=g)
    features = torch.randn(len(labels), dim, generator=g) + one_hot(labels, dim)
    table = Table(features.to(device), labels.to(device), CLASSES)
    scale = InputScale(torch.zeros(dim, device=device), torch.ones(dim, device=device))
    parts = torch.arange(len(labels), device=device).split([TRAIN, VAL, TEST])
    train, val, test = (ResidentRows(table, index, scale) for index in parts)
    counts = torch.bincount(labels[:TRAIN], minlength=CLASSES).float().to(device)
    x, y = next(iter(test.pieces()))
    return BranchData("x", train, val, counts), x, y


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T) / (a.norm(dim=1, keepdim=True) * b.norm(dim=1))


def plain_loss(z: Tensor, y: Tensor, prior: Tensor, s: DrclSettings, q: float) -> Tensor:
    r = y @ torch.linalg.pinv(prior)
    rr, zz, rz = 2 * cosine(r, r), 2 * cosine(z, z), 2 * cosine(r, z)
    intra, inter = ((rr - zz) ** 2).mean(), ((rz - rz.T) ** 2).mean()
    p = ((z @ prior).softmax(1) * y).sum(1)
    gce = -p.log().mean() if q == 0 else ((1 - p**q) / q).mean()
    return s.alpha * (intra + inter) + s.beta * ((r - z) ** 2).mean() + s.eta * gce


def plain_loop(data: BranchData, test: tuple[Tensor, Tensor], prior: Tensor, s: DrclSettings) -> None:
    torch.manual_seed(0)
    hidden, out = s.hidden or 1, s.out or 1
    layers = [nn.Linear(data.dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(hidden, out, bias=False)).to(prior.device)
    adam = torch.optim.Adam(net.parameters(), lr=s.lr or 0.0, betas=(0.5, 0.999))
    (x, y), (vx, vy) = next(iter(data.train.pieces())), next(iter(data.val.pieces()))
    size, gamma = s.batch_size or 1, s.gamma
    for epoch in range(s.epochs or 1):
        q = min(1.0, 0.01 * epoch)
        order = torch.randperm(len(x), device=x.device)
        for batch in order.split(size)[: len(x) // size]:
            z, t = normalize(net(x[batch])), y[batch]
            other = torch.randperm(len(batch), device=x.device)
            z, t = gamma * z + (1 - gamma) * z[other], gamma * t + (1 - gamma) * t[other]
            loss = plain_loss(z, t, prior, s, q)
            adam.zero_grad()
            loss.backward()
            adam.step()
            loss.item()
        with torch.no_grad():
            plain_loss(normalize(net(vx)), vy, prior, s, q).item()
            normalize(net(test[0])).cpu()


def measure(runs: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each, run in turn; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if repeat:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def machine(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}"


def print_epochs(repeats: int, epochs: int, device: torch.device) -> None:
    """The table of seconds per epoch."""
    print("| modality | rows x D | plain loop s/epoch | xfeat s/epoch | ratio | bf16 s/epoch | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    totals: dict[str, float] = {}
    for name, dim in SHAPES.items():
        data, *test = make_data(dim, device)
        s = DrclSettings(size="paper", epochs=epochs, q_epochs=100).resolved(TRAIN, CLASSES)
        half = s.model_copy(update={"precision": "bf16"})
        prior = torch.linalg.qr(torch.randn(s.out or 1, CLASSES))[0].to(device)
        took = measure(
            {
                "plain": lambda: plain_loop(data, (test[0], test[1]), prior, s),  # noqa: B023
                "xfeat": lambda: fit(lambda: RscStage(data, prior, s), Place(device, 0, ("b",))),  # noqa: B023
                "bf16": lambda: fit(lambda: RscStage(data, prior, half), Place(device, 0, ("b",))),  # noqa: B023
            },
            repeats,
            device,
        )
        for key, value in took.items():
            totals[key] = totals.get(key, 0) + value
        print(_row(name, f"{TRAIN} x {dim}", took, epochs), flush=True)
    print(_row("both", "", totals, epochs))


def _row(name: str, shape: str, took: dict[str, float], epochs: int) -> str:
    plain, ours, half = (took[key] / epochs for key in ("plain", "xfeat", "bf16"))
    return f"| {name} | {shape} | {plain:.3f} | {ours:.3f} | {ours / plain:.2f} | {half:.3f} | {half / plain:.2f} |"
