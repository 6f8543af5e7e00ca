"""A run: a directory with everything one training leaves behind, and nothing that must be unpickled."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
import yaml
from filelock import FileLock, Timeout

from xfeat import __version__
from xfeat.cache import FeatureCache
from xfeat.cache.files import TMP, write_text
from xfeat.cache.fingerprint import difference
from xfeat.errors import InputError

GROUP_FILE = "group.json"  # in a folder of runs that differ in their seed
DRCL, SSPC, CIIM = "drcl", "sspc", "ciim"  # what a run's configuration calls its method
ORTHOGONAL = "orthogonal"  # DRCL without a prior that is learned


@dataclass(frozen=True)
class Source:
    """The cache a modality was trained on.

    Attributes:
        cache: its absolute path.
        relative: its path from the run's folder, for when both have moved.
        fingerprint: its fingerprint's sha256.
        content: sha256 of its features and columns.
        dim: D.
        rows: samples in it.
        added: it joined by ``xfeat add``.
    """

    cache: str
    relative: str
    fingerprint: str
    content: str
    dim: int
    rows: int
    added: bool = False


@dataclass
class RunConfig:
    """config.yaml: what was asked for, resolved.

    Attributes:
        method: for example ``drcl``.
        seed: of all randomness.
        settings: the method's settings.
        classes: class names in the run's order.
        modalities: source of each modality, in the order they were given.
        versions: of what decides the numbers.
    """

    method: str
    seed: int
    settings: dict[str, Any]
    classes: list[str]
    modalities: dict[str, Source]
    versions: dict[str, str] = field(default_factory=dict)


def versions() -> dict[str, str]:
    """Versions of what decides a run's numbers."""
    return {
        "xfeat": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # a str subclass that YAML does not know
        "numpy": numpy.__version__,
    }


def source_of(cache: FeatureCache, run: Path, *, added: bool = False) -> Source:
    """What a run notes of a cache."""
    m, path = cache.manifest, cache.path.resolve()
    relative = Path(os.path.relpath(path, run.resolve())).as_posix()
    return Source(str(path), relative, m.fingerprint_sha256, m.content, m.dim, m.rows, added)


class Run:
    """The directory of one run.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def log_file(self) -> Path:
        """One JSON row per validated epoch, stage and modality."""
        return self.path / "log.jsonl"

    @property
    def prior_file(self) -> Path:
        """The prior every branch is trained against."""
        return self.path / "prior.safetensors"

    @property
    def prior_note(self) -> Path:
        """Candidates, their quality scores, and which one was chosen."""
        return self.path / "prior.json"

    @property
    def shared_file(self) -> Path:
        """What all branches of a CIIM run share: hybrid proxies, head and bank."""
        return self.path / "shared.safetensors"

    def candidate_file(self, modality: str) -> Path:
        """A modality's candidate prior."""
        return self.path / "candidates" / f"{modality}.safetensors"

    def branch_file(self, modality: str) -> Path:
        """A modality's branch."""
        return self.path / "branches" / f"{modality}.safetensors"

    def checkpoint_file(self, modality: str, stage: str) -> Path:
        """State of an unfinished stage."""
        return self.path / "checkpoints" / f"{modality}.{stage}.safetensors"

    @property
    def begun(self) -> bool:
        """Whether anything was trained here; a folder with a configuration alone is free for another."""
        ours = (".lock", self.config_file.name)
        entries = self.path.iterdir() if self.path.is_dir() else ()
        return any(entry.name not in ours and entry.suffix != TMP for entry in entries)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Own the directory while writing to it.

        Raises:
            InputError: another process does, or the path is a file.
        """
        if self.path.is_file():
            raise InputError(f"{self.path} is a file: a run is a folder")
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise InputError(f"another process is training in {self.path}: wait for it") from None
        try:
            yield
        finally:
            lock.release()

    def save_config(self, config: RunConfig) -> None:
        """Write config.yaml whole."""
        write_text(self.config_file, yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True))

    def load_config(self) -> RunConfig:
        """Read config.yaml.

        Raises:
            InputError: not a run, or a file that cannot be read.
        """
        if not self.config_file.is_file():
            if (self.path / GROUP_FILE).is_file():
                raise InputError(f"{self.path} is a group of seeds: name one of its runs, {self.path / 'seed0'} say")
            what = "has no config.yaml" if self.path.exists() else "does not exist"
            raise InputError(f"{self.path} {what}: not a run (make one with `xfeat train`)")
        try:
            document = yaml.safe_load(self.config_file.read_text(encoding="utf-8"))
            sources = {name: Source(**source) for name, source in document.pop("modalities").items()}
            return RunConfig(modalities=sources, **document)
        except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, AttributeError, KeyError, ValueError) as error:
            raise InputError(f"{self.config_file} is damaged ({error})".replace("\n", " ")) from None

    def open_cache(self, modality: str, source: Source, *, allow_changed: bool = False) -> FeatureCache:
        """The cache a modality was trained on, where it was or where it lies from a run that moved with it.

        Args:
            modality: its name.
            source: what the run noted of it.
            allow_changed: take it although its samples or features changed since.

        Raises:
            InputError: it is gone, was made anew with another fingerprint, or its samples, splits or features changed.
        """
        places = [Path(source.cache), self.path / source.relative]
        path = next((place for place in places if place.is_dir()), None)
        if path is None:
            raise InputError(
                f"the cache of {modality} is no longer at {source.cache}: move it back, or correct its `cache` in "
                f"{self.config_file}"
            )
        cache = FeatureCache(path)
        if cache.manifest.fingerprint_sha256 != source.fingerprint:
            raise InputError(
                f"{cache.path} was made anew since {self.path.name} was trained: its fingerprint is "
                f"{cache.manifest.fingerprint_sha256[:12]}, {modality} was trained on {source.fingerprint[:12]}; "
                "train again, or evaluate on it with --on"
            )
        if cache.manifest.content != source.content and not allow_changed:
            raise InputError(
                f"{cache.path} was rewritten since {self.path.name} was trained, so its {modality} rows and splits may "
                "be others; train again, or accept that with --allow-changed"
            )
        return cache

    def append_log(self, row: dict[str, Any]) -> None:
        """Add a row to log.jsonl."""
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def trim_log(self, modality: str, stage: str, epoch: int) -> None:
        """Drop rows of a stage after ``epoch``: they are about to be trained again. A torn last line goes too."""
        if not self.log_file.is_file():
            return
        kept = []
        for line in self.log_file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if (row.get("modality"), row.get("stage")) != (modality, stage) or row.get("epoch", 0) <= epoch:
                kept.append(line + "\n")
        write_text(self.log_file, "".join(kept))


def check_free(run: Run, config: RunConfig, resume: bool) -> None:
    """A training may begin in an empty folder, and continue, where asked to, in one that began like it.

    Raises:
        InputError: a run that is not to be continued or was begun otherwise, or other files.
    """
    if run.config_file.exists() and run.begun:
        if not resume:
            raise InputError(f"{run.path} holds a run already: continue it with --resume, or choose another --out")
        check_resumable(run.path, run.load_config(), config)
    elif (run.path / GROUP_FILE).is_file():
        raise InputError(f"{run.path} holds a group of seeds: continue it with its --seeds, or choose another --out")
    elif run.begun:
        raise InputError(f"{run.path} holds other files: choose a new or empty folder")


def check_resumable(path: Path, stored: RunConfig, wanted: RunConfig) -> None:
    """A run resumes with the configuration it was started with, and no other.

    Raises:
        InputError: they differ; the difference is printed.
    """
    old, new = asdict(stored), asdict(wanted)
    # A modality that was added later does not belong to what is resumed; a cache that moved is the same cache.
    old["modalities"] = {name: source for name, source in old["modalities"].items() if not source["added"]}
    for document in (old, new):
        document.pop("versions")
        for source in document["modalities"].values():
            source.pop("cache")
            source.pop("relative")
    if old != new:
        raise InputError(f"{path} was started with other settings ({difference(old, new)}): use them, or another --out")
