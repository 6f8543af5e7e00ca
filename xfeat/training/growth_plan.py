"""What grown caches teach a run: which classes are new, to which branches. Checked before anything is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.samples.labels import class_order
from xfeat.training.classes import listed, similar_names
from xfeat.training.grown_rows import GrownCache, grown_cache
from xfeat.training.growth import classes_then, untrained_classes
from xfeat.training.run import Run, RunConfig
from xfeat.training.store import Prior, load_note

ROOM = 60  # characters for a list of classes in a message


@dataclass(frozen=True)
class GrowthPlan:
    """What will be trained.

    Attributes:
        classes: of the grown run: those of the run in their order, then those added.
        added: classes that the run does not know.
        caches: grown caches by modality.
        known: classes that each branch had training rows of, by modality.
        learned: classes that each branch will learn, by modality; branches that learn none are not in it.
        notes: what a user should know, one line each.
    """

    classes: list[str]
    added: list[str]
    caches: Mapping[str, GrownCache]
    known: Mapping[str, list[str]]
    learned: Mapping[str, list[str]]
    notes: list[str]

    @property
    def new(self) -> list[str]:
        """Classes that some branch will learn, in the run's order."""
        learned = {name for names in self.learned.values() for name in names}
        return [name for name in self.classes if name in learned]


def plan_growth(run: Run, config: RunConfig, prior: Prior, caches: Sequence[FeatureCache]) -> GrowthPlan:
    """Compare caches with what a run's branches know.

    Args:
        run: finished.
        config: of the run.
        prior: of the run.
        caches: at least one.

    Raises:
        InputError: caches that do not fit the run, teach nothing, or lack classes that their branch knows; more classes
            than the shared space has dimensions.
    """
    grown = _by_modality(run, config, caches)
    added = class_order(name for one in grown.values() for name in one.unknown(config.classes))
    classes = [*config.classes, *added]
    notes = {name: load_note(run.branch_file(name).with_suffix(".json")) for name in config.modalities}
    untrained = {name: set(untrained_classes(run, config.classes, note)) for name, note in notes.items()}
    known = {name: [one for one in config.classes if one not in lacked] for name, lacked in untrained.items()}
    trained = {name: one.trained(classes) for name, one in grown.items()}
    _check_rows(grown, added, trained)
    learned = {}
    for name, there in trained.items():
        if gained := [one for one in classes if one in there and one not in set(known[name])]:
            learned[name] = gained
            _check_rehearsal(grown[name], gained, [one for one in known[name] if one not in there])
    if not learned:
        names = ", ".join(grown)
        raise InputError(f"no new class in {names}: branches know every class that has training rows there")
    if len(classes) > len(prior.weight):
        raise InputError(
            f"no room for {len(added)} more: the shared space of {run.path} has {len(prior.weight)} dimensions (out) "
            f"and {len(config.classes)} classes: train a run anew with --set out={2 * len(classes)} or more"
        )
    return GrowthPlan(classes, added, grown, known, learned, _notes(config, grown, learned, added))


def _by_modality(run: Run, config: RunConfig, caches: Sequence[FeatureCache]) -> dict[str, GrownCache]:
    if not caches:
        raise InputError("no caches given: name at least one")
    grown: dict[str, GrownCache] = {}
    for cache in caches:
        name = cache.manifest.modality
        if name not in config.modalities:
            raise InputError(
                f"{cache.path} holds modality {name!r}, {run.path} has {', '.join(config.modalities)}: "
                "`xfeat add` brings a new modality"
            )
        if name in grown:
            raise InputError(f"two caches hold modality {name!r}: give one per modality")
        if cache.manifest.label_kind == "none":
            raise InputError(f"{cache.path} has no labels: they tell which classes are new")
        note = load_note(run.branch_file(name).with_suffix(".json"))
        grown[name] = grown_cache(run, cache, config.modalities[name], classes_then(run, config.classes, note))
    return grown


def _check_rows(grown: Mapping[str, GrownCache], added: Sequence[str], trained: Mapping[str, set[str]]) -> None:
    there = set().union(*trained.values())
    if bare := [name for name in added if name not in there]:
        where = next(one.cache.path for one in grown.values() if bare[0] in one.cache.manifest.classes)
        raise InputError(
            f"{where}: class {bare[0]!r} is new, but no cache has rows of it in split 'train': give it some, or leave "
            "it out of the manifest"
        )


def _check_rehearsal(grown: GrownCache, gained: Sequence[str], missing: Sequence[str]) -> None:
    if missing:
        raise InputError(
            f"{grown.cache.path} has training rows of {listed(gained, ROOM)} but none of {listed(missing, ROOM)}, "
            f"which the {grown.modality} branch would forget: extract or import the grown manifest as a whole"
        )


def _notes(
    config: RunConfig, grown: Mapping[str, GrownCache], learned: Mapping[str, list[str]], added: Sequence[str]
) -> list[str]:
    notes = [
        f"new class {new!r} and the run's {old!r} count as two classes"
        for new, old in similar_names(added, config.classes)
    ]
    notes += [
        f"{one.cache.path} has no training rows of a class that is new to {name}: it was not used"
        for name, one in grown.items()
        if name not in learned
    ]
    for name in learned:
        if leaked := grown[name].leaked():
            notes.append(f"{leaked:,} test rows of {name} were training rows of the run: test scores will flatter")
    return notes
