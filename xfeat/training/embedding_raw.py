"""Features as they are, with labels or pair keys, as if they were embeddings."""

from collections.abc import Sequence

import torch

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.evaluation.domain import SEEN, UNSEEN
from xfeat.evaluation.instance import INSTANCE
from xfeat.evaluation.unseen import ZERO_SHOT_RETRIEVAL, GalleryClasses
from xfeat.evaluation.zero_shot import ZERO_SHOT
from xfeat.training.asked import by_modality, choose_classes, started
from xfeat.training.classes import similarity_notes, union_of_classes
from xfeat.training.embedded_rows import Blocks, Embeddings, Part, embed_parts


def embed_raw(
    caches: Sequence[FeatureCache],
    split: str,
    *,
    protocol: str | None = None,
    classes: str | Sequence[str] | None = None,
    gallery_classes: GalleryClasses = "unseen",
) -> Embeddings:
    """Features as they are, as vectors of one space; they must have one width.

    Args:
        caches: one per modality.
        split: for example ``test``.
        protocol: one of `xfeat.training.asked.PROTOCOLS`; None: what the labels suggest.
        classes: keep rows of the classes of these names only. Under the zero-shot-retrieval protocol: those that count
            as unseen, as there is no training to tell.
        gallery_classes: see `xfeat.training.embedding.embed_run`.

    Raises:
        InputError: two caches of one modality, caches that share no class, labels, pair keys or names of classes that
            are needed and not there, or no rows that are asked for.
    """
    opened = by_modality(caches)
    found = started(caches, protocol)
    if found.protocol != INSTANCE:
        found.classes = union_of_classes(caches)
        found.notes = similarity_notes(caches)
    if found.protocol == ZERO_SHOT_RETRIEVAL and (classes is None or classes in (SEEN, UNSEEN)):
        raise InputError(f"protocol {ZERO_SHOT_RETRIEVAL} with --raw: name the classes to count as unseen, --classes")
    choose_classes(found, classes, [], caches, gallery_classes)
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
    """As `xfeat.training.embedding.embed_zero_shot`, of features as they are."""
    opened, blocks = by_modality(caches), Blocks()
    sources = opened if prompts is None else {prompts.manifest.modality: prompts}
    everything = [*caches, *([prompts] if prompts else ())]
    names = union_of_classes(everything)
    made = []
    for some, rows in ((opened, split), (sources, None if prompts else means_from)):
        found = started(list(some.values()), ZERO_SHOT)
        found.classes = names
        choose_classes(found, classes, [], everything, "unseen")
        parts = {name: Part(cache, None) for name, cache in some.items()}
        made.append(embed_parts(parts, rows, torch.device("cpu"), found, blocks))
    return made[0], made[1]
