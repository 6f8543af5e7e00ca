"""Small paired runs of SSPC, and raw files of their samples."""

import io
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.cache.building import write_cache
from xfeat.cache import Columns, FeatureCache, Plan
from xfeat.methods.sspc_settings import SspcSettings
from xfeat.training.checkpoint import read_tensors
from xfeat.training.resident import InputScale
from xfeat.training.sspc import train
from xfeat.training.sspc_store import save_gated
from xfeat.training.store import SCALE, load_note

CLASSES = ("ant", "bee & <b>")
TINY: dict[str, Any] = {
    "input_dim": 8,
    "joint_dim": 8,
    "anchors": 6,
    "queue": 24,
    "batch_size": 16,
    "epochs": 4,
    "lr": 0.01,
    "temperature": 0.05,
    "eps": 0.07,
    "input_anchors": "projected",
}
ROWS = 60


def write_views(folder: Path, *names: str, rows: int = ROWS, alone: Sequence[int] = ()) -> list[FeatureCache]:
    """Views of the same ``rows`` instances, each in an order of its own; the last view lacks the instances ``alone``.

    Every third instance is for testing. Ids say the view and the instance, pair keys the instance.
    """
    rng = np.random.default_rng(7)
    labels = np.arange(rows) % 2
    hidden = rng.normal(size=(2, 5))[labels] * 2 + rng.normal(size=(rows, 5))
    found = []
    for place, name in enumerate(names):
        mixing = np.random.default_rng(len(name)).normal(size=(5, 7 + place))
        features = (np.tanh(hidden @ mixing) + 0.1 * rng.normal(size=(rows, 7 + place))).astype(np.float32)
        order = rng.permutation(rows)
        if place == len(names) - 1:
            order = order[~np.isin(order, alone)]
        columns = Columns(
            [f"{name}/{row:03d}" for row in order],
            ["test" if row % 3 == 0 else "train" for row in order],
            CLASSES,
            labels[order].astype(np.int64),
            [f"instance {row}" for row in order],
        )
        plan = Plan(name, {"backbone": f"made:{name}"}, features.shape[1], columns, shard_rows=32)
        found.append(write_cache(folder / name, plan, features[order]))
    return found


def train_tiny(caches: Sequence[FeatureCache], out: Path, **changes: Any) -> Path:
    """An SSPC run in a second."""
    train(caches, out, SspcSettings(**{**TINY, **changes}))
    return out


def edit_anchors(run: Path, modality: str, name: str, anchors: np.ndarray) -> None:
    """Put other anchors (``input`` or ``joint``) into a branch, in all its sets of weights."""
    file = run / "branches" / f"{modality}.safetensors"
    tensors, _ = read_tensors(file)
    scale = InputScale(tensors.pop(f"{SCALE}mean"), tensors.pop(f"{SCALE}std"))
    for key in [key for key in tensors if key.endswith(f"{name}_anchors")]:
        tensors[key] = tensors[key].new_tensor(anchors)
    note = load_note(file.with_suffix(".json"))
    note.pop("sha256")
    save_gated(file, tensors, scale, note)


def write_media(folder: Path, rows: int = ROWS) -> Path:
    """An image, a drawing, a text and a tone of every instance, and their manifest."""
    lines = ["id,image,strokes,text,audio"]
    for row in range(rows):
        (folder / f"{row}.png").write_bytes(picture(row))
        (folder / f"{row}.txt").write_text(f"START\n0,0,1\n{row + 10},-50,2\nBREAK\n5,-5,3\nBREAK\n")
        (folder / f"{row}.wav").write_bytes(tone(row))
        lines.append(f'{row},{row}.png,{row}.txt,"<i>word {row}</i>",{row}.wav')
    (folder / "samples.csv").write_text("\n".join(lines) + "\n")
    return folder / "samples.csv"


def picture(row: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (200, 100), (row * 4, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def tone(row: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((np.sin(np.arange(200) * (row + 1) / 20) * 9999).astype("<i2").tobytes())
    return buffer.getvalue()
