"""A group: runs of one method on the same caches that differ in their seed alone, side by side in one folder."""

import json
from collections.abc import Sequence
from pathlib import Path

from xfeat.cache.files import write_text
from xfeat.errors import InputError
from xfeat.training.run import GROUP_FILE, Run
from xfeat.training.store import is_done


def member_path(path: Path, seed: int) -> Path:
    """The run of one seed."""
    return path / f"seed{seed}"


def is_group(path: Path) -> bool:
    """Whether a folder holds a group of runs."""
    return (path / GROUP_FILE).is_file()


def write_group(path: Path, seeds: Sequence[int], method: str) -> None:
    """Write group.json whole: which seeds belong to the group, and the method that trains them.

    Args:
        path: the group's folder; made where it is not there.
        seeds: different whole numbers of 0 or more.
        method: for example ``drcl``.
    """
    path.mkdir(parents=True, exist_ok=True)
    write_text(path / GROUP_FILE, json.dumps({"seeds": list(seeds), "method": method}) + "\n")


def check_new_group(path: Path, resume: bool) -> None:
    """Refuse a group that is there and is not to be continued.

    Raises:
        InputError: there is one.
    """
    if is_group(path) and not resume:
        raise InputError(f"{path} holds a group already: continue it with --resume, or choose another --out")


def claim_group(path: Path, seeds: Sequence[int], method: str, resume: bool) -> None:
    """Begin a group in a folder, or go on with the one that is there.

    Raises:
        InputError: a group that is not to be continued or was begun otherwise, or other files.
    """
    check_new_group(path, resume)
    if is_group(path):
        stored, trained = load_group(path)
        if list(seeds) != stored or method != trained:
            raise InputError(f"{path} was started with {trained} and seeds {stored}: use them, or another --out")
    elif path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise InputError(f"{path} holds other files: choose a new or empty folder")
    write_group(path, seeds, method)


def load_group(path: Path) -> tuple[list[int], str]:
    """The seeds of a group and its method, whether its runs are finished or not.

    Raises:
        InputError: a file that cannot be read.
    """
    file = path / GROUP_FILE
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        seeds, method = document["seeds"], document["method"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged ({error})".replace("\n", " ")) from None
    whole = isinstance(seeds, list) and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not whole or not seeds or len(set(seeds)) < len(seeds) or not isinstance(method, str):
        raise InputError(f"{file} is damaged: it needs different seeds and a method")
    return seeds, method


def members(path: Path) -> dict[int, Path]:
    """The finished runs of a group by seed.

    Raises:
        InputError: not a group, or a member that is missing, unfinished or of another seed.
    """
    seeds, _ = load_group(path)
    found = {seed: member_path(path, seed) for seed in seeds}
    for seed, member in found.items():
        _check_member(path, seed, Run(member))
    return found


def is_finished(path: Path) -> bool:
    """Whether a folder holds a run with every branch that it should have.

    Raises:
        InputError: its configuration cannot be read.
    """
    run = Run(path)
    return run.config_file.is_file() and all(is_done(run.branch_file(name)) for name in run.load_config().modalities)


def _check_member(group: Path, seed: int, run: Run) -> None:
    remedy = "first `xfeat train ... --resume`"
    if not run.config_file.is_file():
        raise InputError(f"{group} has no run of seed {seed} ({run.path.name} is missing or empty): {remedy}")
    config = run.load_config()
    if config.seed != seed:
        raise InputError(f"{run.path} was trained with seed {config.seed}: it is not the group's run of seed {seed}")
    if unfinished := [name for name in config.modalities if not is_done(run.branch_file(name))]:
        raise InputError(f"{run.path} is not finished (no branch of {', '.join(unfinished)}): {remedy}")
