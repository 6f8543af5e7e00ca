"""Tiny pictures, texts and sounds through fixed filters, and what is trained on them."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image

from tests.training import building, paired_building
from xfeat.backbones.registry import open_backbone
from xfeat.cache import FeatureCache
from xfeat.extraction.pipeline import extract
from xfeat.samples.manifest import read_manifest
from xfeat.training import drcl, sspc

ROWS = 24
WORDS = ("red square", "green field", "blue water")
BROKEN, SILENT, UNLABELLED = 5, 7, 8  # rows with a picture that is none, without a sound, without a class
BACKBONES = {"image": "filters:hog", "text": "filters:hashing", "audio": "filters:logmel"}


@dataclass(frozen=True)
class Made:
    """Folders: of the media, of a run that compares by inner product, and of one that reads tokens."""

    media: Path
    drcl: Path
    sspc: Path
    caches: dict[str, Path]


def name(row: int) -> str:
    return f"set:{row:02d}"


def make(folder: Path, *, paired: bool = True) -> Made:
    """Instances of three modalities with pair keys and three classes; image and text with tokens, too.

    Without ``paired`` the run that reads tokens is left out.
    """
    torch.set_num_threads(1)
    manifest = _write_media(folder / "media")
    caches = []
    for modality, spec in BACKBONES.items():
        samples = read_manifest(manifest, modality, kind=modality)  # type: ignore[arg-type]
        out, tokens = folder / modality, modality != "audio"
        extract(samples, open_backbone(spec), out, modality=modality, workers=0, tokens=tokens, shard_rows=10)
        caches.append(FeatureCache(out))
    drcl.train(caches, folder / "drcl", building.TINY)
    if paired:
        sspc.train(caches[:2], folder / "sspc", paired_building.TINY.model_copy(update={"queue": 8, "batch_size": 8}))
    return Made(folder / "media", folder / "drcl", folder / "sspc", {c.manifest.modality: c.path for c in caches})


def _write_media(folder: Path) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for row in range(ROWS):
        kind = row % 3
        pixels = rng.integers(0, 90, (24, 24, 3), dtype=np.uint8)
        pixels[..., kind] += 120
        Image.fromarray(pixels).save(folder / f"{row}.png")
        tone = np.sin(np.arange(4000) * (kind + 1) * 0.3) * 0.3 + rng.normal(0, 0.05, 4000)
        soundfile.write(folder / f"{row}.wav", tone, 16000)
        cells = {"id": name(row), "image": f"{row}.png", "text": f"{WORDS[kind]} number {row}", "audio": f"{row}.wav"}
        cells |= {"split": ("train", "val", "test", "train")[row // 3 % 4], "label": WORDS[kind].split()[0]}
        rows.append(cells)
    (folder / f"{BROKEN}.png").write_bytes(b"no picture")
    rows[SILENT]["audio"] = rows[UNLABELLED]["label"] = ""
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return manifest
