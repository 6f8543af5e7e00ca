"""Writing and reading a cache against plain numpy doing the same with the same features in one file.

    python benchmarks/extract_cache.py [--rows 1000000] [--dim 512] [--repeats 5] [--pairs]

Every time is the best of several repetitions in which the sides take turns, after one that is not counted; reading is
from the page cache. A cache holds ids, splits, labels, source and content keys besides (`--pairs`: pair keys too), and
its ids and pairs become Python strings. numpy's files hold features only.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfeat.cache import CacheWriter, Columns, FeatureCache, Plan

Run = Callable[[], object]


def make_plan(rows: int, dim: int, *, pairs: bool = False) -> Plan:
    """A plan of random keys and ids that look like paths."""
    rng = np.random.default_rng(0)
    ids = [f"images/{row // 1000:05d}/{row:09d}.jpg" for row in range(rows)]
    split = np.array(["train", "val", "test"], dtype=object)[rng.choice(3, rows, p=(0.9, 0.05, 0.05))].tolist()
    classes = [f"class {number}" for number in range(100)]
    pair = [f"{row:09d}" for row in range(rows)] if pairs else None
    columns = Columns(ids, split, classes, rng.integers(100, size=rows), pair)
    sources = rng.integers(1 << 63, size=rows, dtype=np.uint64)
    return Plan("image", {"backbone": "random numbers"}, dim, columns, "float16", sources)


def make_features(rows: int, dim: int) -> NDArray[np.float16]:
    """(rows, dim) float16: one block of random numbers over and over."""
    block = np.random.default_rng(0).standard_normal((min(rows, 8192), dim), dtype=np.float32).astype(np.float16)
    return np.concatenate([block] * -(-rows // len(block)))[:rows]


def write(path: Path, plan: Plan, block: Callable[[int, int], NDArray[np.float16]]) -> None:
    """Write a cache whose rows from start to stop are ``block(start, stop)``."""
    content = np.random.default_rng(0).integers(256, size=(plan.shard_rows, 16), dtype=np.uint8)
    with CacheWriter(path, plan) as writer:
        for shard in list(writer.missing):
            start, stop = writer.manifest.span(shard)
            writer.write(shard, block(start, stop), content=content[: stop - start])
        writer.finish()


def save(path: Path, features: NDArray[np.float16], *, sync: bool) -> None:
    """np.save, and fsync where asked."""
    with path.open("wb") as file:
        np.save(file, features)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def save_apart(folder: Path, features: NDArray[np.float16], rows: int, *, sync: bool) -> None:
    """The same in files of as many rows as a shard has."""
    folder.mkdir()
    for start in range(0, len(features), rows):
        save(folder / f"{start}.npy", features[start : start + rows], sync=sync)


def resume(path: Path, plan: Plan) -> None:
    """What `xfeat extract` does with a finished cache: check the samples, look at every shard, finish."""
    c = plan.columns
    columns = Columns(c.ids, c.split, c.classes, c.labels, c.pair)
    again = Plan(plan.modality, plan.fingerprint, plan.dim, columns, plan.dtype, plan.sources)
    with CacheWriter(path, again) as writer:
        if writer.missing:
            raise RuntimeError(f"{len(writer.missing)} shards are missing from a finished cache")
        writer.finish()


def alternate(runs: dict[str, Run], repeats: int, before: Run = lambda: None) -> dict[str, float]:
    """Seconds of each at its best, in turns; the first turn is not counted."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            before()
            started = time.perf_counter()
            result = run()
            if repeat:
                times[name].append(time.perf_counter() - started)
            del result
    return {name: min(values) for name, values in times.items()}


def warm(size: int) -> None:
    """Take memory and give it back: a virtual machine's first touch of it costs more than a read into it does."""
    np.ones(size, dtype=np.uint8)


def line(name: str, value: float, numpy: float | None = None, target: str = "") -> None:
    """A row of the table; the ratio is numpy's time to ours."""
    theirs, ratio = ("", "") if numpy is None else (f"{numpy:.3f} s", f"{numpy / value:.2f}")
    print(f"| {name} | {value:.3f} s | {theirs} | {ratio} | {target} |", flush=True)


def print_writing(scratch: Path, plan: Plan, features: NDArray[np.float16], repeats: int) -> None:
    """Rows of writing; the last cache and the last file are left in ``scratch``."""
    fsync = os.fsync

    def clear() -> None:
        shutil.rmtree(scratch / "cache", ignore_errors=True)
        shutil.rmtree(scratch / "apart", ignore_errors=True)
        (scratch / "numpy.npy").unlink(missing_ok=True)
        os.sync()  # what the last run left to write does not count against this one

    for sync in (False, True):
        os.fsync = fsync if sync else lambda _: None
        runs: dict[str, Run] = {
            "numpy": lambda: save(scratch / "numpy.npy", features, sync=sync),  # noqa: B023
            "apart": lambda: save_apart(scratch / "apart", features, plan.shard_rows, sync=sync),  # noqa: B023
            "xfeat": lambda: write(scratch / "cache", plan, lambda start, stop: features[start:stop]),
        }
        took = alternate(runs, repeats, clear)
        name = "write, fsync" if sync else "write, no fsync"
        line(f"{name}; numpy: one file", took["xfeat"], took["numpy"], ">= 0.5")
        line(f"{name}; numpy: a file for each shard", took["xfeat"], took["apart"])
    os.fsync = fsync
    save(scratch / "numpy.npy", features, sync=True)


def print_memory(scratch: Path, rows: int, dim: int) -> None:
    """The row of memory: what a process grows by while it writes, its samples' columns in memory already."""
    grown = []
    for count in (rows // 8, rows):
        command = [sys.executable, __file__, "--rows", str(count), "--dim", str(dim), "--child", str(scratch / "child")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        grown.append(json.loads(done.stdout)["grown"] / 2**20)
        shutil.rmtree(scratch / "child")
    small, large = grown
    print(
        f"| write memory, beside {rows // 8:,} rows | {large:.0f} MB | {small:.0f} MB | {large / small:.2f} | near 1 |"
    )


def print_child(path: Path, plan: Plan) -> None:
    """Write a cache from one block, and print what memory grew by."""
    block = make_features(plan.shard_rows, plan.dim)
    before = _status("VmRSS")
    write(path, plan, lambda start, stop: block[: stop - start])
    print(json.dumps({"grown": _status("VmHWM") - before}))


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(text.split()[1]) << 10 for text in lines if text.startswith(f"{name}:"))


def print_reading(scratch: Path, plan: Plan, repeats: int) -> None:
    """Rows of reading."""
    rows = len(plan.columns)
    some = np.random.default_rng(1).choice(rows, rows // 100, replace=False)
    cache, file = FeatureCache(scratch / "cache"), scratch / "numpy.npy"
    took = alternate(
        {
            "numpy": lambda: np.load(file),
            "load": lambda: cache.load(check=False),
            "load, checked": cache.load,
            "array": lambda: cache.array(check=False),
            "array, checked": cache.array,
            "columns": lambda: cache.load(with_features=False),
            "some, numpy": lambda: np.load(file, mmap_mode="r")[some],
            "some, first": lambda: FeatureCache(scratch / "cache").take(some),
            "some, again": lambda: cache.take(some),
            "resume": lambda: resume(scratch / "cache", plan),
        },
        repeats,
        lambda: warm(2 * rows * plan.dim),
    )
    numpy = took["numpy"]
    line("read: features", took["array"], numpy, ">= 0.7")
    line("read: features, checksums", took["array, checked"], numpy, ">= 0.35")
    line("read: ids and all other columns", took["columns"])
    line("read: everything", took["load"], numpy)
    line("read: everything, checksums", took["load, checked"], numpy)
    line("random 1 %, opening included", took["some, first"], took["some, numpy"], "< 0.2 s")
    line("random 1 %, again", took["some, again"], took["some, numpy"], "< 0.2 s")
    line("resume of a finished cache", took["resume"], None, "< 5 s")


def print_cache(rows: int, dim: int, repeats: int, *, pairs: bool = False) -> None:
    """The table."""
    plan, features = make_plan(rows, dim, pairs=pairs), make_features(rows, dim)
    print(f"{rows:,} x {dim} float16, {features.nbytes >> 20:,} MB, in shards of {plan.shard_rows:,} rows\n")
    print("| what | xfeat | numpy | ratio | target |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        print_writing(scratch, plan, features, repeats)
        print_memory(scratch, rows, dim)
        del features
        print_reading(scratch, plan, repeats)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pairs", action="store_true", help="pair keys besides")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = sys.argv[1:] if arguments is None else list(arguments)
    o = parser.parse_args(given)
    if o.child:
        print_child(o.child, make_plan(o.rows, o.dim))
        return
    import torch
    from drcl_speed import machine

    print(f"python benchmarks/extract_cache.py {shlex.join(given)}".rstrip())
    print(f"machine: {machine(torch.device('cpu'))}\n")
    print_cache(o.rows, o.dim, o.repeats, pairs=o.pairs)


if __name__ == "__main__":
    main()
