"""A sweep's folder: what was asked for, its trials, and who is at work on which."""

import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from xfeat.cache.files import TMP, write_text
from xfeat.cache.fingerprint import difference
from xfeat.errors import InputError
from xfeat.training.run import GROUP_FILE, Run

CONFIG, TRIAL, LOCK = "sweep.yaml", "trial.json", ".lock"
ID = "id"


@dataclass(frozen=True)
class Record:
    """A trial that is over.

    Attributes:
        number: of the trial.
        values: of the settings that are searched.
        settings: of the method, those included, as given.
        score: mean of the metric over seeds; None where the trial failed.
        deviation: sample standard deviation over seeds; None of a single one.
        by_seed: the metric by seed.
        protocol: what the numbers rest on, as `xfeat eval` states it.
        seconds: that training and evaluation took.
        error: why it failed.
    """

    number: int
    values: dict[str, Any]
    settings: dict[str, Any]
    score: float | None = None
    deviation: float | None = None
    by_seed: dict[str, float] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None


class SweepFolder:
    """The folder of one sweep; any number of processes may work in it, on machines that share it too.

    Locks are those of files: a process that dies leaves none.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, wanted: Mapping[str, Any]) -> str:
        """Claim the folder for a sweep, or find that it holds this one.

        Args:
            wanted: all that decides the numbers, as plain values.

        Returns:
            What names the sweep, the same for every process.

        Raises:
            InputError: another sweep, or other files.
        """
        if self.path.is_file():
            raise InputError(f"{self.path} is a file: --out must name a folder")
        if not (self.path / CONFIG).is_file() and self.path.is_dir():
            ours = (LOCK, CONFIG + TMP)
            if any(entry.name not in ours for entry in self.path.iterdir()):
                raise InputError(f"{self.path} holds other files and no {CONFIG}: choose a new or empty folder")
        self.path.mkdir(parents=True, exist_ok=True)
        with self.locked():
            if not (self.path / CONFIG).is_file():
                document = {ID: secrets.token_hex(4), **wanted}
                write_text(self.path / CONFIG, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
            stored = self._stored()
        name = str(stored.pop(ID, ""))
        if changes := difference(stored, wanted):
            raise InputError(
                f"{self.path} holds a sweep that was asked for otherwise ({changes}): choose another --out, or go back"
            )
        return name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Own what all trials share for a moment; waits."""
        with FileLock(self.path / LOCK):
            yield

    @contextmanager
    def claimed(self, number: int, *, wait: bool = False) -> Iterator[bool]:
        """Own a trial, if no other process does; with ``wait`` once none does any more."""
        (self.path / "locks").mkdir(exist_ok=True)
        lock = FileLock(self.path / "locks" / f"{number:04d}")
        try:
            lock.acquire(blocking=wait)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def trial(self, number: int) -> Path:
        """The run of a trial, or its group of seeds."""
        return self.path / "trials" / f"{number:04d}"

    def ready(self, number: int) -> Path:
        """The folder of a trial that is about to be trained, or to be resumed.

        A training that was killed before it wrote what it is leaves nothing to resume.
        """
        path = self.trial(number)
        if path.is_dir() and not ((path / GROUP_FILE).is_file() or Run(path).config_file.is_file()):
            shutil.rmtree(path)
        return path

    def finished(self, number: int) -> bool:
        """Whether a trial is over."""
        return (self.trial(number) / TRIAL).is_file()

    def save(self, record: Record) -> None:
        """Write trial.json, which makes the trial one that is over."""
        path = self.trial(record.number)
        path.mkdir(parents=True, exist_ok=True)
        write_text(path / TRIAL, json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n")

    def record(self, number: int) -> Record:
        """A trial that is over.

        Raises:
            InputError: its file cannot be read.
        """
        file = self.trial(number) / TRIAL
        try:
            return Record(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{file} is damaged ({error}): remove it, and the trial is scored again") from None

    def records(self) -> list[Record]:
        """All trials that are over, by number."""
        numbers = [int(file.parent.name) for file in self.path.glob(f"trials/*/{TRIAL}") if file.parent.name.isdigit()]
        return [self.record(number) for number in sorted(numbers)]

    def _stored(self) -> dict[str, Any]:
        file = self.path / CONFIG
        try:
            document = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"{file} is damaged ({' '.join(str(error).split())})") from None
        if not isinstance(document, dict):
            raise InputError(f"{file} is damaged: it must hold a mapping")
        return document
