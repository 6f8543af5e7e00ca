"""Runs a sweep: every process takes the trials that no other has, and all come to the same winner."""

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import torch

from xfeat.cache import FeatureCache
from xfeat.cache.fingerprint import digest
from xfeat.sweep.best import Result, concluded
from xfeat.sweep.config import SweepConfig, check_trials
from xfeat.sweep.folder import Record, SweepFolder
from xfeat.sweep.measure import settled
from xfeat.sweep.space import Values
from xfeat.sweep.study import check_storage, study_trials
from xfeat.sweep.trial import Work


class Watcher(Protocol):
    """Is told how a sweep goes."""

    def begun(self, over: int) -> None:
        """Nothing stands in its way; ``over``: trials that an earlier call ran."""

    def ran(self, record: Record) -> None:
        """This process ran a trial."""


def sweep(config: SweepConfig, out: Path, device: torch.device, watcher: Watcher | None = None) -> Result:
    """Try settings of a method, and write down those that score best on validation rows. Test rows are not read.

    A trial that another process is at work on is waited for; one whose process died is resumed; one that is over is
    not run again, so that the same call goes on with a sweep that was interrupted.

    Args:
        config: as of `read_sweep`.
        out: the sweep's folder, shared by all processes that are to take part.
        device: where to train.
        watcher: is told how it goes.

    Raises:
        InputError: caches, settings or a metric that do not fit, no rows to validate on, a folder that holds something
            else, or a sweep of which every trial failed.
    """
    config = settled(config)
    caches = [FeatureCache(path) for path in config.caches]
    check_trials(config, caches)
    if config.search == "tpe":
        check_storage(config)
    folder = SweepFolder(out)
    wanted = _identity(config, caches)
    name = folder.begin(wanted)
    if watcher:
        watcher.begun(len(folder.records()))
    work = Work(config, caches, folder, device)
    study = f"{config.method}-{digest(wanted)[:12]}-{name}"
    trials = study_trials(config, folder, study) if config.search == "tpe" else listed_trials(config.listed(), folder)
    with closing(trials):  # what this process owns is let go of however it ends
        for number, values in trials:
            record = work.run(number, values)
            if watcher:
                watcher.ran(record)
    return concluded(config, folder, caches)


def listed_trials(trials: Sequence[Values], folder: SweepFolder) -> Generator[tuple[int, Values], None, None]:
    """Trials to be run by this process, each owned by it until the next is asked for.

    First those that nobody is at work on, then, as their processes end without a result, the others. Ends when all are
    over.

    Args:
        trials: all of the sweep.
        folder: of the sweep.
    """
    for wait in (False, True):
        for number, values in enumerate(trials):
            if folder.finished(number):
                continue
            with folder.claimed(number, wait=wait) as mine:
                if mine and not folder.finished(number):
                    yield number, values


def _identity(config: SweepConfig, caches: Sequence[FeatureCache]) -> dict[str, Any]:
    """All that decides the score of a trial; how many trials there are may be raised later."""
    kept = config.model_dump(mode="json", exclude={"caches", "out", "trials", "storage", "metric"})
    contents = {
        cache.manifest.modality: {
            "fingerprint": cache.manifest.fingerprint_sha256,
            "content": cache.manifest.content,
        }
        for cache in caches
    }
    return {**kept, "metric": config.measure, "caches": contents}
