"""``xfeat methods``: what ``xfeat train`` can train, methods and baselines, and with which shipped configs."""

import textwrap
from pathlib import Path
from typing import Any

import typer

from xfeat.cli.output import table

WIDTH = 80


def methods(
    name: str | None = typer.Argument(None, metavar="[METHOD]", help="Show the settings of one method."),
    config: Path | None = typer.Option(
        None, metavar="NAME|FILE.yaml", help="Show what a config is about: data, numbers to expect, commands."
    ),
) -> None:
    """List methods and baselines, or the settings and configs of one."""
    from xfeat.methods.registry import METHODS, find_method

    method = find_method(name) if name is not None else None
    if config is not None:
        typer.echo(described(config))
        return
    if method is None:
        for known in METHODS.values():
            if not known.baseline:
                typer.echo(f"{known.name}: {known.about}")
        typer.echo("\nBaselines, which any method should beat:")
        for known in METHODS.values():
            if known.baseline:
                typer.echo(f"{known.name}: {known.about}")
        typer.echo("\nSee the settings of one with `xfeat methods NAME`; set them with --set key=value.")
        return
    for key, default, text in method.describe():
        typer.echo(f"{key}={default}\n    {text}")
    if listing := shipped(method.name):
        typer.echo(f"\n{listing}")


def shipped(method: str) -> str:
    """The shipped configs of a method with the numbers that their papers report; nothing where there are none."""
    from xfeat.methods.settings import read_config
    from xfeat.methods.shipped import shipped_configs

    rows = []
    for name, file in shipped_configs(method).items():
        found = read_config(file)
        pairs = found.about["expected"]["pairs"]
        pairs = pairs if isinstance(pairs, dict) else {"-": {}}
        heads = [[name, str(found.settings["epochs"])], *[["", ""]] * (len(pairs) - 1)]
        for head, (pair, values) in zip(heads, pairs.items(), strict=True):
            rows.append([*head, pair, *(_number(values.get(metric)) for metric in ("mAP@all", "mAP@50"))])
    if not rows:
        return ""
    return "\n".join(
        [
            "Shipped configs (train with --config NAME) and the numbers of their papers:",
            table(["config", "epochs", "query->gallery", "mAP@all", "mAP@50"], rows),
            f"  -: not stated in the sources at hand; more: xfeat methods {method} --config NAME",
        ]
    )


def described(config: Path) -> str:
    """What a config is about, and its settings, in 80 columns.

    Raises:
        InputError: no such config.
    """
    from xfeat.methods.settings import read_config

    found = read_config(config)
    about = _lines(found.about) or [f"{config} says nothing about itself"]
    return "\n".join([*about, *_lines({"settings": found.settings or "none"})])


def _lines(value: Any, indent: int = 0) -> list[str]:
    """YAML's values as indented text; text of several lines is left as it is, so that commands can be copied."""
    space = " " * indent
    if isinstance(value, dict):
        lines = []
        for key, inner in value.items():
            if isinstance(inner, dict | list) or "\n" in str(inner):
                lines += [f"{space}{key}:", *_lines(inner, indent + 2)]
            else:
                lines += textwrap.wrap(
                    f"{key}: {_text(inner)}",
                    WIDTH,
                    initial_indent=space,
                    subsequent_indent=space + "  ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
        return lines
    if isinstance(value, list):
        return [line for inner in value for line in _lines(inner, indent)]
    return textwrap.indent(_text(value), space).splitlines()


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
