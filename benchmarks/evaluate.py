"""Time and memory of evaluation against what its matrix product alone costs, and against NumPy's sorting of everything.

Rows are random unit vectors, nearer to those of their class; queries and gallery are different rows. All of a table's
columns are of one process, in turn; memory is the peak beyond the inputs, of a process of its own but for `large`.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from xfeat.cache import CacheWriter, Columns, Plan
from xfeat.evaluation.first_hit import first_hits
from xfeat.evaluation.ranking import average_precision
from xfeat.evaluation.relevance import same_class

CLASSES, DIM = 10, 512
T = TypeVar("T")


def machine() -> str:
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return (
        f"{where}, {len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"NumPy {np.__version__}"
    )


def rows(count: int, seed: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Unit vectors (n, d) float32, made in place, and their classes."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(CLASSES, (count,), generator=g)
    vectors = torch.randn(count, DIM, generator=g)
    for part, own in zip(vectors.split(1000), labels.split(1000), strict=True):
        part.add_(centres[own], alpha=0.3).div_(part.norm(dim=1, keepdim=True))
    return vectors.to(device), labels.to(device)


def product(queries: Tensor, gallery: Tensor, size: int) -> None:
    """The floor: blocks of the matrix product, into one table that stays."""
    table = torch.empty(size, len(gallery), device=queries.device)
    for block in queries.split(size):
        torch.mm(block, gallery.T, out=table[: len(block)])


def argsort_everything(queries: Tensor, gallery: Tensor, y_query: Tensor, y_gallery: Tensor) -> float:
    """Mean average precision as it is commonly written with NumPy, a block of queries at a time."""
    q, g, yq, yg = (one.numpy() for one in (queries, gallery, y_query, y_gallery))
    rank = np.arange(1, len(g) + 1)
    values = []
    for first in range(0, len(q), 500):
        block = slice(first, first + 500)
        order = np.argsort(-(q[block] @ g.T), axis=1)
        hit = yg[order] == yq[block, None]
        values.append((np.cumsum(hit, axis=1) / rank * hit).sum(1) / hit.sum(1))
    return float(np.concatenate(values).mean())


def classes(queries: Tensor, gallery: Tensor, y_query: Tensor, y_gallery: Tensor) -> float:
    """Mean of mAP@all."""
    return float(average_precision(queries, gallery, same_class(y_query, y_gallery)).values.mean())


def instances(queries: Tensor, gallery: Tensor, *_: Tensor) -> float:
    """R@1, where query i belongs to item i."""
    own = torch.arange(len(queries), device=queries.device)
    return float(first_hits(queries, gallery, same_class(own, own)).within(1).mean())


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def floor(queries: Tensor, gallery: Tensor) -> float:
    """Seconds of the faster of two sizes of block."""
    sizes = (256, 1024) if len(gallery) <= 30_000 else (256,)
    return min(seconds(lambda size=size: product(queries, gallery, size)) for size in sizes)  # type: ignore[misc]


WORK: dict[str, Callable[..., float]] = {"classes": classes, "instances": instances}


def beyond_inputs(what: str, count: int) -> int:
    """Peak bytes of a measurement in a process of its own."""
    command = [sys.executable, __file__, "peak", "--what", what, "--items", str(count)]
    return int(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["peak"])


def peak(what: str, count: int) -> None:
    inputs = *rows(count, 1), *rows(count, 2)
    data = inputs[0], inputs[2], inputs[1], inputs[3]
    print(json.dumps({"peak": peak_of(lambda: WORK[what](*data))[0]}))


def peak_of(work: Callable[[], T]) -> tuple[int, T]:
    """Most bytes in memory while it works, beyond those before, and what it gives."""
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    found = work()
    return _status("VmHWM") - before, found


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10


def compare(what: str, count: int, turns: int, *, baseline: bool = False, once: bool = False) -> None:
    """A table of one measurement: median seconds, and medians of each turn's ratios.

    With ``once`` the one turn's memory is that of this process, to which nothing happened before.
    """
    queries, y_query = rows(count, 1)
    gallery, y_gallery = rows(count, 2)
    data = queries, gallery, y_query, y_gallery
    work = WORK[what]
    work(*(one[:2000] for one in data))  # starts threads
    taken, most = [], 0
    for _ in range(turns):
        most, own = peak_of(lambda: seconds(lambda: work(*data)))
        bare = floor(queries, gallery)
        taken.append((bare, own, seconds(lambda: argsort_everything(*data)) if baseline else float("nan")))
    bare, own, other = (statistics.median(column) for column in zip(*taken, strict=True))
    over_product = statistics.median(one / least for least, one, _ in taken)
    times_faster = statistics.median(other / one for _, one, other in taken)
    if baseline:
        difference = abs(work(*data) - argsort_everything(*data))
        print(f"The two means differ by {difference:.1e}.\n")
    metric = {"classes": "mAP@all", "instances": "R@1"}[what]
    print("| metric | items | matrix product | xfeat | of product | NumPy argsort | times faster | beyond inputs |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    against = f"{other:.2f} s | {times_faster:.1f}" if baseline else " | "
    print(
        f"| {metric} | {count:,} x {count:,} | {bare:.2f} s | {own:.2f} s | {over_product:.2f} | {against} | "
        f"{(most if once else beyond_inputs(what, count)) / 1e6:,.0f} MB |",
        flush=True,
    )


def gpu(count: int) -> None:
    if not torch.cuda.is_available():
        print("There is no GPU here: nothing was measured.")
        return
    torch.backends.cuda.matmul.allow_tf32 = False
    queries, y_query = rows(count, 1, "cuda")
    gallery, y_gallery = rows(count, 2, "cuda")
    relevance = same_class(y_query, y_gallery)

    def rank(some: slice) -> Tensor:
        return average_precision(queries[some], gallery, same_class(y_query[some], y_gallery), memory=8 << 30).values

    rank(slice(2000))
    bare = min(seconds(lambda: product(queries, gallery, 2048)) for _ in range(2))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    own = seconds(lambda: average_precision(queries, gallery, relevance, memory=8 << 30))
    taken = torch.cuda.max_memory_allocated() - before
    again = rank(slice(200)).mean().item() - classes(
        *(one.cpu() for one in (queries[:200], gallery, y_query[:200], y_gallery))
    )
    print("| items | matrix product | xfeat | of product | beyond inputs | 200 queries on the CPU differ by |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(
        f"| {count:,} x {count:,} | {bare:.2f} s | {own:.2f} s | {own / bare:.2f} | {taken / 1e6:,.0f} MB | "
        f"{again:.1e} |"
    )


def startup() -> None:
    """`xfeat eval` of 200 rows: the whole, and what its imports take."""
    with tempfile.TemporaryDirectory() as scratch:
        caches = [str(write_cache(Path(scratch) / name, name)) for name in ("image", "text")]
        command = [sys.executable, "-m", "xfeat", "eval", "--raw", *caches]
        bare = [sys.executable, "-c", "import torch"]
        whole, alone = ([seconds(lambda c=c: run(c)) for _ in range(5)] for c in (command, bare))  # type: ignore[misc]
        listed = run([sys.executable, "-X", "importtime", *command[1:]])
    own: Counter[str] = Counter()
    for line in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s*(\w+)", listed, re.MULTILINE):
        own[line[1]] += int(line[0])
    del own["torch"]
    name, most = own.most_common(1)[0]
    print("| command | seconds | `import torch` alone | the package after torch that takes longest to import |")
    print("| --- | --- | --- | --- |")
    print(f"| `xfeat eval` | {min(whole):.2f} | {min(alone):.2f} | {name}, {most / 1e6:.2f} s |")


def run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stderr


def write_cache(path: Path, modality: str) -> Path:
    vectors, labels = rows(200, len(modality))
    columns = Columns(
        [f"{modality}/{row}" for row in range(200)], ["test"] * 200, [f"c{c}" for c in range(CLASSES)], labels.numpy()
    )
    with CacheWriter(path, Plan(modality, {"backbone": "random"}, DIM, columns)) as writer:
        for shard in list(writer.missing):
            first, last = writer.manifest.span(shard)
            writer.write(shard, vectors.numpy()[first:last])
        writer.finish()
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", choices=["small", "large", "recall", "gpu", "startup", "peak"])
    parser.add_argument("--items", type=int, help="other than 10,000, 30,000 (recall) or 100,000 (large, gpu)")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--what", default="classes", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.section == "peak":
        peak(options.what, options.items)
        return
    print(f"{machine()}\n")
    if options.section == "small":
        compare("classes", options.items or 10_000, options.turns, baseline=True)
    elif options.section == "recall":
        compare("instances", options.items or 30_000, min(options.turns, 3))
    elif options.section == "large":
        compare("classes", options.items or 100_000, 1, once=True)
    elif options.section == "gpu":
        gpu(options.items or 100_000)
    else:
        startup()


if __name__ == "__main__":
    main()
