"""One trial: trained with every seed, and scored on validation rows, which is all that a sweep evaluates on."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from pydantic import BaseModel

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.sweep.config import SweepConfig, check_trial
from xfeat.sweep.folder import Record, SweepFolder
from xfeat.sweep.space import Values, merged
from xfeat.training.embedding import Blocks
from xfeat.training.evaluating import Asked, evaluate_path
from xfeat.training.group import member_path
from xfeat.training.held_out import VAL
from xfeat.training.trainers import TRAINERS


@dataclass(frozen=True)
class Work:
    """What trials are trained on, and where.

    Attributes:
        config: of the sweep.
        caches: one per modality.
        folder: of the sweep.
        device: where to train.
    """

    config: SweepConfig
    caches: Sequence[FeatureCache]
    folder: SweepFolder
    device: torch.device

    def run(self, number: int, values: Values) -> Record:
        """Train and score a trial, going on where it was interrupted, and write down how it ended.

        Settings that do not fit each other or the data are a trial that failed.
        """
        started = time.perf_counter()
        settings = merged(self.config.settings, values)
        try:
            scores, stated = self._scores(self.folder.ready(number), check_trial(self.config, self.caches, values))
        except InputError as error:
            record = Record(number, values, settings, error=str(error), seconds=time.perf_counter() - started)
        else:
            numbers = list(scores.values())
            record = Record(
                number,
                values,
                settings,
                fmean(numbers),
                stdev(numbers) if len(numbers) > 1 else None,
                {str(seed): score for seed, score in scores.items()},
                stated,
                time.perf_counter() - started,
            )
        self.folder.save(record)
        return record

    def _scores(self, path: Path, settings: BaseModel) -> tuple[dict[int, float], dict[str, Any]]:
        """The metric by seed, and what it rests on."""
        trainer, seeds = TRAINERS[self.config.method], self.config.seeds
        if len(seeds) > 1:
            trainer.group(self.caches, path, settings, seeds, device=self.device, resume=True)
            runs = {seed: member_path(path, seed) for seed in seeds}
        else:
            trainer.one(self.caches, path, settings, seed=seeds[0], device=self.device, resume=True)
            runs = {seeds[0]: path}
        asked, blocks = Asked(split=VAL, protocol=self.config.protocol), Blocks()
        scores, stated = {}, {}
        for seed, run in runs.items():
            answer = evaluate_path(run, asked, self.device, blocks)
            scores[seed], stated = float(answer.document["mean"][self.config.measure]), answer.document["protocol"]
        return scores, stated
