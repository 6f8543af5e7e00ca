"""Rows per second of training from a cache that is larger than the memory allowed, against training from memory.

A cache of N x 512 float32 is written once. Each case trains one epoch of each kind in a process of its own: in memory
without a limit, in memory under the limit (which must fail, or the limit proves nothing), and streamed under the limit.
The limit is on private memory (RLIMIT_DATA), counted from what the process has after its imports.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

DIM, CLASSES, SHARD = 512, 10, 8192


def write_cache(path: Path, rows: int) -> None:
    from xfeat.cache import CacheWriter, Columns, Plan

    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=rows)
    centres = rng.normal(size=(CLASSES, DIM)).astype(np.float32)
    split = np.where(rng.random(rows) < 0.01, "val", "train").tolist()
    columns = Columns([f"{row:07d}" for row in range(rows)], split, [f"c{c}" for c in range(CLASSES)], labels)
    plan = Plan("image", {"backbone": "random numbers"}, DIM, columns, dtype="float32")
    with CacheWriter(path, plan) as writer:
        for shard in list(writer.missing):
            part = labels[shard * SHARD : (shard + 1) * SHARD]
            noise = rng.standard_normal((len(part), DIM), dtype=np.float32)
            writer.write(shard, centres[part] + 3 * noise)
        writer.finish()


def train_case(cache: Path, run: Path, memory: str, limit: int) -> None:
    """Train, and print rows per second and memory; in a process of its own."""
    import torch

    from xfeat.cache import FeatureCache
    from xfeat.methods.drcl_settings import DrclSettings
    from xfeat.training.drcl import train

    opened = FeatureCache(cache)
    torch.randn(8, 8, requires_grad=True).sum().backward()  # starts torch's threads before memory is limited
    if limit:
        allowed = _status("VmData") + limit
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
    before = _status("VmRSS")
    settings = DrclSettings(prior="orthogonal", epochs=1, memory=memory)
    started = time.perf_counter()
    outcome = train([opened], run, settings)
    seconds = time.perf_counter() - started
    rows = outcome.branches["image"]["train_rows"]
    peak = _status("VmHWM") - before
    print(json.dumps({"rows": rows, "seconds": seconds, "peak": peak}))


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise KeyError(name)


def print_streaming(rows: int, limit_mb: int) -> None:
    """The table."""
    size = rows * DIM * 4 >> 20
    print(f"cache of {rows:,} x {DIM} float32: {size:,} MB; allowed beyond the imports: {limit_mb:,} MB\n")
    print("| case | limit | rows/s | of in-memory | peak beyond imports |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        write_cache(cache, rows)
        base = 0.0
        cases = [("in memory", "1TB", 0), ("in memory", "1TB", limit_mb), ("streamed", f"{limit_mb // 4}MB", limit_mb)]
        for number, (name, memory, limit) in enumerate(cases):
            command = [sys.executable, __file__, str(cache), f"{scratch}/run{number}", memory, str(limit << 20)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            words = f"{limit:,} MB" if limit else "none"
            if done.returncode:
                sys.stderr.write(done.stderr[-3000:])
                why = (done.stderr.strip().splitlines() or ["killed"])[-1]
                print(f"| {name} | {words} | fails: {why[:70]} | | |", flush=True)
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            rate = found["rows"] / found["seconds"]
            base = base or rate
            print(f"| {name} | {words} | {rate:,.0f} | {rate / base:.2f} | {found['peak'] >> 20:,} MB |", flush=True)


if __name__ == "__main__":
    train_case(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
