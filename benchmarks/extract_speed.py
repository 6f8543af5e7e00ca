"""Wall time of extraction against what its parts cost alone: pictures and captions through networks of random weights.

The ideal for pictures is (CPU seconds of decoding and preprocessing alone + CPU seconds of the network alone) / cores:
nothing waits, nothing is done twice. Each part is measured alone with all cores at work, as they are in an extraction.
"""

import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from xfeat.backbones.base import Backbone, Setup
from xfeat.backbones.registry import open_backbone
from xfeat.cache import Columns
from xfeat.extraction.pipeline import extract
from xfeat.samples.manifest import Samples

WORDS = "a photo of the small red boat on river near old stone bridge with two people walking under grey sky"
PREPROCESS = '{"model_cfg": {}, "preprocess_cfg": {}}'


def machine() -> str:
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return f"{where}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"


def make_pictures(folder: Path, count: int) -> Samples:
    """JPEG files of about 500 x 375: smooth shapes with some noise, so that they decode like photographs."""
    rng = np.random.default_rng(0)
    names = [f"{number:05d}.jpg" for number in range(count)]
    for name in names:
        width, height = (int(x) for x in rng.integers([460, 340], [541, 411]))
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((width, height), Image.BICUBIC)
        noise = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).filter(ImageFilter.BoxBlur(1))
        Image.blend(small, noise, 0.3).save(folder / name, quality=90)
    return Samples(Columns(names, ["train"] * count), names, folder, 0, "image")


def pictures_in(folder: Path, count: int) -> Samples:
    """The pictures of a folder, made if it is not there."""
    if not folder.exists():
        folder.mkdir()
        return make_pictures(folder, count)
    names = sorted(file.name for file in folder.iterdir())
    return Samples(Columns(names, ["train"] * len(names)), names, folder, 0, "image")


def make_captions(folder: Path, count: int) -> Samples:
    rng = np.random.default_rng(0)
    texts = [f"{' '.join(rng.choice(WORDS.split(), rng.integers(6, 18)))} {number}" for number in range(count)]
    ids = [f"text:{number}" for number in range(count)]
    return Samples(Columns(ids, ["train"] * count), texts, folder, 0, "text")


def random_weights(model: str, folder: Path) -> str:
    """SPEC of an open_clip model with random weights in a file."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    file = folder / model / "weights.safetensors"
    file.parent.mkdir()
    save_file(open_clip.create_model(model).state_dict(), file)
    (file.parent / "open_clip_config.json").write_text(PREPROCESS)
    return f"open_clip:{model}@{file}"


def cpu_seconds(work: Callable[[], Any]) -> float:
    """User and system time of this process and of those it started and waited for."""
    begun = _times()
    work()
    return _times() - begun


def _times() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


_load: Callable[[Path], Any]


def _decode(files: list[Path]) -> int:
    torch.set_num_threads(1)
    return sum(_load(file) is not None for file in files)


def decoding(backbone: Backbone, samples: Samples) -> float:
    """CPU seconds of decoding and preprocessing all samples, by a process per core."""
    global _load
    _load = backbone.load
    cores = os.cpu_count() or 1
    files = [samples.root / name for name in samples.sources]

    def work() -> None:
        with ProcessPoolExecutor(cores, multiprocessing.get_context("fork")) as pool:
            assert sum(pool.map(_decode, [files[core::cores] for core in range(cores)])) == len(files)

    return cpu_seconds(work)


def forward(backbone: Backbone, batch: Any, batches: int) -> dict[str, float]:
    """CPU seconds of the network alone over one batch: with all cores on each batch, and with a batch for each core."""
    cores = torch.get_num_threads()
    backbone.encode(batch)
    together = cpu_seconds(lambda: [backbone.encode(batch) for _ in range(batches)]) / batches
    with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(lambda _: backbone.encode(batch), range(cores)))
        apart = cpu_seconds(lambda: list(pool.map(lambda _: backbone.encode(batch), range(batches)))) / batches
    torch.set_num_threads(cores)
    return {"together": together, "apart": apart}


def pictures(model: str, work: Path, count: int, batch_size: int) -> list[str]:
    """One row of the table: wall time against the ideal."""
    samples = pictures_in(work / "pictures", count)
    backbone = open_backbone(random_weights(model, work), "image", Setup("cpu"))
    decode = decoding(backbone, samples)
    batch = torch.stack([backbone.load(samples.root / name) for name in samples.sources[:batch_size]])
    alone = forward(backbone, batch, 6)
    network = min(alone.values()) * count / batch_size
    cores = os.cpu_count() or 1
    ideal = (decode + network) / cores
    begun, used = time.perf_counter(), _times()
    extract(samples, backbone, work / f"cache-{model}", modality="image", batch_size=batch_size)
    wall, used = time.perf_counter() - begun, _times() - used
    how = min(alone, key=lambda key: alone[key])
    return [
        model,
        f"{decode:.1f}",
        f"{network:.1f} ({how})",
        f"{ideal:.1f}",
        f"{wall:.1f}",
        f"{used:.1f}",
        f"{wall / ideal:.3f}",
        "1.10",
    ]


def captions(model: str, work: Path, count: int, batch_size: int) -> list[str]:
    """One row of the table: captions a second against tokenizer and network, one after the other, alone."""
    samples = make_captions(work, count)
    backbone = open_backbone(random_weights(model, work), "text", Setup("cpu"))

    def alone(texts: list[str]) -> None:
        for start in range(0, len(texts), batch_size):
            backbone.encode(torch.stack([backbone.load(text) for text in texts[start : start + batch_size]]))

    alone(samples.sources[:batch_size])
    part = count // 5
    begun = time.perf_counter()
    alone(samples.sources[:part])
    rate = part / (time.perf_counter() - begun)
    begun = time.perf_counter()
    extract(samples, backbone, work / f"cache-text-{model}", modality="text", batch_size=batch_size)
    ours = count / (time.perf_counter() - begun)
    return [model, f"{count:,}", f"{rate:.0f}", f"{ours:.0f}", f"{ours / rate:.3f}", "0.95"]


def gpu(model: str, work: Path, count: int, batch_size: int) -> Iterator[list[str]]:
    """Rows of the table: pictures a second by number of decoding processes, against the network on decoded batches."""
    samples = pictures_in(work / "pictures", count)
    backbone = open_backbone(random_weights(model, work), "image", Setup("cuda", "bf16"))
    batch = torch.stack([backbone.load(samples.root / name) for name in samples.sources[:batch_size]]).pin_memory()
    for _ in range(5):
        backbone.encode(batch)
    begun = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:  # two, as in an extraction: one batch is computed, one is fetched
        list(pool.map(lambda _: backbone.encode(batch), range(100)))
    alone = 100 * batch_size / (time.perf_counter() - begun)
    workers = 1
    while workers <= (os.cpu_count() or 1):
        begun = time.perf_counter()
        out = work / f"gpu-{model}-{workers}"
        extract(samples, backbone, out, modality="image", batch_size=batch_size, workers=workers)
        rate = count / (time.perf_counter() - begun)
        yield [model, f"{alone:.0f}", str(workers), f"{rate:.0f}", f"{rate / alone:.3f}", "0.90"]
        workers *= 2
