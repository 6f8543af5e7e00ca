"""Configs that come with the package: settings of a paper, the numbers to expect of them, and how to get there."""

from pathlib import Path

from xfeat.errors import InputError

CONFIGS = Path(__file__).parents[1] / "configs"


def shipped_configs(method: str = "*") -> dict[str, Path]:
    """Files of the shipped configs by name, for example ``drcl/wikipedia``.

    Args:
        method: its configs only.
    """
    return {f"{file.parent.name}/{file.stem}": file for file in sorted(CONFIGS.glob(f"{method}/*.yaml"))}


def check_config(file: Path, method: str) -> None:
    """Refuse a shipped config of another method.

    Raises:
        InputError: it is for another one.
    """
    found = find_config(file)
    if found.parent.parent == CONFIGS and found.parent.name != method:
        raise InputError(f"config {file} is for {found.parent.name}, not for {method}")


def find_config(wanted: Path) -> Path:
    """The file that is meant: a path, or the name of a shipped config with or without its method.

    A file of that name counts before a shipped config.

    Raises:
        InputError: neither, or a name that several methods have; the shipped names are listed.
    """
    if wanted.is_file():
        return wanted
    name, known = wanted.as_posix(), shipped_configs()
    found = [full for full in known if name in (full, full.partition("/")[2])]
    if len(found) == 1:
        return known[found[0]]
    if found:
        raise InputError(f"config {name} is several: choose {' or '.join(found)}")
    problem = "is a folder" if wanted.is_dir() else "does not exist"
    raise InputError(f"config {wanted} {problem}: name a file, or a config that is shipped: {', '.join(known)}")
