"""``xfeat cache``: look at a cache, check it, take it elsewhere."""

import json
from pathlib import Path
from typing import Any

import typer

from xfeat.errors import XfeatError

cache_app = typer.Typer(no_args_is_help=True, help="Look at caches, check them, export them.", rich_markup_mode=None)
CACHES = typer.Argument(..., metavar="CACHE...", help="Folders of caches.")


@cache_app.command()
def info(
    caches: list[Path] = CACHES, as_json: bool = typer.Option(False, "--json", help="Print the manifests as JSON.")
) -> None:
    """Say what is in a cache and what made it."""
    from xfeat.cache import load_manifest

    manifests = {path: load_manifest(path) for path in caches}
    if as_json:
        documents = {
            str(path): {**vars(m), "fingerprint_sha256": m.fingerprint_sha256} for path, m in manifests.items()
        }
        typer.echo(json.dumps(documents, indent=1, ensure_ascii=False))
        return
    for path, m in manifests.items():
        typer.echo(f"{path}" + ("" if m.complete else "  (unfinished: run the command that writes it again)"))
        typer.echo(f"  modality     {m.modality}")
        typer.echo(f"  features     {m.rows:,} x {m.dim:,} {m.dtype}, {m.shards} shard{'s' * (m.shards != 1)}")
        if m.token_dim:
            mean = f", {m.tokens / max(1, m.counts['ok']):.1f} a sample" if m.complete else ""
            typer.echo(f"  tokens       {f'{m.tokens:,}' if m.complete else '?'} x {m.token_dim:,} {m.dtype}{mean}")
        if m.complete:
            splits = ", ".join(f"{name} {count:,}" for name, count in m.counts["split"].items())
            typer.echo(f"  rows         {m.counts['ok']:,} ok, {m.counts['failed']:,} failed ({splits})")
        classes = f"{len(m.classes)}, {m.label_kind}-label: {_short(m.classes)}" if m.classes else "none"
        typer.echo(f"  classes      {classes}")
        typer.echo(f"  fingerprint  {m.fingerprint_sha256[:16]}")
        for key, value in m.fingerprint.items():
            typer.echo(f"    {key}: {_value(value)}")


@cache_app.command()
def verify(caches: list[Path] = CACHES) -> None:
    """Read every byte again: checksums, counts, fingerprints, ids."""
    from xfeat.cache import load_manifest
    from xfeat.cache.verify import verify as check
    from xfeat.progress import progress

    bad = 0
    for path in caches:
        manifest = load_manifest(path)
        with progress(f"verify {path.name}", manifest.shards) as advance:
            problems = check(path, advance)
        for problem in problems:
            typer.echo(f"{path}: {problem}", err=True)
        if not problems:
            typer.echo(f"{path}: {manifest.rows:,} rows in {manifest.shards} shards, all as they were written")
        bad += bool(problems)
    if bad:
        raise XfeatError(f"{bad} of {len(caches)} caches are not whole; see the lines above")


@cache_app.command()
def export(
    cache: Path = typer.Argument(..., metavar="CACHE", help="Folder of a cache."),
    out: Path = typer.Option(..., metavar="FILE.npz", help="Where to write."),
) -> None:
    """Write a cache as a .npz.

    It holds the arrays that `xfeat import` reads: features, ids, labels, classes, split, pair, camera, tokens,
    offsets.
    """
    from xfeat.cache import FeatureCache
    from xfeat.cache.export import export_npz

    written, left_out = export_npz(FeatureCache(cache), out)
    failed = f"; {left_out:,} failed rows have no features and are left out" if left_out else ""
    typer.echo(f"{out}: {written:,} rows{failed}")


def _short(names: list[str], width: int = 48) -> str:
    text = ", ".join(names)
    return text if len(text) <= width else text[: width - 3] + "..."


def _value(value: Any, width: int = 60) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= width else text[: width - 3] + "..."
