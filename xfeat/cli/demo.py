"""``xfeat demo``: a method's whole job from raw files to a table, as the commands a user would type. No downloads."""

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer

from xfeat.errors import InputError

BACKBONES = {"image": "filters:hog", "text": "filters:hashing", "audio": "filters:logmel"}
FIRST, NEWCOMER = ("image", "text"), "audio"


def demo(
    out: Path = typer.Option(Path("xfeat-demo"), metavar="DIR", help="Folder for everything the demo makes."),
    method: str = typer.Option("drcl", metavar="drcl|ciim|sspc|all", help="What to train."),
    seed: int = typer.Option(0, min=0, help="Of the media and the training."),
) -> None:
    """Run the whole job on media it writes itself.

    They are unpaired for drcl and ciim, and paired for sspc.
    """
    from xfeat.methods.registry import METHODS, find_method

    names = list(METHODS) if method == "all" else [find_method(method).name]
    known = any((out / tour.media).is_dir() for tour in TOURS.values())
    if out.exists() and not known and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out} holds other files: choose a new or empty folder")
    started = time.perf_counter()
    _check_seed(out, names, seed)
    places = [Place(name, TOURS[name], out, seed) for name in names]
    for place in places:
        if place is not places[0]:
            typer.echo(f"\nNow {place.method}.")
        for line in place.tour.about:
            typer.echo(line)
        manifest = place.tour.write(place.media, seed)
        typer.echo(f"wrote {sum(1 for _ in place.media.rglob('*.*')):,} files to {manifest.parent}")
        place.tour.steps(place)
    folders = dict.fromkeys(name for place in places for name in (place.tour.media, place.tour.caches))
    typer.echo(f"\nAll of it took {time.perf_counter() - started:.0f} s and lies in {out}: {', '.join(folders)}, runs.")
    typer.echo("Try next:")
    for line in dict.fromkeys(line for place in places for line in place.tour.more(place)):
        typer.echo(f"  xfeat {line}")


@dataclass(frozen=True)
class Tour:
    """What the demo of one method is.

    Attributes:
        about: printed first: what the media are.
        media: name of their folder; methods that take the same media share it.
        caches: name of the folder of their features.
        write: writes media of a seed to a folder and returns the manifest.
        steps: the commands.
        more: commands to try afterwards, without ``xfeat``.
    """

    about: tuple[str, ...]
    media: str
    caches: str
    write: Callable[[Path, int], Path]
    steps: Callable[["Place"], None]
    more: Callable[["Place"], list[str]]


@dataclass(frozen=True)
class Place:
    """A tour of a method in a folder."""

    method: str
    tour: Tour
    out: Path
    seed: int

    @property
    def media(self) -> Path:
        """Where the media are."""
        return self.out / self.tour.media

    @property
    def run(self) -> Path:
        """Where the run goes."""
        return self.out / "runs" / self.method

    def cache(self, modality: str) -> Path:
        """Where the features of a modality go."""
        return self.out / self.tour.caches / f"{modality}.{BACKBONES[modality].replace(':', '-')}"

    def extract(self, modality: str) -> None:
        """Run the extraction of a modality."""
        manifest, cache = _word(self.media / "manifest.csv"), _word(self.cache(modality))
        _run(f"extract {manifest} --modality {modality} --backbone {BACKBONES[modality]} --out {cache}")

    def train(self, *modalities: str) -> None:
        """Train on the caches of some modalities, or go on where an earlier demo was stopped."""
        from xfeat.training.run import Run

        caches = " ".join(_word(self.cache(modality)) for modality in modalities)
        resume = " --resume" if Run(self.run).config_file.exists() else ""
        _run(f"train {self.method} {caches} --out {_word(self.run)} --seed {self.seed}{resume}")


def _unpaired(place: Place) -> None:
    """Two modalities are trained and measured, a third joins them."""
    from xfeat.training.run import Run

    for modality in FIRST:
        place.extract(modality)
    there = Run(place.run)
    joined = there.config_file.exists() and NEWCOMER in there.load_config().modalities
    if not joined:
        place.train(*FIRST)
        _run(f"eval {_word(place.run)}")
    typer.echo("\nA new modality joins. The branches that are there, before:")
    before = _branches(place.run)
    place.extract(NEWCOMER)
    if not joined:
        _run(f"add {_word(place.cache(NEWCOMER))} --run {_word(place.run)}")
    typer.echo("\nand after:")
    after = _branches(place.run)
    same = all(after[name] == sha for name, sha in before.items())
    typer.echo(
        "The earlier branches are the same files, byte for byte." if same else "A branch changed: that is a bug."
    )
    _run(f"eval {_word(place.run)}")


def _more_causal(place: Place) -> list[str]:
    runs = _word(place.out / "runs")
    return [
        f"train ciim {_word(place.out / place.tour.caches)}/* --out {runs}/plain --set intervention=false",
        f"eval {_word(place.run)} --gap",
        f"report {_word(place.run)}",
    ]


def _more_unpaired(place: Place) -> list[str]:
    runs = _word(place.out / "runs")
    return [
        f"train drcl {_word(place.out / place.tour.caches)}/* --out {runs}/bare --set gamma=1",
        f"eval {_word(place.run)} --json -",
        f"cache verify {_word(place.cache('text'))}",
        "extract MANIFEST.csv --modality image --backbone open_clip:ViT-B-32@laion2b_s34b_b79k",
    ]


def _paired(place: Place) -> None:
    """All modalities are trained together, measured, and their anchors shown."""
    for modality in BACKBONES:
        place.extract(modality)
    place.train(*BACKBONES)
    _run(f"eval {_word(place.run)}")
    _run(f"anchors show {_word(place.run)}")


def _more_paired(place: Place) -> list[str]:
    runs = _word(place.out / "runs")
    return [
        f"train sspc {_word(place.out / place.tour.caches)}/* --out {runs}/contrastive --set beta=0",
        f"eval {_word(place.run)} --json -",
    ]


def _write_unpaired(folder: Path, seed: int) -> Path:
    from xfeat.samples.demo import write_demo

    return write_demo(folder, seed)


def _write_paired(folder: Path, seed: int) -> Path:
    from xfeat.samples.demo import write_paired_demo

    return write_paired_demo(folder, seed)


UNPAIRED_MEDIA = (
    "Handwritten digits (PNG), number words in many languages (text) and keypad",
    "tones (WAV): ten classes in common, no sample in common. The test samples are",
    "unseen, their classes are known.",
)

TOURS = {
    "drcl": Tour(UNPAIRED_MEDIA, "media", "cache", _write_unpaired, _unpaired, _more_unpaired),
    "ciim": Tour(UNPAIRED_MEDIA, "media", "cache", _write_unpaired, _unpaired, _more_causal),
    "sspc": Tour(
        (
            "The numbers from 100 to 999, each as handwritten digits (PNG), in words of one",
            "of four languages (text) and as keypad tones (WAV). No labels: what belongs",
            "together is one row, and one row in ten lacks a modality. The test numbers are",
            "unseen.",
        ),
        "media-paired",
        "cache-paired",
        _write_paired,
        _paired,
        _more_paired,
    ),
}


def _check_seed(out: Path, methods: list[str], seed: int) -> None:
    from xfeat.training.run import Run

    for run in (Run(out / "runs" / method) for method in methods):
        if run.config_file.exists() and (other := run.load_config().seed) != seed:
            raise InputError(f"--out {out} holds the demo of seed {other}: choose another folder for seed {seed}")


def _branches(run: Path) -> dict[str, str]:
    from xfeat.training.store import sha256

    files = {path.stem: sha256(path) for path in sorted((run / "branches").glob("*.safetensors"))}
    for name, sha in files.items():
        typer.echo(f"  {name:8}{sha}")
    return files


def _word(path: Path) -> str:
    return shlex.quote(str(path))


def _run(line: str) -> None:
    from xfeat.cli.main import app

    typer.echo(f"\n$ xfeat {line}")
    if code := app(shlex.split(line), standalone_mode=False):
        raise typer.Exit(code)  # interrupted: the commands after it must not run
