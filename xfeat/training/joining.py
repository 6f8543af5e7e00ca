"""Makes one run of branches that were trained apart, by machine or by time, against the same prior."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from xfeat.cache.files import write_text
from xfeat.cache.fingerprint import difference
from xfeat.cache.manifest import MODALITY
from xfeat.errors import InputError
from xfeat.training.grown_rows import held_out_file
from xfeat.training.growth import load_growth
from xfeat.training.prior_files import copy_whole, read_run_prior
from xfeat.training.run import DRCL, ORTHOGONAL, Run, RunConfig, Source
from xfeat.training.store import Prior, is_done, load_note, save_note, sha256
from xfeat.training.whole_folder import whole_folder

JOINED = "joined.json"


@dataclass(frozen=True)
class Joined:
    """What a joining made.

    Attributes:
        prior: note of the prior: ``chosen``, ``score``, ``candidates`` by modality.
        branches: note of each branch by modality.
        origins: the run each modality came from.
        differences: in which words the later runs' seed, versions and settings differ from the first's, by run.
        away: modalities whose cache is not to be found here.
    """

    prior: dict[str, Any]
    branches: dict[str, dict[str, Any]]
    origins: dict[str, Path]
    differences: dict[Path, str]
    away: list[str]


@dataclass(frozen=True)
class _Member:
    run: Run
    config: RunConfig
    prior: Prior
    note: dict[str, Any]

    @property
    def path(self) -> Path:
        return self.run.path


def join(paths: Sequence[Path], out: Path) -> Joined:
    """Put the branches of several finished runs into one. The runs are only read; the new one is there whole or not.

    Branches, candidates, prior and their notes are copied byte for byte. ``config.yaml`` takes seed and settings of the
    first run; modalities of later runs count as added. ``joined.json`` keeps every run's own seed and settings.

    Args:
        paths: two runs or more, of one method, against one prior.
        out: the new run; a folder that does not exist or is empty.

    Raises:
        InputError: runs that do not belong together, one that is not finished, or a folder that holds something.
    """
    members = _members(paths)
    with whole_folder(out, "join") as building:
        return _build(members, Run(building), out.resolve())


def _members(paths: Sequence[Path]) -> list[_Member]:
    if len(paths) < 2:
        raise InputError("join takes two runs or more: name them all, and the new one with --out")
    places = [path.resolve() for path in paths]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise InputError(f"{paths[number]} is named twice")
    configs = {path: Run(path).load_config() for path in paths}
    _check_configs(configs)
    members = []
    for path, config in configs.items():
        run = Run(path)
        prior, note = read_run_prior(run)
        _check_finished(run, config, prior)
        members.append(_Member(run, config, prior, note))
    if len({member.prior.sha256 for member in members}) > 1:
        listing = ", ".join(f"{member.path}: {member.prior.sha256[:8]}" for member in members)
        raise InputError(
            f"the runs were trained against different priors ({listing}), so their branches do not meet: "
            f"`xfeat prior export {paths[0]} --out prior.safetensors`, then train the others again with "
            "--set prior=prior.safetensors"
        )
    _check_similarity(members)
    return members


def _check_similarity(members: Sequence[_Member]) -> None:
    """Embeddings that are made to be compared in different ways do not meet, whatever their prior."""
    kinds: dict[str, str] = {}
    for member in members:
        for name in member.config.modalities:
            note = load_note(member.run.branch_file(name).with_suffix(".json"))
            kinds.setdefault(str(note.get("settings", {}).get("embedding", "unit")), f"{name} of {member.path}")
    if len(kinds) > 1:
        listing = ", ".join(f"{where}: {kind}" for kind, where in kinds.items())
        raise InputError(f"branches embed in different ways ({listing}): train them with one --set embedding=...")


def _check_finished(run: Run, config: RunConfig, prior: Prior) -> None:
    for name in config.modalities:
        file = run.branch_file(name)
        if not file.is_file() or not file.with_suffix(".json").is_file():
            raise InputError(f"{run.path} is not finished (no branch of {name}): first `xfeat train ... --resume`")
        if not is_done(file):
            raise InputError(f"{file} is not the file that {file.stem}.json was written for: train the branch again")
        against = str(load_note(file.with_suffix(".json")).get("prior_sha256"))
        # A branch that knows none of the classes that joined later was trained against the prior of before.
        if against not in (prior.sha256, *(entry["prior_sha256"] for entry in load_growth(run))):
            raise InputError(
                f"{run.path}: branch {name} was trained against prior {against[:8]}, but the run holds "
                f"{prior.sha256[:8]}: they do not meet"
            )


def _check_configs(configs: Mapping[Path, RunConfig]) -> None:
    (first, mine), *others = configs.items()
    if mine.method not in (DRCL, ORTHOGONAL):
        raise InputError(f"{first} was trained with {mine.method}: runs of drcl and of orthogonal join, by their prior")
    for path, config in others:
        if config.method != mine.method:
            raise InputError(f"{first} was trained with {mine.method}, {path} with {config.method}: one method joins")
        if config.classes != mine.classes:
            raise InputError(f"{first} and {path} have different classes{_class_difference(mine, config)}")
    origins: dict[str, Path] = {}
    for path, config in configs.items():
        for name in config.modalities:
            if not MODALITY.fullmatch(name):
                raise InputError(f"{path}: modality {name!r:.80} is no name a modality can have")
            if name in origins:
                raise InputError(f"modality {name!r} is in {origins[name]} and in {path}: a run holds it once")
            origins[name] = path


def _class_difference(mine: RunConfig, other: RunConfig) -> str:
    sides = (("the first", mine.classes, other.classes), ("the second", other.classes, mine.classes))
    parts = []
    for which, have, lack in sides:
        extra = [name for name in have if name not in set(lack)]
        if extra:
            rest = f" and {len(extra) - 3} more" if len(extra) > 3 else ""
            parts.append(f"only {which} has {', '.join(map(repr, extra[:3]))}{rest}")
    return f": {'; '.join(parts)}" if parts else ": the same names in another order"


def _build(members: Sequence[_Member], target: Run, out: Path) -> Joined:
    first = members[0]
    for folder in ("branches", "candidates"):
        (target.path / folder).mkdir(parents=True)
    sources: dict[str, Source] = {}
    origins: dict[str, Path] = {}
    away = []
    for member in members:
        for name, source in member.config.modalities.items():
            _copy_pair(member.run.branch_file(name), target.branch_file(name))
            sources[name], there = _moved(source, member, out)
            if member is not first:
                # What the first run's own command trains stays apart, so that it can still be resumed.
                sources[name] = replace(sources[name], added=True)
            held = held_out_file(member.run, name)  # rows that later growth must not train on
            if held.is_file():
                held_out_file(target, name).parent.mkdir(exist_ok=True)
                copy_whole(held, held_out_file(target, name), sha256(held))
            origins[name] = member.path
            away += [] if there else [name]
        for name in _candidates(member):
            _copy_pair(member.run.candidate_file(name), target.candidate_file(name))
    copy_whole(first.run.prior_file, target.prior_file, first.prior.sha256)
    note = _merged_note(members)
    save_note(target.prior_note, note)
    target.save_config(replace(first.config, modalities=sources))
    save_note(target.path / JOINED, {"runs": [entry for member in members for entry in _history(member)]})
    write_text(target.log_file, "".join(row for member in members for row in _log(member)))
    branches = {name: load_note(target.branch_file(name).with_suffix(".json")) for name in sources}
    differences = {member.path: words for member in members[1:] if (words := _differs(first.config, member.config))}
    return Joined(note, branches, origins, differences, away)


def _copy_pair(source: Path, target: Path) -> None:
    note = source.with_suffix(".json")
    copy_whole(source, target, str(load_note(note).get("sha256")))
    copy_whole(note, target.with_suffix(".json"), sha256(note))


def _candidates(member: _Member) -> dict[str, Any]:
    # A candidate of a modality that never joined is left where it is.
    return {name: one for name, one in member.note["candidates"].items() if name in member.config.modalities}


def _merged_note(members: Sequence[_Member]) -> dict[str, Any]:
    """The note of the run that learned the prior, if one did, with the candidates of all."""
    learned = [member for member in members if member.note["chosen"] in _candidates(member)]
    made = [member for member in members if member.note["chosen"] != "file"]
    base = (learned or made or members)[0].note
    return {**base, "candidates": {name: one for member in members for name, one in _candidates(member).items()}}


def _moved(source: Source, member: _Member, out: Path) -> tuple[Source, bool]:
    """The source as seen from ``out``, and whether its cache is to be found."""
    places = (Path(source.cache), member.path / source.relative)
    here = next((place for place in places if place.is_dir()), None)
    cache = (here or places[1]).resolve()
    relative = Path(os.path.relpath(cache, out)).as_posix()
    return replace(source, cache=str(cache) if here else source.cache, relative=relative), here is not None


def _own(config: RunConfig) -> dict[str, Any]:
    return {name: value for name, value in asdict(config).items() if name in ("seed", "settings", "versions")}


def _differs(first: RunConfig, other: RunConfig) -> str:
    one, two = _own(first), _own(other)
    for document in (one, two):
        # Where the same prior was taken from is no difference.
        document["settings"] = {name: value for name, value in document["settings"].items() if name != "prior"}
    return difference(one, two)


def _history(member: _Member) -> list[dict[str, Any]]:
    """Seed and settings of what a member holds, by the runs it was itself joined from."""
    file = member.path / JOINED
    earlier = list(load_note(file)["runs"]) if file.is_file() else []
    told = {name for entry in earlier for name in entry["modalities"]}
    rest = [name for name in member.config.modalities if name not in told]
    mine = {"run": member.path.resolve().name, "modalities": rest, **_own(member.config)}
    return earlier + [mine] * bool(rest)


def _log(member: _Member) -> list[str]:
    """Rows of the modalities that join; a torn last line and rows of an unfinished newcomer stay behind."""
    if not member.run.log_file.is_file():
        return []
    rows = []
    for line in member.run.log_file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and row.get("modality") in member.config.modalities:
            rows.append(line + "\n")
    return rows
