"""Settings of a method from a file and from ``key=value`` words, validated; errors in one line."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from xfeat.errors import InputError
from xfeat.methods.shipped import find_config

Model = TypeVar("Model", bound=BaseModel)
ABOUT = "about"  # the entry of a config that is no setting


@dataclass(frozen=True)
class Config:
    """What a config holds.

    Attributes:
        about: what it is for, in words and numbers for people; empty where it says nothing.
        settings: of the method, not validated yet.
    """

    about: dict[str, Any]
    settings: dict[str, Any]


def read_settings(file: Path | None, words: Iterable[str]) -> dict[str, Any]:
    """Settings of a YAML file, overlaid with ``key=value`` words; a dot reaches inside: ``modality_lr.image=1e-4``.

    Args:
        file: a YAML mapping, or the name of a shipped config; None for none. Its ``about`` is no setting.
        words: values are read as YAML, so ``true``, ``1e-4`` and ``null`` mean what they say.

    Raises:
        InputError: as ``read_config``, or a word without ``=``.
    """
    values = read_config(file).settings if file is not None else {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise InputError(f"--set {word!r}: write key=value")
        *parents, last = key.split(".")
        inner = values
        for name in parents:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise InputError(f"--set {word!r}: {name} is not a mapping")
        inner[last] = _value(word, text)
    return values


def read_config(file: Path) -> Config:
    """A config by its path or, where there is no such file, by the name it is shipped under.

    Raises:
        InputError: no such file or name, not a mapping, or an ``about`` that is none.
    """
    file = find_config(file)
    settings = _read_file(file)
    about = settings.pop(ABOUT, None)
    if about is not None and not isinstance(about, dict):
        raise InputError(f"config {file}: {ABOUT} must be a mapping, got {type(about).__name__}")
    return Config(about or {}, settings)


def validated(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Build the settings.

    Raises:
        InputError: an unknown setting, with the closest known names, or a value out of its range.
    """
    try:
        return model(**{str(name): value for name, value in values.items()})  # YAML keys may be numbers
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            close = difflib.get_close_matches(name, model.model_fields, n=3) or sorted(model.model_fields)
            raise InputError(f"unknown setting {name!r}: did you mean {', '.join(close)}?") from None
        raise InputError(f"setting {name}={first['input']!r}: {first['msg'].lower()}") from None


def class_names(value: Any) -> Any:
    """Names of classes as YAML reads them, where [0, 1] are numbers and one name is a word, as a list of text."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        value = [value]
    if isinstance(value, list | tuple):
        return [str(one) if isinstance(one, int) and not isinstance(one, bool) else one for one in value]
    return value


def load_yaml(file: Path, said: str) -> Any:
    """What a YAML file holds; ``said`` names it in messages.

    Raises:
        InputError: a file that cannot be read.
    """
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{said} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{said} cannot be read as YAML ({' '.join(str(error).split())})") from None


def _read_file(file: Path) -> dict[str, Any]:
    values = load_yaml(file, f"config {file}")
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"config {file} must hold a mapping of settings, got {type(values).__name__}")
    return values


def _value(word: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"--set {word!r}: the value cannot be read") from None
    if isinstance(value, str):
        # YAML 1.1 takes 1e-4 for a word; everybody else takes it for a number.
        try:
            return float(value)
        except ValueError:
            return value
    return value
