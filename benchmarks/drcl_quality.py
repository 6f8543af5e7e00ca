"""Retrieval quality of DRCL on open data: the full method against each ablation, and prior against prior."""

import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from open_data import SETS, semantic_matching
from torch import Tensor

import xfeat.losses.generalized_cross_entropy  # noqa: F401
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.evaluation.protocols import evaluate
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.training.drcl import train
from xfeat.training.drcl_group import train_group
from xfeat.training.embedding import embed_run
from xfeat.training.group import member_path
from xfeat.training.resident import ResidentRows
from xfeat.training.run import Run
from xfeat.training.store import load_note

gce = sys.modules["xfeat.losses.generalized_cross_entropy"]  # the package's name is the function's
ABLATIONS: dict[str, dict[str, Any]] = {
    "full": {},
    "prior: orthogonal": {"prior": "orthogonal"},
    "prior: ridge": {"prior": "ridge"},
    "prior: the lowest score's": {"prior": "worst"},
    "prior: last epoch's W": {"spl_keep": "last"},
    "no MRR (alpha = beta = 0)": {"alpha": 0.0, "beta": 0.0},
    "no structure (alpha = 0)": {"alpha": 0.0},
    "no regression (beta = 0)": {"beta": 0.0},
    "no FA (gamma = 1)": {"gamma": 1.0},
    "CE for GCE (q = 0)": {"gce": False},
    "q to 1": {"q_max": 1.0},
    "embedding z": {"embedding": "unit"},
    "embedding z, no MRR": {"embedding": "unit", "alpha": 0.0, "beta": 0.0},
    "logits unscaled": {"logit_scale": 1.0},
    "no input noise": {"input_noise": 0.0},
    "no dropout": {"dropout": 0.0},
    "two hidden layers": {"layers": 2},
    "no linear skip": {"skip": False},
    "no bias": {"bias_length": 0.0},
}


def test_score(run: Path) -> float:
    """Mean mAP@all over ordered pairs on test rows."""
    return evaluate(embed_run(run, "test", torch.device("cpu")).items, cuts=(None,)).mean["mAP@all"]


def scores(
    caches: Sequence[FeatureCache], given: Mapping[str, Any], seeds: Sequence[int], work: Path
) -> tuple[list[float], float]:
    """Score of every seed, and the seconds that all took together."""
    started = time.perf_counter()
    train_group(caches, work, DrclSettings(**given), seeds)
    seconds = time.perf_counter() - started
    return [test_score(member_path(work, seed)) for seed in seeds], seconds


def cell(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.4f} +- {statistics.stdev(values):.4f}"


def print_quality(data: Path, sets: Sequence[str], seeds: Sequence[int], names: Sequence[str]) -> None:
    """The table of ablations: mean and deviation over the first three seeds and over all, and which are above full."""
    for name in sets:
        with tempfile.TemporaryDirectory() as scratch:
            work = Path(scratch)
            caches = SETS[name](data, work / "cache")
            print(f"\n{name}: {len(caches)} modalities; semantic matching {semantic_matching(caches):.4f}\n")
            print("| variant | seeds 0-2 | all seeds | against full | seconds for all |")
            print("| --- | --- | --- | --- | --- |")
            full: list[float] = []
            for number, variant in enumerate(names):
                given = dict(ABLATIONS[variant])
                if given.get("prior") == "worst":
                    given["prior"] = f"candidate:{_worst(work / 'run0' / f'seed{seeds[0]}')}"
                found, seconds = scores(caches, given, seeds, work / f"run{number}")
                full = full or found
                print(
                    f"| {variant} | {cell(found[:3])} | {cell(found)} | {_against(found, full)} | {seconds:.0f} |",
                    flush=True,
                )


class _DroppedBatch(ResidentRows):
    """An epoch without its last incomplete batch."""

    def batches(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        order = torch.randperm(len(self), generator=generator)
        return self.index[order].split(batch_size)[: len(self) // batch_size]


def print_reference(data: Path, sets: Sequence[str], seeds: Sequence[int]) -> None:
    """What three habits of the reference code change at the shipped defaults, one seed after another."""
    divided = mock.patch.object(gce, "_each", lambda log_p, q: (1 - log_p.exp() ** q) / q)
    dropped = mock.patch.object(ResidentRows, "batches", _DroppedBatch.batches)
    habits = (
        ("as shipped", nullcontext(), {}),
        ("last epoch's W", nullcontext(), {"spl_keep": "last"}),
        ("last incomplete batch dropped", dropped, {}),
        ("batches of 1,024, the incomplete one dropped", dropped, {"batch_size": 1024}),
        ("(1 - p^q) / q at q = 0", divided, {}),
    )
    print("| set | habit | mAP@all |\n| --- | --- | --- |")
    for name in sets:
        with tempfile.TemporaryDirectory() as scratch:
            caches = SETS[name](data, Path(scratch) / "cache")
            for number, (habit, patch, given) in enumerate(habits):
                runs = [Path(scratch) / f"{number}-{seed}" for seed in seeds]
                try:
                    with patch:
                        for seed, run in zip(seeds, runs, strict=True):
                            train(caches, run, DrclSettings(**given), seed=seed)
                    print(f"| {name} | {habit} | {cell([test_score(run) for run in runs])} |", flush=True)
                except (InputError, ValueError, ZeroDivisionError, RuntimeError) as error:
                    print(f"| {name} | {habit} | fails: {str(error)[:90]} |", flush=True)


def _worst(run: Path) -> str:
    candidates = load_note(Run(run).prior_note)["candidates"]
    return min(candidates, key=lambda name: float(candidates[name]["score"]))


def _against(found: Sequence[float], full: Sequence[float]) -> str:
    """Mean difference of the same seeds with its standard error."""
    if found is full:
        return ""
    differences = [one - other for one, other in zip(found, full, strict=True)]
    error = statistics.stdev(differences) / len(differences) ** 0.5
    return f"{statistics.mean(differences):+.4f} +- {error:.4f}"
