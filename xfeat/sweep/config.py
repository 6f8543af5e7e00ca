"""What a sweep is to do, as its YAML file says it. Rows that choose the settings are those of split ``val``, always."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xfeat.cache import FeatureCache
from xfeat.cache.fingerprint import canonical_json
from xfeat.errors import InputError
from xfeat.evaluation.instance import INSTANCE
from xfeat.evaluation.zero_shot import ZERO_SHOT
from xfeat.methods.registry import find_method
from xfeat.methods.settings import load_yaml, validated
from xfeat.sweep.space import Space, Values, grid, merged, random_trials, read_space
from xfeat.training.asked import check_protocol
from xfeat.training.embedding import PAIRED
from xfeat.training.held_out import has_val, holds_out, no_val

METRICS = {INSTANCE: "R@1", ZERO_SHOT: "top-1"}  # by protocol; of the others, mAP@all
LOWER = ("MedR", "MeanR")  # metrics of which less is better
# Trials that differ in these are not scored on the same rows, or not by the same rule.
COMPARED_BY = ("val_fraction", "classes", "relevance")
HOLDING = ("select", "score_on", "size")  # settings that decide whether rows are held out
TRIALS = 20
METRIC = re.compile(r"(mAP|R|P|nDCG|CMC)@(all|[1-9]\d*)|MedR|MeanR|gmean|mINP|top-[1-9]\d*|per-class")
EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")  # YAML 1.1 takes 1e-4 for a word


class SweepConfig(BaseModel):
    """A sweep.

    Raises:
        pydantic.ValidationError: an unknown entry, or a value that does not fit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = Field(description="of `xfeat methods`")
    caches: list[Path] = Field(min_length=1, description="one per modality; paths start from the file's folder")
    out: Path | None = Field(None, description="folder of the sweep; its path starts from the file's folder")
    settings: dict[str, Any] = Field({}, description="of the method, the same in all trials")
    space: dict[str, Any] = Field(min_length=1, description="a list of values, or low and high, by setting")
    search: Literal["grid", "random", "tpe"] = Field("grid", description="tpe needs Optuna")
    trials: int | None = Field(None, ge=1, le=10_000, description="of random and tpe; 20 if not given")
    sampler_seed: int = Field(0, ge=0, description="of what random and tpe draw")
    seeds: list[int] = Field([0], min_length=1, description="of the trainings; a trial's score is the mean over them")
    metric: str | None = Field(None, description="mAP@all, R@1 or top-1 by protocol if not given")
    protocol: str | None = Field(None, description="what suits the runs if not given")
    storage: str | None = Field(None, description="database of tpe; a file in the sweep's folder if not given")

    @property
    def measure(self) -> str:
        """The metric that trials are compared by; see `xfeat.sweep.measure.settled` where the caches decide it."""
        return self.metric or default_metric(self.scored_as or "")

    @property
    def lower(self) -> bool:
        """Whether less of it is better."""
        return self.measure in LOWER

    @property
    def scored_as(self) -> str | None:
        """The protocol, where it does not follow from the labels."""
        return self.protocol or (INSTANCE if self.method in PAIRED else None)

    @property
    def parsed(self) -> Space:
        """The space."""
        return read_space(self.space)

    def listed(self) -> list[Values]:
        """Every trial of a grid or of a random search, which follow from the config alone."""
        if self.search == "grid":
            return grid(self.parsed)
        return random_trials(self.parsed, self.trials or TRIALS, self.sampler_seed)


def default_metric(protocol: str) -> str:
    """The metric that a protocol's runs are compared by if nothing else is said."""
    return METRICS.get(protocol, "mAP@all")


def read_sweep(file: Path, trials: int | None = None) -> SweepConfig:
    """Read a config; its paths are made to start from its folder.

    Args:
        file: YAML.
        trials: counts before what the file says.

    Raises:
        InputError: what does not fit, in one line.
    """
    document = _numbers(_load(file))
    if "split" in document:
        raise InputError(f"{file}: no `split`: a sweep chooses by rows of split val; test rows are for `xfeat eval`")
    if trials is not None:
        document["trials"] = trials
    try:
        canonical_json(document)
        config = SweepConfig(**{str(name): value for name, value in document.items()})
        _check(config)
    except ValidationError as error:
        raise InputError(f"{file}: {_said(error)}") from None
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{file}: values must be plain YAML, numbers finite ({error})") from None
    here = file.parent
    return config.model_copy(
        update={"caches": [here / path for path in config.caches], "out": config.out and here / config.out}
    )


def check_trial(config: SweepConfig, caches: Sequence[FeatureCache], values: Values) -> BaseModel:
    """The validated settings of a trial that leaves rows to score it by.

    Raises:
        InputError: settings that the method does not take, or no rows to validate on.
    """
    settings = validated(find_method(config.method).settings, merged(config.settings, values))
    # Held-out rows are no pairs, and class means of train would be means of them too.
    held = holds_out(settings) and config.scored_as not in (INSTANCE, ZERO_SHOT)
    for cache in caches:
        if not has_val(cache) and not held:
            raise no_val(cache, config.method if config.scored_as not in (INSTANCE, ZERO_SHOT) else "")
    return settings


def check_trials(config: SweepConfig, caches: Sequence[FeatureCache]) -> None:
    """Refuse a sweep of which no trial can be trained and scored, before anything is written.

    Raises:
        InputError: what is wrong with the first.
    """
    if config.search != "tpe":
        trials = config.listed()
    elif any(name in HOLDING for name in config.space):
        return
    else:
        trials = [{}]
    problem = None
    for values in trials:
        try:
            check_trial(config, caches, values)
        except InputError as error:
            problem = problem or error
        else:
            return
    if problem:
        raise problem


def _check(config: SweepConfig) -> None:
    method = find_method(config.method)
    validated(method.settings, config.settings)
    _check_measure(config)
    known = method.settings.model_fields
    for name in config.space:
        root = name.partition(".")[0]
        if root not in known:
            close = difflib.get_close_matches(root, known, n=3) or sorted(known)
            raise InputError(f"space.{name}: unknown setting of {method.name}: did you mean {', '.join(close)}?")
        if root in COMPARED_BY:
            raise InputError(f"space.{name}: trials with different {root} are not comparable: give it under settings")
        if name in config.settings:
            raise InputError(f"{name} is under settings and under space: leave it in one of them")
    if len(set(config.seeds)) < len(config.seeds) or min(config.seeds) < 0:
        raise InputError(f"seeds={config.seeds}: list whole numbers of 0 or more, each once")
    if config.search == "grid" and config.trials is not None:
        raise InputError("a grid tries every combination: `trials` is for search: random and tpe")
    if config.search != "tpe" and config.storage is not None:
        raise InputError("`storage` is for search: tpe; the others need no database")
    if config.search == "tpe":
        read_space(config.space)
    else:
        config.listed()


def _check_measure(config: SweepConfig) -> None:
    if config.protocol is not None:
        check_protocol(config.protocol)
    if not METRIC.fullmatch(config.measure):  # one of another protocol is refused once the caches are open
        raise InputError(f"metric={config.measure!r}: write it as `xfeat eval` does: mAP@all, R@1, nDCG@50, MedR, ...")


def _load(file: Path) -> dict[str, Any]:
    document = load_yaml(file, str(file))
    if not isinstance(document, dict):
        raise InputError(f"{file} must hold a mapping with method, caches and space")
    return document


def _numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _numbers(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_numbers(inner) for inner in value]
    return float(value) if isinstance(value, str) and EXPONENT.fullmatch(value) else value


def _said(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        fields = SweepConfig.model_fields
        close = difflib.get_close_matches(name, fields, n=3) or list(fields)
        return f"unknown entry {name!r}: did you mean {', '.join(close)}?"
    if first["type"] == "missing":
        return f"{name!r} is missing"
    return f"{name}={first['input']!r}: {first['msg'].lower()}"
