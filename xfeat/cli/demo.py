"""``xfeat demo``: the main job from raw files to a table, as the commands a user would type. Nothing is downloaded."""

import shlex
import time
from pathlib import Path

import typer

from xfeat.errors import InputError

BACKBONES = {"image": "filters:hog", "text": "filters:hashing", "audio": "filters:logmel"}
FIRST, NEWCOMER = ("image", "text"), "audio"


def demo(
    out: Path = typer.Option(Path("xfeat-demo"), metavar="DIR", help="Folder for everything the demo makes."),
    method: str = typer.Option("drcl", metavar="drcl|all", help="What to train."),
    seed: int = typer.Option(0, min=0, help="Of the media and the training."),
) -> None:
    """Run the whole job on media it writes itself."""
    from xfeat.methods.registry import METHODS, find_method
    from xfeat.samples.demo import write_demo

    names = list(METHODS) if method == "all" else [find_method(method).name]
    if out.exists() and not (out / "media").is_dir() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out} holds other files: choose a new or empty folder")
    started = time.perf_counter()
    _check_seed(out, names, seed)
    typer.echo("Handwritten digits (PNG), number words in many languages (text) and keypad")
    typer.echo("tones (WAV): ten classes in common, no sample in common. The test samples are")
    typer.echo("unseen, their classes are known.")
    manifest = write_demo(out / "media", seed)
    typer.echo(f"wrote {sum(1 for _ in (out / 'media').rglob('*.*')):,} files to {out / 'media'}")
    for modality in FIRST:
        _extract(manifest, modality, out)
    for name in names:
        _train(name, out / "runs" / name, out, seed)
    typer.echo(f"\nAll of it took {time.perf_counter() - started:.0f} s and lies in {out}: media, cache, runs.")
    run, cache = _word(out / "runs" / names[0]), _word(_cache(out, "text"))
    typer.echo("Try next:")
    typer.echo(f"  xfeat train drcl {_word(out / 'cache')}/* --out {_word(out / 'runs')}/bare --set gamma=1")
    typer.echo(f"  xfeat eval {run} --json -")
    typer.echo(f"  xfeat cache verify {cache}")
    typer.echo("  xfeat extract MANIFEST.csv --modality image --backbone open_clip:ViT-B-32@laion2b_s34b_b79k")


def _check_seed(out: Path, methods: list[str], seed: int) -> None:
    from xfeat.training.run import Run

    for run in (Run(out / "runs" / method) for method in methods):
        if run.config_file.exists() and (other := run.load_config().seed) != seed:
            raise InputError(f"--out {out} holds the demo of seed {other}: choose another folder for seed {seed}")


def _train(method: str, run: Path, out: Path, seed: int) -> None:
    from xfeat.training.run import Run

    there = Run(run)
    joined = there.config_file.exists() and NEWCOMER in there.load_config().modalities
    caches = [_word(_cache(out, modality)) for modality in FIRST]
    if not joined:
        resume = " --resume" if there.config_file.exists() else ""
        _run(f"train {method} {' '.join(caches)} --out {_word(run)} --seed {seed}{resume}")
        _run(f"eval {_word(run)}")
    typer.echo("\nA new modality joins. The branches that are there, before:")
    before = _branches(run)
    _extract(out / "media" / "manifest.csv", NEWCOMER, out)
    if not joined:
        _run(f"add {_word(_cache(out, NEWCOMER))} --run {_word(run)}")
    typer.echo("\nand after:")
    after = _branches(run)
    same = all(after[name] == sha for name, sha in before.items())
    typer.echo(
        "The earlier branches are the same files, byte for byte." if same else "A branch changed: that is a bug."
    )
    _run(f"eval {_word(run)}")


def _extract(manifest: Path, modality: str, out: Path) -> None:
    cache = _word(_cache(out, modality))
    _run(f"extract {_word(manifest)} --modality {modality} --backbone {BACKBONES[modality]} --out {cache}")


def _branches(run: Path) -> dict[str, str]:
    from xfeat.training.store import sha256

    files = {path.stem: sha256(path) for path in sorted((run / "branches").glob("*.safetensors"))}
    for name, sha in files.items():
        typer.echo(f"  {name:8}{sha}")
    return files


def _cache(out: Path, modality: str) -> Path:
    return out / "cache" / f"{modality}.{BACKBONES[modality].replace(':', '-')}"


def _word(path: Path) -> str:
    return shlex.quote(str(path))


def _run(line: str) -> None:
    from xfeat.cli.main import app

    typer.echo(f"\n$ xfeat {line}")
    if code := app(shlex.split(line), standalone_mode=False):
        raise typer.Exit(code)  # interrupted: the commands after it must not run
