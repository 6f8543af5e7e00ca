"""Settings of a method from a file and from ``key=value`` words, validated; errors in one line."""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from xfeat.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


def read_settings(file: Path | None, words: Iterable[str]) -> dict[str, Any]:
    """Settings of a YAML file, overlaid with ``key=value`` words; a dot reaches inside: ``modality_lr.image=1e-4``.

    Args:
        file: a YAML mapping; None for none.
        words: values are read as YAML, so ``true``, ``1e-4`` and ``null`` mean what they say.

    Raises:
        InputError: no such file, not a mapping, or a word without ``=``.
    """
    values = _read_file(file) if file is not None else {}
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


def _read_file(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"config {file} does not exist") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"config {file} cannot be read as YAML ({' '.join(str(error).split())})") from None
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
