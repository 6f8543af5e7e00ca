"""Time of many seeds together against one after another, of size=small against size=paper, and of dropout masks."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from drcl_quality import cell, test_score
from open_data import SETS

from xfeat.heads import dropout_mask
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.training.drcl import train
from xfeat.training.drcl_group import train_group
from xfeat.training.group import member_path


def print_seeds(data: Path, sets: Sequence[str], seeds: Sequence[int], device: torch.device) -> None:
    """Seconds of all seeds: one run after another in one process, side by side, and stacked."""
    print("| set | seeds | one by one s | side by side s | ratio | stacked s | ratio | mAP@all by each way |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in sets:
        with tempfile.TemporaryDirectory() as scratch:
            work = Path(scratch)
            caches = SETS[name](data, work / "cache")
            settings = DrclSettings()
            alone = _seconds(
                lambda: [train(caches, work / "one" / str(s), settings, seed=s, device=device) for s in seeds]  # noqa: B023
            )
            took, means = [], [_mean([work / "one" / str(seed) for seed in seeds])]
            for way in (False, True):
                out = work / f"group{way}"
                took.append(
                    _seconds(lambda: train_group(caches, out, settings, seeds, device=device, stacked=way))  # noqa: B023
                )
                means.append(_mean([member_path(out, seed) for seed in seeds]))
            beside, stacked = took
            print(
                f"| {name} | {len(seeds)} | {alone:.1f} | {beside:.1f} | {beside / alone:.2f} | {stacked:.1f} "
                f"| {stacked / alone:.2f} | {' / '.join(means)} |",
                flush=True,
            )


def print_sizes(data: Path, sets: Sequence[str], seeds: Sequence[int], device: torch.device) -> None:
    """Quality and seconds of size=small and size=paper (in bfloat16), one seed at a time."""
    print("| set | small mAP@all | s/seed | paper mAP@all | s/seed | time ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in sets:
        with tempfile.TemporaryDirectory() as scratch:
            work = Path(scratch)
            caches = SETS[name](data, work / "cache")
            cells, each = [], []
            for size, settings in (("small", DrclSettings()), ("paper", DrclSettings(size="paper", precision="bf16"))):
                seconds = _seconds(
                    lambda: [train(caches, work / size / str(s), settings, seed=s, device=device) for s in seeds]  # noqa: B023
                )
                each.append(seconds / len(seeds))
                cells.append(cell([test_score(work / size / str(seed)) for seed in seeds]))
            print(
                f"| {name} | {cells[0]} | {each[0]:.1f} | {cells[1]} | {each[1]:.0f} | {each[0] / each[1]:.3f} |",
                flush=True,
            )


def print_masks(device: torch.device) -> None:
    """Microseconds of a 128 x 512 dropout mask."""
    g = torch.Generator(device).manual_seed(0)
    shape = (128, 512)
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "random bytes (xfeat)": lambda: dropout_mask(*shape, 0.5, g),
        "uniform numbers": lambda: (torch.rand(shape, generator=g, device=device) >= 0.5) * 2.0,
        "bernoulli_ (torch's own)": lambda: torch.empty(shape, device=device).bernoulli_(0.5, generator=g) * 2.0,
    }
    print("| mask | us |\n| --- | --- |")
    for name, way in ways.items():
        _seconds(lambda: [way() for _ in range(100)])  # noqa: B023
        print(f"| {name} | {_seconds(lambda: [way() for _ in range(1000)]) * 1000:.0f} |")  # noqa: B023


def _mean(runs: Sequence[Path]) -> str:
    return f"{sum(map(test_score, runs)) / len(runs):.4f}"


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
