"""Kills extractions with SIGKILL at random moments, over all modalities, and compares what comes of it.

Each extraction runs in a process of its own, is killed, and is started again until it ends; half of them start from a
finished cache of half the samples, which grows. At the end, ids, their order, statuses, features and token sequences
must be those of an extraction that nobody disturbed, and `verify` must find nothing.

    python benchmarks/extract_kills.py --kills 100
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from xfeat.backbones.base import Backbone
from xfeat.backbones.registry import open_backbone
from xfeat.cache import Columns, FeatureCache
from xfeat.cache.verify import verify
from xfeat.extraction.pipeline import extract
from xfeat.samples.manifest import Kind, Samples

SPECS: dict[str, str] = {
    "image": "timm:test_vit.r160_in1k",
    "text": "filters:hashing",
    "audio": "filters:logmel",
    "strokes": "filters:strokes",
    "video": "video:timm:test_vit.r160_in1k",
}
COUNT = {"image": 300, "text": 3000, "audio": 400, "strokes": 800, "video": 120}
SHARD_ROWS = {"image": 32, "text": 256, "audio": 32, "strokes": 64, "video": 16}
TOLERANCE = 2**-10  # relative: one step of float16


def picture(rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((96, 72), Image.Resampling.BICUBIC)


def sound(path: Path, rng: np.random.Generator) -> None:
    seconds = np.arange(int(rng.integers(2_000, 6_000))) / 8_000
    samples = np.sin(2 * np.pi * rng.uniform(200, 2_000) * seconds) * 12_000 + rng.normal(0, 300, len(seconds))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(samples.astype("<i2").tobytes())


def clip(path: Path, rng: np.random.Generator) -> None:
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p"
        for _ in range(12):
            for packet in stream.encode(av.VideoFrame.from_image(picture(rng))):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)


def write(kind: str, path: Path, rng: np.random.Generator) -> None:
    if kind == "image":
        picture(rng).save(path)
    elif kind == "audio":
        sound(path, rng)
    elif kind == "video":
        clip(path, rng)
    else:
        lines = [f"{x},{y}" if x > 20 else "BREAK" for x, y in rng.integers(0, 105, (40, 2))]
        path.write_text("\n".join(lines))


def make(kind: Kind, root: Path) -> Samples:
    """Samples with every hundredth or so empty, cut short, of another type or missing, and some that occur twice."""
    rng = np.random.default_rng(0)
    count = COUNT[kind]
    ids = [f"{kind}:{number}" for number in range(count)]
    if kind == "text":
        sources = [" " if n % 97 == 5 else f"caption {n % 900} of {rng.integers(9)} words" for n in range(count)]
        return Samples(Columns(ids, ["train"] * count), sources, root, 0, kind)
    suffix = {"image": "png", "audio": "wav", "video": "mp4", "strokes": "txt"}[kind]
    names = [f"{kind}-{number}.{suffix}" for number in range(count)]
    for number, name in enumerate(names):
        path = root / name
        if number % 50 == 49:
            path.write_bytes((root / names[number - 1]).read_bytes())
            continue
        write(kind, path, rng)
        data = path.read_bytes()
        damage = {3: b"", 23: data[: len(data) // 2], 33: b"neither this nor that", 43: None}.get(number % 100, data)
        if damage is None:
            path.unlink()
        else:
            path.write_bytes(damage)
    return Samples(Columns(ids, ["train"] * count), names, root, 0, kind)


def first_half(samples: Samples) -> Samples:
    count = len(samples) // 2
    return Samples(samples.columns.rows(0, count), samples.sources[:count], samples.root, 0, samples.kind)


def spec_of(kind: str, root: Path) -> str:
    file = root / "weights.safetensors"
    if "timm" in SPECS[kind] and not file.exists():
        import timm
        import torch
        from safetensors.torch import save_file

        torch.manual_seed(0)
        save_file(timm.create_model("test_vit").state_dict(), file)
    return SPECS[kind] + (f"@{file}" if "timm" in SPECS[kind] else "")


def run(kind: Kind, samples: Samples, backbone: Backbone, out: Path) -> None:
    tokens = bool(getattr(backbone, "token_dim", 0))
    extract(samples, backbone, out, modality=kind, batch_size=16, tokens=tokens, shard_rows=SHARD_ROWS[kind])


def child(kind: Kind, root: Path, out: Path) -> None:
    """What is killed: an extraction in a process of its own. It says when it begins."""
    samples = made(kind, root)
    backbone = open_backbone(spec_of(kind, root), kind)
    print("begins", flush=True)
    run(kind, samples, backbone, out)


def made(kind: Kind, root: Path) -> Samples:
    """The samples that ``make`` wrote, without writing them again."""
    document = np.load(root / f"{kind}.npz")
    ids, sources = document["ids"].tolist(), document["sources"].tolist()
    return Samples(Columns(ids, ["train"] * len(ids)), sources, root, 0, kind)


@dataclass
class Tally:
    """What came of it."""

    kills: int = 0
    lives: int = 0
    worst: float = 0.0


def difference(one: Path, other: Path) -> float:
    """The largest relative distance of a row's features or tokens; an error where anything else differs."""
    a, b = (FeatureCache(path).load(ok_only=False, with_tokens=True) for path in (one, other))
    if (a.ids, a.status, a.split) != (b.ids, b.status, b.split):
        raise SystemExit(f"{one}: ids, order or statuses differ")
    worst = _distance(a.features, b.features)
    if a.tokens is not None and b.tokens is not None:
        if a.tokens.offsets.tolist() != b.tokens.offsets.tolist():
            raise SystemExit(f"{one}: token offsets differ")
        worst = max(worst, _distance(a.tokens.values, b.tokens.values))
    return worst


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    x, y = a.astype(np.float64), b.astype(np.float64)
    return float((np.linalg.norm(x - y, axis=1) / np.maximum(np.linalg.norm(x, axis=1), 1e-12)).max(initial=0))


def begin(command: list[str]) -> subprocess.Popen[bytes]:
    """Start an extraction and wait until its models are loaded."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def time_of(process: subprocess.Popen[bytes]) -> float:
    begun = time.perf_counter()
    _, words = process.communicate()
    if process.returncode:
        raise SystemExit(f"extraction failed: {words.decode()[-2000:]}")
    return time.perf_counter() - begun


def torment(kind: Kind, root: Path, kills: int, rng: np.random.Generator) -> Tally:
    samples = make(kind, root)
    np.savez(root / f"{kind}.npz", ids=np.array(samples.columns.ids), sources=np.array(samples.sources))
    spec_of(kind, root)
    command = [sys.executable, __file__, "--child", kind, str(root)]
    reference = root / f"{kind}.reference"
    seconds = time_of(begin([*command, str(reference)]))
    tally = Tally()
    while tally.kills < kills:
        out = root / f"{kind}.{tally.lives}"
        if tally.lives % 2:
            run(kind, first_half(samples), open_backbone(spec_of(kind, root), kind), out)
        ended = False
        while not ended:
            process = begin([*command, str(out)])
            if tally.kills < kills:
                try:
                    process.wait(rng.uniform(0, seconds))
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    tally.kills += 1
            _, words = process.communicate()
            ended = process.returncode == 0
            if process.returncode not in (0, -signal.SIGKILL):
                raise SystemExit(f"{kind}: extraction failed: {words.decode()[-2000:]}")
        problems = verify(out)
        if problems:
            raise SystemExit(f"{out}: {problems}")
        tally.worst = max(tally.worst, difference(reference, out))
        tally.lives += 1
    return tally


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.child:
        kind, root, out = chosen.child
        child(kind, Path(root), Path(out))
        return
    rng = np.random.default_rng(chosen.seed)
    print("| modality | backbone | kills | caches finished | rows, shards | worst row | `verify` |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for number, kind in enumerate(SPECS):
        share = chosen.kills // len(SPECS) + (number < chosen.kills % len(SPECS))
        with tempfile.TemporaryDirectory() as folder:
            tally = torment(kind, Path(folder), share, rng)  # type: ignore[arg-type]
        shards = -(-COUNT[kind] // SHARD_ROWS[kind])
        size = f"{COUNT[kind]:,}, {shards}"
        cells = [kind, SPECS[kind], tally.kills, tally.lives, size, f"{tally.worst:.1e}", "clean"]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
        if tally.worst > TOLERANCE:
            raise SystemExit(f"{kind}: rows differ by more than {TOLERANCE}")


if __name__ == "__main__":
    main()
