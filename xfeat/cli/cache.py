"""``xfeat cache``: look at a cache, check it, join its parts, take it elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from xfeat.cli.cache_again import Again, found, shown
from xfeat.cli.cache_info import as_json as info_json
from xfeat.cli.cache_info import describe, failed_rows
from xfeat.cli.output import counted
from xfeat.errors import InputError, XfeatError

if TYPE_CHECKING:
    from xfeat.cache import Manifest

cache_app = typer.Typer(
    no_args_is_help=True, help="Look at caches, check them, join parts, export.", rich_markup_mode=None
)
CACHES = typer.Argument(..., metavar="CACHE...", help="Folders of caches.")


@cache_app.command()
def info(
    caches: list[Path] = CACHES,
    as_json: bool = typer.Option(False, "--json", help="Print the manifests as JSON."),
    failed: bool = typer.Option(False, "--failed", help="Print the failed rows alone: id, tab, reason."),
) -> None:
    """Say what is in a cache, why rows failed, and what made it."""
    from xfeat.cache import load_manifest

    manifests = {path: load_manifest(path) for path in caches}
    if failed:
        for line in failed_rows(manifests, as_json=as_json):
            typer.echo(line)
        return
    if as_json:
        typer.echo(info_json(manifests))
        return
    for path, manifest in manifests.items():
        typer.echo("\n".join(describe(path, manifest)))


@cache_app.command()
def verify(
    caches: list[Path] = CACHES,
    sample: int | None = typer.Option(None, min=1, metavar="K", help="Then encode K random rows again and compare."),
    manifest: Path | None = typer.Option(None, metavar="FILE", help="With --sample: the manifest of the samples."),
    backbone: str | None = typer.Option(None, metavar="SPEC", help="With --sample: the backbone that made the cache."),
    root: Path | None = typer.Option(None, help="Folder of the paths [default: the manifest's]."),
    column: str | None = typer.Option(None, help="Column with the paths or texts [default: the modality]."),
    kind: str | None = typer.Option(None, metavar="image|text|audio|strokes|video", help="What the samples are."),
    text_files: bool = typer.Option(False, "--text-files", help="The column names text files, not texts."),
    frames: int = typer.Option(8, min=1, help="Frames taken of each video."),
    device: str = typer.Option("auto", metavar="auto|cpu|cuda|cuda:N", help="Where networks run."),
    precision: str | None = typer.Option(
        None, metavar="fp32|fp16|bf16", help="What networks compute in [default: as the cache says]."
    ),
    seed: int = typer.Option(0, min=0, help="Of the choice of rows."),
    tolerance: float | None = typer.Option(
        None, min=0.0, metavar="X", help="Distance allowed, of a row's norm [default: 0.002 for float16, ...]."
    ),
) -> None:
    """Read every byte again: checksums, counts, fingerprints, ids.

    With --sample, K random rows are encoded again from their files and compared with what is stored: whether the cache
    still belongs to the data.
    """
    from xfeat.cache import FeatureCache

    again = Again(
        sample, manifest, backbone, root, column, kind, text_files, frames, device, precision, seed, tolerance
    )
    bad = 0
    for path in caches:
        problems, said = _whole(path)
        if not problems and sample is not None:
            result = again.run(FeatureCache(path))
            said += [f"{path}: {line}" if not number else line for number, line in enumerate(found(result, seed))]
            problems = shown(result.mismatches)
        if said:
            typer.echo("\n".join(said))
        for problem in problems:
            typer.echo(f"{path}: {problem}", err=True)
        bad += bool(problems)
    if bad:
        what = "whole" if sample is None else "whole, or do not belong to the data"
        raise XfeatError(f"{bad} of {len(caches)} caches are not {what}; see the lines above")


@cache_app.command()
def merge(
    caches: list[Path] = typer.Argument(
        ..., metavar="OUT | CACHE...", help="The cache whose parts lie beside it; or, with --out, caches to join."
    ),
    out: Path | None = typer.Option(None, metavar="CACHE", help="Folder of the new cache."),
    remove_parts: bool = typer.Option(False, "--remove-parts", help="Delete the parts once the whole is verified."),
) -> None:
    """Join parts of a cache, or several caches, into one.

    All were made by the same backbone, with the same settings.

    `xfeat cache merge OUT` joins OUT.part-0-of-N, OUT.part-1-of-N, ... into OUT; `xfeat cache merge A B --out OUT`
    joins A and B.
    """
    from xfeat.cache import load_manifest
    from xfeat.cache.merge import find_parts
    from xfeat.cache.merge import merge as join
    from xfeat.progress import progress

    if out is None and len(caches) > 1:
        raise InputError("several caches and no --out: name the folder of the new cache with --out")
    target = out or caches[0]
    parts = list(caches) if out else find_parts(target)
    with progress(f"merge {target.name}", sum(load_manifest(part).rows for part in parts)) as advance:
        manifest = join(parts, target, advance)
    typer.echo(_merged(manifest, parts))
    if remove_parts:
        problems, _ = _whole(target)
        if problems:
            raise XfeatError(f"{target} is not whole ({problems[0]}): the parts are kept; merge again")
        left = [part for part in parts if not _remove(part)]
        typer.echo(f"  removed   {counted(len(parts) - len(left), 'part')}")
        for part in left:
            typer.echo(f"  note      {part} holds other files too: they are kept")
    typer.echo(f"  cache     {target}\nNext: xfeat cache {'info' if remove_parts else 'verify'} {target}")


@cache_app.command()
def export(
    cache: Path = typer.Argument(..., metavar="CACHE", help="Folder of a cache."),
    out: Path = typer.Option(..., metavar="FILE", help="Where to write: .npz, .npy, .parquet, or a folder NAME.faiss."),
    form: str | None = typer.Option(
        None, "--format", metavar="npz|npy|parquet|faiss", help="[default: by the suffix of --out]"
    ),
    split: list[str] = typer.Option([], metavar="NAME", help="Only rows of this split; may be given again."),
    normalise: bool = typer.Option(
        True, "--normalise/--no-normalise", help="With faiss: divide each vector by its L2 norm."
    ),
) -> None:
    """Write a cache for other tools, or for `xfeat import`.

    .npz holds everything: features, ids, labels, classes, split, pair, camera, tokens, offsets. .npy holds the
    features, and NAME.rows.csv beside it a line for each row: id, split, label, pair, camera. .parquet is a table
    with those columns and the features as lists. faiss is a folder with float32 vectors that can be memory-mapped,
    ids.json, meta.json and a README.txt that says how to index them.
    """
    from xfeat.cache import FeatureCache
    from xfeat.cache.export import export as write

    written = write(FeatureCache(cache), out, format=form, splits=split or None, normalise=normalise)
    failed = f"; {counted(written.left_out, 'failed row')} left out" if written.left_out else ""
    typer.echo(f"{' and '.join(map(str, written.paths))}: {counted(written.rows, 'row')}{failed}")
    for note in written.notes:
        typer.echo(f"note: {note}")


def _whole(path: Path) -> tuple[list[str], list[str]]:
    """Problems of a cache, and if there are none the line that says so."""
    from xfeat.cache import load_manifest
    from xfeat.cache.verify import verify as check
    from xfeat.progress import progress

    manifest = load_manifest(path)
    with progress(f"verify {path.name}", manifest.shards) as advance:
        problems = check(path, advance)
    what = f"{counted(manifest.rows, 'row')} in {counted(manifest.shards, 'shard')}"
    whole = f"{path}: {what}, all as they were written"
    return problems, [] if problems else [whole]


def _merged(manifest: "Manifest", parts: list[Path]) -> str:
    lines = [f"{manifest.modality}: {counted(manifest.rows, 'row')} of {counted(len(parts), 'cache')} joined"]
    lines += [f"  from      {part}" for part in parts[:3]]
    if len(parts) > 3:
        lines.append(f"            ... {len(parts) - 3} more")
    counts = manifest.counts
    splits = ", ".join(f"{name} {count:,}" for name, count in counts["split"].items())
    lines.append(f"  features  {manifest.rows:,} x {manifest.dim:,} {manifest.dtype} ({splits})")
    lines.append(f"  rows      {counts['ok']:,} ok, {counts['failed']:,} failed")
    return "\n".join(lines)


def _remove(part: Path) -> bool:
    """Delete the files of a cache, and its folder if nothing else is in it; whether that is gone."""
    from xfeat.cache.manifest import FILE

    # The manifest first: what a kill leaves behind is then no cache.
    for file in (part / FILE, part / ".lock", *part.glob("[0-9]*.h5")):
        file.unlink(missing_ok=True)
    if any(part.iterdir()):
        return False
    part.rmdir()
    return True
