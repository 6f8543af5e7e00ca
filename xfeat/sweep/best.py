"""What a sweep found: its trials in order, and the winner's settings as a config that ``xfeat train`` reads."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from xfeat.cache import FeatureCache
from xfeat.cache.files import write_text
from xfeat.errors import InputError
from xfeat.methods.settings import ABOUT
from xfeat.sweep.config import SweepConfig
from xfeat.sweep.folder import Record, SweepFolder

BEST, SUMMARY = "best.yaml", "sweep.json"
SELECTED = "selected on validation rows only; test rows were not read"


@dataclass(frozen=True)
class Result:
    """A sweep that is over.

    Attributes:
        config: of the sweep.
        path: its folder.
        records: of all trials, best first, failed ones last.
    """

    config: SweepConfig
    path: Path
    records: Sequence[Record]

    @property
    def best(self) -> Record:
        """The winner."""
        return self.records[0]

    def commands(self, caches: Sequence[Path]) -> list[str]:
        """What trains the winner again, and what gives its final numbers."""
        seeds = self.config.seeds
        which = ["--seeds", ",".join(map(str, seeds))] if len(seeds) > 1 else ["--seed", str(seeds[0])]
        run = str(self.path / "best")
        words = ["xfeat", "train", self.config.method, *map(str, caches), "--config", str(self.path / BEST), *which]
        return [shlex.join([*words, "--out", run]), shlex.join(["xfeat", "eval", run])]


def concluded(config: SweepConfig, folder: SweepFolder, caches: Sequence[FeatureCache]) -> Result:
    """Rank the trials and write best.yaml and sweep.json; every process comes to the same.

    Raises:
        InputError: every trial failed.
    """
    sign = 1 if config.lower else -1
    records = sorted(
        folder.records(),
        key=lambda one: (one.score is None, 0.0 if one.score is None else sign * one.score, one.number),
    )
    result = Result(config, folder.path, records)
    if result.best.score is None:
        raise InputError(
            f"all {len(records):,} trials failed, trial {result.best.number} with: {result.best.error}; "
            "correct the config and choose another --out"
        )
    away = Result(config, folder.path.resolve(), records)
    commands = away.commands([cache.path.resolve() for cache in caches])
    with folder.locked():
        about = _about(result, caches, commands)
        text = yaml.safe_dump({ABOUT: about, **result.best.settings}, sort_keys=False, allow_unicode=True, width=10_000)
        write_text(folder.path / BEST, text)
        write_text(folder.path / SUMMARY, json.dumps(_summary(result, commands), indent=1, ensure_ascii=False) + "\n")
    return result


def _about(result: Result, caches: Sequence[FeatureCache], commands: list[str]) -> dict[str, Any]:
    best, config = result.best, result.config
    failed = sum(one.score is None for one in result.records)
    validation: dict[str, Any] = {
        "metric": f"{config.measure}, mean over ordered pairs of modalities",
        "protocol": {name: best.protocol.get(name) for name in ("name", "relevance", "similarity", "split")},
        "score": best.score,
        "deviation": best.deviation,
        "seeds": list(config.seeds),
    }
    if held := best.protocol.get("held_out"):
        validation["held out from train"] = held
    return {
        "method": config.method,
        "data": {
            cache.manifest.modality: {
                "cache": str(cache.path.resolve()),
                "rows": dict(cache.manifest.counts["split"]),
                "dimensions": cache.manifest.dim,
                "content": cache.manifest.content,
            }
            for cache in caches
        },
        "sweep": {
            "search": config.search,
            "space": config.space,
            "trials": len(result.records),
            "failed": failed,
            "winner": f"trials/{best.number:04d}",
        },
        "selection": SELECTED,
        "validation": validation,
        "commands": commands,
    }


def _summary(result: Result, commands: list[str]) -> dict[str, Any]:
    config = result.config
    return {
        "method": config.method,
        "search": config.search,
        "metric": config.measure,
        "better": "lower" if config.lower else "higher",
        "selection": SELECTED,
        "seeds": list(config.seeds),
        "space": config.space,
        "best": result.best.number,
        "trials": [{**asdict(one), "folder": f"trials/{one.number:04d}"} for one in result.records],
        "commands": commands,
    }
