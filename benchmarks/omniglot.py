"""Omniglot's drawings, twice: as pictures through filters:hog and as the pen strokes through filters:strokes.

    python benchmarks/omniglot.py --data ../shared/data

Lake, Salakhutdinov and Tenenbaum, Science 2015: 136 characters of five alphabets (background set "small 1"), each drawn
once by the same 20 people. Drawers 1-14 are train, 15-16 val, 17-20 test, in every alphabet; the class is
alphabet/character. A method that trains on the classes of some alphabets (``SEEN``) has its in-domain test in their
characters by new hands, and its out-of-domain test in the alphabets it never saw. Run as a script, it writes the caches
and says how long that took.
"""

import argparse
import csv
import os
import tempfile
import time
import zipfile
from pathlib import Path

from xfeat.backbones.registry import open_backbone
from xfeat.cache import FeatureCache
from xfeat.extraction.pipeline import extract
from xfeat.samples import read_manifest

BACKBONES = {"image": "filters:hog", "strokes": "filters:strokes"}
SEEN = ("Balinese/*", "Greek/*", "Latin/*")  # Early_Aramaic and Korean stay unseen


def omniglot_manifest(data: Path, work: Path) -> Path:
    """Unpack both archives of ``data/omniglot`` into ``work`` and write the manifest beside them."""
    work.mkdir(parents=True, exist_ok=True)
    for part in ("images", "strokes"):
        with zipfile.ZipFile(data / "omniglot" / f"{part}_background_small1.zip") as archive:
            archive.extractall(work, [name for name in archive.namelist() if name.startswith(f"{part}_")])
    manifest, images = work / "manifest.csv", work / "images_background_small1"
    with manifest.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", "split", "label", "pair", "image", "strokes"])
        for png in sorted(images.glob("*/*/*.png")):
            drawer = int(png.stem.split("_")[1])
            split = "train" if drawer < 15 else "val" if drawer < 17 else "test"
            character = png.parent.relative_to(images).as_posix()
            strokes = f"strokes_background_small1/{character}/{png.stem}.txt"
            rows.writerow([png.stem, split, character, png.stem, png.relative_to(work).as_posix(), strokes])
    return manifest


def omniglot_caches(data: Path, work: Path) -> list[FeatureCache]:
    """The caches of both modalities; those that are in ``work`` already are not made again."""
    manifest = omniglot_manifest(data, work / "media")
    for modality, spec in BACKBONES.items():
        backbone = open_backbone(spec)
        samples = read_manifest(manifest, modality, kind=backbone.kind)
        extract(samples, backbone, work / modality, modality=modality)
    return [FeatureCache(work / modality) for modality in BACKBONES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("XFEAT_SHARED_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, help="folder of the caches [default: a temporary one]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        caches = omniglot_caches(options.data, options.out or Path(scratch))
        seconds = time.perf_counter() - started
        for cache in caches:
            m = cache.manifest
            splits = ", ".join(f"{name} {count:,}" for name, count in sorted(m.counts["split"].items()))
            print(f"{m.modality:8} {m.rows:,} x {m.dim:,} ({splits}), {len(m.classes)} classes")
        print(f"{seconds:.1f} s")


if __name__ == "__main__":
    main()
