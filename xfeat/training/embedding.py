"""Embeddings of a run's modalities, or of raw features, with labels or pair keys: what evaluation works on."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from xfeat.cache import FeatureCache, Manifest
from xfeat.errors import InputError
from xfeat.evaluation.domain import check_like, chosen_classes
from xfeat.evaluation.instance import INSTANCE
from xfeat.evaluation.protocols import CATEGORY, MULTI_LABEL
from xfeat.evaluation.zero_shot import ZERO_SHOT
from xfeat.samples.labels import class_order
from xfeat.training.classes import similarity_notes, union_of_classes
from xfeat.training.embedded_rows import Blocks, Embeddings, Part, embed_parts
from xfeat.training.growth import untrained_classes
from xfeat.training.loading import load_branch
from xfeat.training.run import SSPC, Run, RunConfig, Source
from xfeat.training.sspc_store import Weights

__all__ = ["PROTOCOLS", "Blocks", "Embeddings", "embed_raw", "embed_raw_zero_shot", "embed_run", "embed_zero_shot"]

PROTOCOLS = (CATEGORY, MULTI_LABEL, INSTANCE, ZERO_SHOT)
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
) -> Embeddings:
    """Embed the rows of one split of every modality of a run.

    Protocols of labels leave out rows without one; a row of several classes keeps those that the run knows. The
    instance protocol needs pair keys and no labels.

    Args:
        path: the run directory.
        split: for example ``test``.
        device: where to compute.
        allow_changed: take caches whose samples or features changed since the run was trained.
        blocks: rows that were read for other runs.
        protocol: one of ``PROTOCOLS``; None: instance for a run of a method that trains on pairs, otherwise what the
            labels suggest.
        weights: which, of a run that has weights as they are and averaged.
        classes: keep rows of these classes only: ``seen`` or ``unseen`` by the run's training, or names (see
            `chosen_classes`, `rows_of_classes`).
        on: other caches than the run's own, of the same modalities and features; modalities without one are left out.

    Returns:
        Vectors (n, O) float32 by modality; labels stand for the classes that the run knows, with ``on`` and under the
        zero-shot protocol for all of the caches'.

    Raises:
        InputError: no such run, a branch or cache that is missing, changed or not fit for the run, labels, pair keys
            or weights that are needed and not there, or no rows that are asked for.
    """
    run = Run(path)
    config = run.load_config()
    opened = _caches(run, config, on, allow_changed=allow_changed)
    if protocol is None and config.method in PAIRED:
        protocol = INSTANCE
    found = _started(list(opened.values()), protocol)
    if found.protocol != INSTANCE:
        known = [] if on or found.protocol == ZERO_SHOT else config.classes
        found.classes = known or union_of_classes(list(opened.values()))
    found.chosen = _chosen(classes, config, opened.values())
    if (trained := config.settings.get("classes")) and not (classes or on):
        found.notes.append(f"trained on {len(trained)} of {len(config.classes)} classes: `xfeat domains` splits them")
    return _embed(run, config, opened, split, device, found, weights, blocks or Blocks(), elsewhere=bool(on))


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

    Returns:
        Queries and sources of prototypes, whose labels stand for the same classes.

    Raises:
        InputError: as of `embed_run`.
    """
    run, blocks = Run(path), blocks or Blocks()
    config = run.load_config()
    opened = _caches(run, config, on, allow_changed=allow_changed)
    sources = opened
    if prompts is not None:
        sources = _caches(run, config, [prompts])
        opened = {name: cache for name, cache in opened.items() if name not in sources}
    everything = [*opened.values(), *(sources.values() if prompts else ())]
    chosen, names = _chosen(classes, config, everything), union_of_classes(everything)
    made = []
    for caches, rows in ((opened, split), (sources, None if prompts else means_from)):
        found = _started(list(caches.values()), ZERO_SHOT)
        found.classes, found.chosen = names, chosen
        made.append(_embed(run, config, caches, rows, device, found, weights, blocks, elsewhere=True))
    return made[0], made[1]


def embed_raw(
    caches: Sequence[FeatureCache],
    split: str,
    *,
    protocol: str | None = None,
    classes: str | Sequence[str] | None = None,
) -> Embeddings:
    """Features as they are, as vectors of one space; they must have one width.

    Args:
        caches: one per modality.
        split: for example ``test``.
        protocol: one of ``PROTOCOLS``; None: what the labels suggest.
        classes: keep rows of the classes of these names only.

    Raises:
        InputError: two caches of one modality, caches that share no class, labels or pair keys that are needed and not
            there, or no rows that are asked for.
    """
    opened = _by_modality(caches)
    found = _started(caches, protocol)
    if found.protocol != INSTANCE:
        found.classes = union_of_classes(caches)
        found.notes = similarity_notes(caches)
    found.chosen = _chosen(classes, None, caches)
    parts = {name: Part(cache, None) for name, cache in opened.items()}
    return embed_parts(parts, split, torch.device("cpu"), found, Blocks())


def embed_raw_zero_shot(
    caches: Sequence[FeatureCache],
    split: str,
    *,
    prompts: FeatureCache | None = None,
    means_from: str = "train",
    classes: str | Sequence[str] | None = None,
) -> tuple[Embeddings, Embeddings]:
    """As `embed_zero_shot`, of features as they are."""
    opened, blocks = _by_modality(caches), Blocks()
    sources = opened if prompts is None else {prompts.manifest.modality: prompts}
    everything = [*caches, *([prompts] if prompts else ())]
    chosen, names = _chosen(classes, None, everything), union_of_classes(everything)
    made = []
    for some, rows in ((opened, split), (sources, None if prompts else means_from)):
        found = _started(list(some.values()), ZERO_SHOT)
        found.classes, found.chosen = names, chosen
        parts = {name: Part(cache, None) for name, cache in some.items()}
        made.append(embed_parts(parts, rows, torch.device("cpu"), found, blocks))
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
        parts[name] = Part(cache, branch)
        if "untrained_classes" in branch.note and not elsewhere:
            found.untrained[name] = untrained_classes(run, config.classes, branch.note)
        found.weights = str(branch.note.get("shown", ""))
        found.both_weights = bool(found.weights and branch.note.get("settings", {}).get("ema"))
    return embed_parts(parts, split, device, found, blocks)


def _started(caches: Sequence[FeatureCache], protocol: str | None) -> Embeddings:
    several = any(cache.manifest.label_kind == "multi" for cache in caches)
    if protocol is not None and protocol not in PROTOCOLS:
        raise InputError(f"unknown protocol {protocol}: choose one of {', '.join(PROTOCOLS)}")
    return Embeddings(multi_label=several, protocol=protocol or (MULTI_LABEL if several else CATEGORY))


def _chosen(
    choice: str | Sequence[str] | None, config: RunConfig | None, caches: Iterable[FeatureCache]
) -> list[str] | None:
    if choice is None:
        return None
    seen = config.settings.get("classes") or config.classes if config else []
    return chosen_classes(choice, class_order(name for cache in caches for name in cache.manifest.classes), seen)


def _by_modality(caches: Sequence[FeatureCache]) -> dict[str, FeatureCache]:
    names = [cache.manifest.modality for cache in caches]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two caches hold modality {twice[0]!r}: give one per modality")
    return dict(zip(names, caches, strict=True))


def _caches(
    run: Run, config: RunConfig, on: Sequence[FeatureCache] | None, *, allow_changed: bool = False
) -> dict[str, FeatureCache]:
    """The run's caches by modality, or those to evaluate it on instead."""
    if not on:
        return {
            name: run.open_cache(name, source, allow_changed=allow_changed)
            for name, source in config.modalities.items()
        }
    given = _by_modality(on)
    for name, cache in given.items():
        if name not in config.modalities:
            raise InputError(f"{cache.path} holds {name}, {run.path} was trained on {', '.join(config.modalities)}")
        source = config.modalities[name]
        check_like(str(cache.path), cache.manifest, _trained(run, name, source), source.fingerprint, source.dim)
    return {name: given[name] for name in config.modalities if name in given}


def _trained(run: Run, name: str, source: Source) -> Manifest | None:
    """Manifest of the cache that a modality was trained on; None where that is gone."""
    try:
        return run.open_cache(name, source, allow_changed=True).manifest
    except InputError:
        return None
