"""Samples that are extracted in parts, and programs that stand before every part of a launch."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xfeat.cache import FeatureCache


def texts(folder: Path, rows: int = 11) -> Path:
    """A manifest of short texts with labels and splits."""
    lines = [f"s{row},{'test' if row % 4 == 3 else 'train'},c{row % 3},text number {row}" for row in range(rows)]
    path = folder / "words.csv"
    path.write_text("\n".join(["id,split,label,text", *lines]) + "\n", encoding="utf-8")
    return path


def pictures(folder: Path, rows: int = 7) -> Path:
    """A manifest of pictures; number 1 is cut off."""
    rng = np.random.default_rng(0)
    for row in range(rows):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / f"{row}.png")
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:400])
    path = folder / "pictures.csv"
    path.write_text("image,label\n" + "".join(f"{row}.png,c{row % 2}\n" for row in range(rows)), encoding="utf-8")
    return path


def same(one: Path, other: Path) -> None:
    """Two caches are the same to the last byte, but for the one's memory of its parts."""
    first, second = FeatureCache(one), FeatureCache(other)
    assert replace(first.manifest, parts=[]) == second.manifest
    assert first.manifest.content
    a, b = first.load(ok_only=False), second.load(ok_only=False)
    assert (a.ids, a.split, a.status) == (b.ids, b.split, b.status)
    np.testing.assert_array_equal(a.features, b.features)
    np.testing.assert_array_equal(a.labels, b.labels)


def before_part(folder: Path, monkeypatch: pytest.MonkeyPatch, shard: str, script: str) -> None:
    """Let a shell script run instead of the first process of one part; every part's command begins with ``env``."""
    programs = folder / "programs"
    programs.mkdir()
    (programs / "env").write_text(
        f'#!/bin/sh\ncase "$* " in *"--shard {shard} "*) if mkdir "{folder}/begun"; then {script}; fi;; esac\n'
        'exec /usr/bin/env "$@"\n',
        encoding="utf-8",
    )
    (programs / "env").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
