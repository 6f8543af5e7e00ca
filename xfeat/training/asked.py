"""What an evaluation is to be, and what that means for the caches it is on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.evaluation.domain import chosen_classes
from xfeat.evaluation.gain import Gain
from xfeat.evaluation.instance import INSTANCE, Missing
from xfeat.evaluation.protocols import CATEGORY, MULTI_LABEL
from xfeat.evaluation.reid import RE_ID
from xfeat.evaluation.ties import Cut, Denominator
from xfeat.evaluation.unseen import ZERO_SHOT_RETRIEVAL, GalleryClasses
from xfeat.evaluation.zero_shot import ZERO_SHOT
from xfeat.samples.labels import class_order
from xfeat.training.embedded_rows import Embeddings
from xfeat.training.sspc_store import Weights

PROTOCOLS = (CATEGORY, MULTI_LABEL, INSTANCE, RE_ID, ZERO_SHOT, ZERO_SHOT_RETRIEVAL)


@dataclass(frozen=True)
class Asked:
    """What an evaluation is to be.

    Attributes:
        split: of the rows.
        protocol: one of ``PROTOCOLS``; None: what suits the run.
        relevance: of the multi-label protocol; None: the run's.
        missing: of the instance protocol, see `evaluate_instances`.
        prompts: of the zero-shot protocol, see `embed_zero_shot`; None: class means.
        means_from: the split that class means are of.
        weights: which, of a run that has two sets.
        classes: keep rows of these only, see `chosen_classes`; None keeps all. Of features as they are under the
            zero-shot-retrieval protocol: the classes that count as unseen.
        on: evaluate on these caches instead of the run's own.
        modalities: of the run, those that are evaluated; None: all.
        allow_changed: take caches that changed since the training.
        gallery: sample so many instances, with a fixed seed, under the instance protocol; None takes all.
        gallery_classes: of the zero-shot-retrieval protocol, see `evaluate_unseen`; None: unseen ones.
        shots: of the re-id protocol, see `evaluate_reid`; None ranks the whole gallery.
        trials: of the re-id protocol with ``shots``; None: 10.
        cuts: the K of metrics, of the category and multi-label protocols (None among them: all ranks), instance and
            re-id; None: the protocol's.
        denominator: of average precision at a cut, see `evaluate`; None: ``hits``.
        gain: of the multi-label protocol's nDCG, see `evaluate`; None: ``exponential``.
        double: compute scores in float64 instead of float32.

    Raises:
        InputError: an unknown word, or something that another protocol is needed for.
    """

    split: str = "test"
    protocol: str | None = None
    relevance: str | None = None
    missing: Missing = "skip"
    prompts: FeatureCache | None = None
    means_from: str = "train"
    weights: Weights = "kept"
    classes: str | Sequence[str] | None = None
    on: Sequence[FeatureCache] | None = None
    modalities: Sequence[str] | None = None
    allow_changed: bool = False
    gallery: int | None = None
    gallery_classes: GalleryClasses | None = None
    shots: int | None = None
    trials: int | None = None
    cuts: Sequence[Cut] | None = None
    denominator: Denominator | None = None
    gain: Gain | None = None
    double: bool = False

    def __post_init__(self) -> None:
        if self.protocol is not None:
            check_protocol(self.protocol)
        for option, given, protocol in (
            ("--gallery-shots", self.shots is not None, RE_ID),
            ("--trials", self.trials is not None, RE_ID),
            ("--gallery-classes", self.gallery_classes is not None, ZERO_SHOT_RETRIEVAL),
        ):
            if given and self.protocol != protocol:
                raise InputError(f"{option} is for --protocol {protocol}: give both")
        for option, word, words in (
            ("--denominator", self.denominator, get_args(Denominator)),
            ("--gain", self.gain, get_args(Gain)),
        ):
            if word is not None and word not in words:
                raise InputError(f"{option} {word}: choose {' or '.join(words)}")
        if self.trials is not None and self.shots is None:
            raise InputError("--trials draws galleries anew: give --gallery-shots N too")
        if self.trials is not None and self.trials < 1:
            raise InputError(f"--trials {self.trials}: choose a number of 1 or more")


def check_protocol(name: str) -> None:
    """Refuse a name that is no protocol's.

    Raises:
        InputError: says which there are.
    """
    if name not in PROTOCOLS:
        raise InputError(f"unknown protocol {name}: choose one of {', '.join(PROTOCOLS)}")


def started(caches: Sequence[FeatureCache], protocol: str | None) -> Embeddings:
    """Embeddings to be filled in, of the protocol that is named or that the caches' labels suggest.

    Raises:
        InputError: an unknown protocol.
    """
    several = any(cache.manifest.label_kind == "multi" for cache in caches)
    if protocol is not None:
        check_protocol(protocol)
    return Embeddings(multi_label=several, protocol=protocol or (MULTI_LABEL if several else CATEGORY))


def choose_classes(
    found: Embeddings,
    choice: str | Sequence[str] | None,
    seen: Sequence[str],
    caches: Iterable[FeatureCache],
    gallery_classes: GalleryClasses,
) -> None:
    """Write down the classes that rows are kept of, and those that count as unseen.

    Args:
        found: of a protocol.
        choice: see `chosen_classes`; None keeps all.
        seen: classes that a run was trained on; none where there is no run, or its classes are not known.
        caches: whose classes are meant.
        gallery_classes: of the zero-shot-retrieval protocol.

    Raises:
        InputError: as of `chosen_classes`.
    """
    if choice is None:
        return
    names = chosen_classes(choice, class_order(name for cache in caches for name in cache.manifest.classes), seen)
    if found.protocol == ZERO_SHOT_RETRIEVAL:
        found.unseen = names
    if found.protocol != ZERO_SHOT_RETRIEVAL or gallery_classes == "unseen":
        found.chosen = names


def by_modality(caches: Sequence[FeatureCache]) -> dict[str, FeatureCache]:
    """Caches by modality.

    Raises:
        InputError: two of one modality.
    """
    names = [cache.manifest.modality for cache in caches]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two caches hold modality {twice[0]!r}: give one per modality")
    return dict(zip(names, caches, strict=True))
