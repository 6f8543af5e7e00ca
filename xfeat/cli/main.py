"""The command line: one file per command, each thin over typed functions; heavy imports happen inside commands."""

import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import typer

from xfeat import __version__
from xfeat.cli.add import add
from xfeat.cli.add_class import add_class
from xfeat.cli.anchors import anchors_app
from xfeat.cli.backbones import backbones
from xfeat.cli.cache import cache_app
from xfeat.cli.check import check
from xfeat.cli.compare import compare
from xfeat.cli.demo import demo
from xfeat.cli.domains import domains
from xfeat.cli.eval import evaluate
from xfeat.cli.extract import extract
from xfeat.cli.import_ import import_
from xfeat.cli.join import join
from xfeat.cli.methods import methods
from xfeat.cli.prior import prior_app
from xfeat.cli.report import report
from xfeat.cli.search import search
from xfeat.cli.sweep import sweep
from xfeat.cli.train import train
from xfeat.errors import XfeatError

app = typer.Typer(
    name="xfeat",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Feature-cache-first, lightweight training for cross-modal retrieval.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"xfeat {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


_Command = Callable[..., None]


def _resumable(command: _Command) -> _Command:
    """Ctrl-C ends a command with one line and the shell's code for it, before typer turns it into "Aborted"."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except KeyboardInterrupt:
            typer.echo("xfeat: interrupted; what was finished is kept, run it again (train: with --resume)", err=True)
            raise typer.Exit(130) from None

    return run


for _command in (
    demo,
    extract,
    import_,
    check,
    train,
    add,
    add_class,
    join,
    evaluate,
    compare,
    search,
    sweep,
    report,
    domains,
    methods,
    backbones,
):
    app.command({import_: "import", evaluate: "eval"}.get(_command))(_resumable(_command))
for _name, _group in (("prior", prior_app), ("anchors", anchors_app), ("cache", cache_app)):
    for _known in _group.registered_commands:
        _known.callback = _resumable(_known.callback) if _known.callback else None
    app.add_typer(_group, name=_name)


def main() -> None:
    """Run a command. Bad input gets one clear line on standard error and exit code 2; Ctrl-C gets 130."""
    _share_cores()
    try:
        app()
    except XfeatError as error:
        _explain(f"xfeat: {error}")
        sys.exit(2)
    except BrokenPipeError:
        # The reader of our output left (`xfeat ... | head`): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _explain(f"xfeat: {where}{error.strerror or error}; what was finished is kept")
        sys.exit(2)


def _share_cores() -> None:
    # OpenMP's idle threads spin for milliseconds by default. Steps of small networks are shorter than that, so on a
    # machine that is busy with anything else they would train many times slower. Numbers do not change.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _explain(line: str) -> None:
    if os.environ.get("XFEAT_DEBUG") == "1":
        traceback.print_exc()
    typer.echo(line, err=True)
