"""``xfeat methods``: what ``xfeat train`` can train."""

import typer


def methods(
    name: str | None = typer.Argument(None, metavar="[METHOD]", help="Show the settings of one method."),
) -> None:
    """List the methods, or the settings of one."""
    from xfeat.methods.registry import METHODS, find_method

    if name is None:
        for method in METHODS.values():
            typer.echo(f"{method.name}: {method.about}")
        typer.echo("\nSee the settings of one with `xfeat methods NAME`; set them with --set key=value.")
        return
    for key, default, text in find_method(name).describe():
        typer.echo(f"{key}={default}\n    {text}")
