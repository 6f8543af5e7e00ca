"""One more modality joins a CIIM run: against its frozen head and hybrid proxies."""

from pathlib import Path

import torch

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.methods.ciim_settings import CiimSettings
from xfeat.methods.settings import validated
from xfeat.training.ciim import JOIN, CiimOutcome, Work
from xfeat.training.ciim_data import check_caches, read, resolved
from xfeat.training.ciim_store import load_shared
from xfeat.training.classes import listed
from xfeat.training.loop import CHECKPOINT_SECONDS
from xfeat.training.run import Run, RunConfig, source_of
from xfeat.training.store import is_done, load_note


def add(
    cache: FeatureCache,
    run_path: Path,
    *,
    device: torch.device | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> CiimOutcome:
    """Train the branch and proxies of a new modality against a run's frozen head and hybrid proxies.

    Neither the shared file nor another branch is touched, and no other modality's features are read.

    Args:
        cache: of the new modality.
        run_path: a finished CIIM run.
        device: where to train; the CPU by default.
        checkpoint_seconds: least time between two checkpoints.

    Raises:
        InputError: no such run, the modality is in it already, or classes or settings that do not fit.
    """
    run, device = Run(run_path), device or torch.device("cpu")
    check_joins(run, run.load_config(), cache)
    with run.locked():
        config = run.load_config()
        check_joins(run, config, cache)  # again: another process may have added one meanwhile
        settings = validated(CiimSettings, config.settings)
        if not settings.hybrid:
            raise InputError(f"{run_path} was trained with hybrid=0, without proxies to join: train all caches again")
        shared, about = load_shared(run.shared_file)
        # Separation tells modalities apart: one alone cannot be.
        settings = settings.model_copy(update={"separation": 0.0})
        check_caches([cache], config.classes, settings.memory, device)
        data = read([cache], config.classes, settings, config.seed, device)
        filled = resolved(settings, data)
        modality = cache.manifest.modality
        config.modalities[modality] = source_of(cache, run_path, added=True)
        work = Work(run, config, filled, about["classes"], device, checkpoint_seconds)
        best = work.fit(data, (modality, JOIN), modality, shared)
        notes = work.save(data, best, about["sha256"], JOIN)
        # The modality belongs to the run from here on; a kill before this line resumes with the same command.
        run.save_config(config)
        run.checkpoint_file(modality, JOIN).unlink(missing_ok=True)
    return CiimOutcome(notes, True)


def check_joins(run: Run, config: RunConfig, cache: FeatureCache) -> None:
    """Refuse a modality that cannot join.

    Raises:
        InputError: it is there already, has other classes besides, or the run is not finished or not whole.
    """
    modality = cache.manifest.modality
    if modality in config.modalities:
        raise InputError(f"{run.path} has a modality {modality!r} already: import or extract with another --modality")
    unfinished = [name for name in config.modalities if not is_done(run.branch_file(name))]
    if unfinished or not is_done(run.shared_file):
        lacking = f"branch of {', '.join(unfinished)}" if unfinished else run.shared_file.name
        raise InputError(f"{run.path} is not finished (no whole {lacking}): first `xfeat train ... --resume`")
    shared = load_note(run.shared_file.with_suffix(".json"))["sha256"]
    for name in config.modalities:
        if load_note(run.branch_file(name).with_suffix(".json")).get("shared") != shared:
            raise InputError(
                f"{run.branch_file(name)} was trained with another {run.shared_file.name}: put its own back"
            )
    known, unknown = set(config.classes), [name for name in cache.manifest.classes if name not in config.classes]
    if unknown and not known.isdisjoint(cache.manifest.classes):
        raise InputError(
            f"{cache.path}: the run does not know {listed([repr(name) for name in unknown], 60)}, nor has it proxies "
            "for them: leave such rows out, or train again with all caches"
        )
