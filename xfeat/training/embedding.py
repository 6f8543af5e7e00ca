"""Embeddings of a run's modalities, with labels or pair keys: what evaluation works on."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from xfeat.cache import FeatureCache, Manifest
from xfeat.errors import InputError
from xfeat.evaluation.domain import SEEN, UNSEEN, check_like
from xfeat.evaluation.instance import INSTANCE
from xfeat.evaluation.reid import RE_ID
from xfeat.evaluation.unseen import ZERO_SHOT_RETRIEVAL, GalleryClasses
from xfeat.evaluation.zero_shot import ZERO_SHOT
from xfeat.training.asked import by_modality, choose_classes, started
from xfeat.training.classes import union_of_classes
from xfeat.training.embedded_rows import Blocks, Embeddings, Part, embed_parts
from xfeat.training.growth import untrained_classes
from xfeat.training.held_out import VAL, held_out_mask
from xfeat.training.loading import load_branch
from xfeat.training.run import SSPC, Run, RunConfig, Source
from xfeat.training.sspc_store import Weights
from xfeat.training.store import load_note

__all__ = ["Blocks", "Embeddings", "embed_run", "embed_zero_shot"]

ANY_CLASS = (RE_ID, ZERO_SHOT, ZERO_SHOT_RETRIEVAL)  # protocols for classes that a run need not know
PAIRED = (SSPC,)  # methods whose runs are evaluated by instances if nothing else is said


def embed_run(
    path: Path,
    split: str,
    device: torch.device,
    *,
    allow_changed: bool = False,
    blocks: Blocks | None = None,
    protocol: str | None = None,
    weights: Weights = "kept",
    classes: str | Sequence[str] | None = None,
    on: Sequence[FeatureCache] | None = None,
    gallery_classes: GalleryClasses = "unseen",
    modalities: Sequence[str] | None = None,
) -> Embeddings:
    """Embed the rows of one split of every modality of a run.

    Protocols of labels leave out rows without one; a row of several classes keeps those that the run knows. The
    instance protocol needs pair keys and no labels. The zero-shot-retrieval protocol asks for the classes that the run
    was not trained on. Where a cache has no rows of split ``val``, those that training held out stand for them.

    Args:
        path: the run directory.
        split: for example ``test``.
        device: where to compute.
        allow_changed: take caches whose samples or features changed since the run was trained.
        blocks: rows that were read for other runs.
        protocol: one of `xfeat.training.asked.PROTOCOLS`; None: instance for a run of a method that trains on pairs,
            otherwise what the labels suggest.
        weights: which, of a run that has weights as they are and averaged.
        classes: keep rows of these classes only: ``seen`` or ``unseen`` by the run's training, or names (see
            `chosen_classes`, `rows_of_classes`).
        on: other caches than the run's own, of the same modalities and features; modalities without one are left out.
        gallery_classes: of the zero-shot-retrieval protocol: ``unseen`` keeps rows of these classes only, ``all`` every
            row.
        modalities: those of the run that are embedded; None: all.

    Returns:
        Vectors (n, O) float32 by modality; labels stand for the classes that the run knows, with ``on`` and under the
        re-id and zero-shot protocols for all of the caches'.

    Raises:
        InputError: no such run, a branch or cache that is missing, changed or not fit for the run, labels, pair keys
            or weights that are needed and not there, or no rows that are asked for.
    """
    run = Run(path)
    config = run.load_config()
    opened = _caches(run, config, on, modalities, allow_changed=allow_changed)
    if protocol is None and (config.method in PAIRED or not config.classes):  # without labels there are keys alone
        protocol = INSTANCE
    found = started(list(opened.values()), protocol)
    anything = bool(on) or found.protocol in ANY_CLASS
    if found.protocol != INSTANCE:
        found.classes = ([] if anything else config.classes) or union_of_classes(list(opened.values()))
    if found.protocol == ZERO_SHOT_RETRIEVAL:
        if classes not in (None, UNSEEN):
            raise InputError(f"protocol {ZERO_SHOT_RETRIEVAL} is on the classes that the run did not see: no --classes")
        classes = UNSEEN
    choose_classes(found, classes, _seen(run, config, classes), opened.values(), gallery_classes)
    if (trained := config.settings.get("classes")) and not (classes or on):
        found.notes.append(f"trained on {len(trained)} of {len(config.classes)} classes: `xfeat domains` splits them")
    held = _held_out(run, config, opened, found) if split == VAL and not on else {}
    return _embed(run, config, opened, split, device, found, weights, blocks or Blocks(), held, elsewhere=anything)


def embed_zero_shot(
    path: Path,
    split: str,
    device: torch.device,
    *,
    prompts: FeatureCache | None = None,
    means_from: str = "train",
    allow_changed: bool = False,
    blocks: Blocks | None = None,
    weights: Weights = "kept",
    classes: str | Sequence[str] | None = None,
    on: Sequence[FeatureCache] | None = None,
    modalities: Sequence[str] | None = None,
) -> tuple[Embeddings, Embeddings]:
    """Embed a run's queries, and what class prototypes are made of, for zero-shot classification.

    Args:
        path: the run directory.
        split: of the queries.
        device: where to compute.
        prompts: labelled rows of one modality, of any split, that make prototypes; the other modalities are queries.
        means_from: without prompts, the split whose rows do, in every modality, of unseen classes too.
        allow_changed: see `embed_run`.
        blocks: see `embed_run`.
        weights: see `embed_run`.
        classes: queries and prototypes of these classes only.
        on: see `embed_run`; prototypes of a split are then made of these caches' rows.
        modalities: of the queries, and of the rows of a split that make prototypes; None: all.

    Returns:
        Queries and sources of prototypes, whose labels stand for the same classes.

    Raises:
        InputError: as of `embed_run`.
    """
    run, blocks = Run(path), blocks or Blocks()
    config = run.load_config()
    opened = _caches(run, config, on, modalities, allow_changed=allow_changed)
    sources = opened
    if prompts is not None:
        sources = _caches(run, config, [prompts])
        opened = {name: cache for name, cache in opened.items() if name not in sources}
    everything = [*opened.values(), *(sources.values() if prompts else ())]
    seen, names = _seen(run, config, classes), union_of_classes(everything)
    made = []
    for caches, rows in ((opened, split), (sources, None if prompts else means_from)):
        found = started(list(caches.values()), ZERO_SHOT)
        found.classes = names
        choose_classes(found, classes, seen, everything, "unseen")
        made.append(_embed(run, config, caches, rows, device, found, weights, blocks, {}, elsewhere=True))
    return made[0], made[1]


def _embed(
    run: Run,
    config: RunConfig,
    caches: Mapping[str, FeatureCache],
    split: str | None,
    device: torch.device,
    found: Embeddings,
    weights: Weights,
    blocks: Blocks,
    held: Mapping[str, NDArray[np.bool_]],
    *,
    elsewhere: bool,
) -> Embeddings:
    """Embed rows of caches by the run's branches; ``elsewhere``: the classes are not those of the run."""
    found.relevance = str(config.settings.get("relevance") or "any")
    parts = {}
    for name, cache in caches.items():
        branch = load_branch(run.branch_file(name), weights)
        if branch.wants_tokens and cache.manifest.token_dim != branch.note["in_dim"]:
            raise InputError(
                f"{cache.path} has tokens of {cache.manifest.token_dim} dimensions, the {name} branch of {run.path} "
                f"reads tokens of {branch.note['in_dim']}: extract them as those of the run's cache"
            )
        parts[name] = Part(cache, branch, held.get(name))
        if "untrained_classes" in branch.note and not elsewhere:
            found.untrained[name] = untrained_classes(run, config.classes, branch.note)
        found.weights = str(branch.note.get("shown", ""))
        found.both_weights = bool(found.weights and branch.note.get("settings", {}).get("ema"))
    return embed_parts(parts, split, device, found, blocks)


def _held_out(
    run: Run, config: RunConfig, caches: Mapping[str, FeatureCache], found: Embeddings
) -> dict[str, NDArray[np.bool_]]:
    """Rows that training held out, of modalities without a split ``val``; ``found`` says so."""
    held = {}
    for name, cache in caches.items():
        mask = held_out_mask(run, config, cache, load_note(run.branch_file(name).with_suffix(".json")))
        if mask is not None:
            held[name], found.held_out[name] = mask, int(mask.sum())
    if held and found.protocol == INSTANCE:
        raise InputError(
            f"{caches[next(iter(held))].path}: no rows in split 'val'; every modality held out rows of its own, which "
            "are no pairs: give the caches a val split"
        )
    if held:
        counts = ", ".join(f"{name} {count:,}" for name, count in found.held_out.items())
        found.notes.append(f"split val: rows of split train that training held out ({counts})")
    return held


def _seen(run: Run, config: RunConfig, choice: str | Sequence[str] | None) -> list[str]:
    """Classes that the run was trained on, where the choice is by that: those of which some branch had rows."""
    if choice not in (SEEN, UNSEEN):
        return []
    if restricted := config.settings.get("classes"):
        return list(restricted)
    notes = [load_note(run.branch_file(name).with_suffix(".json")) for name in config.modalities]
    if not all("untrained_classes" in note for note in notes):
        return config.classes
    never = set.intersection(*(set(untrained_classes(run, config.classes, note)) for note in notes))
    return [name for name in config.classes if name not in never]


def _caches(
    run: Run,
    config: RunConfig,
    on: Sequence[FeatureCache] | None,
    modalities: Sequence[str] | None = None,
    *,
    allow_changed: bool = False,
) -> dict[str, FeatureCache]:
    """The run's caches by modality, all or those of some, or those to evaluate it on instead."""
    for name in modalities or ():
        if name not in config.modalities:
            raise InputError(f"{run.path} has no modality {name!r}: there is {', '.join(config.modalities)}")
    wanted = [name for name in config.modalities if modalities is None or name in modalities]
    if not on:
        return {name: run.open_cache(name, config.modalities[name], allow_changed=allow_changed) for name in wanted}
    given = by_modality(on)
    for name, cache in given.items():
        if name not in config.modalities:
            raise InputError(f"{cache.path} holds {name}, {run.path} was trained on {', '.join(config.modalities)}")
        source = config.modalities[name]
        check_like(str(cache.path), cache.manifest, _trained(run, name, source), source.fingerprint, source.dim)
    return {name: given[name] for name in wanted if name in given}


def _trained(run: Run, name: str, source: Source) -> Manifest | None:
    """Manifest of the cache that a modality was trained on; None where that is gone."""
    try:
        return run.open_cache(name, source, allow_changed=True).manifest
    except InputError:
        return None
