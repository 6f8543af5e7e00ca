"""Extraction: how close it comes to the speed of its parts, and what a cache costs to write and read.

    python benchmarks/extract.py images      2,000 JPEG files through RN50 and ViT-B-32, against the ideal
    python benchmarks/extract.py text        20,000 captions, against tokenizer and network alone
    python benchmarks/extract.py cache       1,000,000 x 512 float16: write, read, random rows, resume
    python benchmarks/extract.py gpu         ViT-B-32 and ViT-L-14 in bfloat16 on a GPU, by number of processes

Weights are random: the time of a network does not depend on them.
"""

import argparse
import tempfile
from pathlib import Path

from extract_cache import main as cache_table
from extract_speed import captions, gpu, machine, pictures

HEADS = {
    "images": [
        "model",
        "decode alone, CPU s",
        "network alone, CPU s",
        "ideal s",
        "measured s",
        "CPU s",
        "ratio",
        "target",
    ],
    "text": ["model", "captions", "alone /s", "extraction /s", "ratio", "target"],
    "gpu": ["model", "network alone /s", "processes", "extraction /s", "ratio", "target"],
}


def print_row(cells: list[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("part", choices=["images", "text", "cache", "gpu"])
    options.add_argument("--models", nargs="+", help="of open_clip")
    options.add_argument("--count", type=int, help="samples, or rows of the cache")
    options.add_argument("--batch-size", type=int, default=64)
    chosen = options.parse_args()
    if chosen.part == "cache":
        cache_table([] if chosen.count is None else ["--rows", str(chosen.count)])
        return
    print(f"machine: {machine()}\n")
    print_row(HEADS[chosen.part])
    print_row(["---"] * len(HEADS[chosen.part]))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if chosen.part == "images":
            for model in chosen.models or ["RN50", "ViT-B-32"]:
                print_row(pictures(model, work, chosen.count or 2000, chosen.batch_size))
        elif chosen.part == "text":
            for model in chosen.models or ["ViT-S-32-alt"]:
                print_row(captions(model, work, chosen.count or 20_000, chosen.batch_size))
        else:
            for model in chosen.models or ["ViT-B-32", "ViT-L-14"]:
                for row in gpu(model, work, chosen.count or 20_000, chosen.batch_size):
                    print_row(row)


if __name__ == "__main__":
    main()
