"""``xfeat extract``: samples of a manifest through a frozen backbone into a feature cache."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from xfeat.errors import InputError

if TYPE_CHECKING:
    from xfeat.extraction.report import ExtractReport

KINDS = ("image", "text", "audio", "strokes")
GENERIC = ("manifest", "samples", "dataset", "index", "data")  # names of files that say nothing of the data set
REASONS = 5


def extract(
    manifest: Path = typer.Argument(..., metavar="MANIFEST", help="CSV, TSV or JSON lines file of samples."),
    modality: str = typer.Option(..., help="Name of the modality, and of its column unless --column is given."),
    backbone: str = typer.Option(..., metavar="SPEC", help="family:model[@weights]; see `xfeat backbones`."),
    out: Path | None = typer.Option(None, metavar="CACHE", help="Folder of the cache [default: under ./cache]."),
    kind: str | None = typer.Option(None, metavar="image|text|audio|strokes", help="What the samples are."),
    column: str | None = typer.Option(None, help="Column with the paths or texts."),
    root: Path | None = typer.Option(None, help="Folder of the paths [default: the manifest's]."),
    text_files: bool = typer.Option(False, "--text-files", help="The column names text files, not texts."),
    batch_size: int = typer.Option(64, min=1, help="Samples encoded at a time."),
    workers: int | None = typer.Option(None, min=1, help="Decoding threads [default: one per core, 8 at most]."),
    device: str = typer.Option("auto", metavar="auto|cpu|cuda", help="Where networks run."),
    dtype: str = typer.Option("float16", metavar="float16|float32", help="Stored type of the features."),
    retry_failed: bool = typer.Option(False, "--retry-failed", help="Try samples that failed before again."),
    on_error: str = typer.Option("row", metavar="row|fail", help="Keep failed samples as rows, or stop at the first."),
) -> None:
    """Encode samples with a frozen backbone into a cache.

    Run the same command again to resume. A sample that cannot be read is kept as a row with the reason.
    """
    from xfeat.backbones.base import Setup
    from xfeat.backbones.registry import backbone_kinds, open_backbone
    from xfeat.extraction.pipeline import ExtractionInterrupted, extract
    from xfeat.samples.manifest import read_manifest

    _one_of("--dtype", dtype, ("float16", "float32"))
    _one_of("--on-error", on_error, ("row", "fail"))
    what = kind or _kind(modality, backbone, backbone_kinds(backbone))
    _one_of("--kind", what, KINDS)
    chosen: Any = {"kind": what, "dtype": dtype, "on_error": on_error}  # checked above; mypy cannot narrow a str
    samples = read_manifest(manifest, modality, column=column, root=root, kind=chosen["kind"], text_files=text_files)
    encoder = open_backbone(backbone, what, Setup(device))
    target = out or default_cache(manifest, modality, encoder.name)
    try:
        report = extract(
            samples,
            encoder,
            target,
            modality=modality,
            batch_size=batch_size,
            dtype=chosen["dtype"],
            workers=workers,
            on_error=chosen["on_error"],
            retry_failed=retry_failed,
            text_files=text_files,
        )
    except ExtractionInterrupted as interrupt:
        typer.echo(f"xfeat: {interrupt}", err=True)
        raise typer.Exit(130) from None
    typer.echo(summary(report, modality, encoder.name))
    if not report.ok:
        reason = report.by_reason[0]
        raise InputError(
            f"none of the {report.rows} samples could be read ({reason.text}, for example {reason.first!r}): check "
            "--root and --column, then run again with --retry-failed"
        )


def default_cache(manifest: Path, modality: str, backbone: str) -> Path:
    """``$XFEAT_CACHE/<dataset>/<modality>.<backbone-slug>``; the data set is named by the manifest or its folder."""
    dataset = manifest.resolve().parent.name if manifest.stem.lower() in GENERIC else manifest.stem
    slug = re.sub(r"[^a-z0-9]+", "-", backbone.lower()).strip("-")
    return Path(os.environ.get("XFEAT_CACHE") or "cache") / (dataset or "dataset") / f"{modality}.{slug}"


def summary(report: "ExtractReport", modality: str, backbone: str) -> str:
    """The lines printed at the end; within 80 columns but for names and reasons that are longer themselves."""
    lines = [f"{modality} by {backbone}: {report.ok:,} of {report.rows:,} samples ok, {report.failed:,} failed"]
    shown = report.by_reason[:REASONS]
    lines += [f"  {reason.count:,} x {reason.text} (first: {reason.first})" for reason in shown]
    rest = report.by_reason[REASONS:]
    if rest:
        lines.append(f"  {sum(reason.count for reason in rest):,} for {len(rest):,} other reasons")
    splits = ", ".join(f"{name} {count:,}" for name, count in report.splits.items())
    lines.append(f"  features  {report.rows:,} x {report.dim:,} {report.dtype} ({splits})")
    lines.append(f"  time      {_time(report)}")
    lines.append(f"  cache     {report.path}")
    lines += [f"  note      {note}" for note in _notes(report)]
    if report.failed and report.ok:
        lines.append("Failed samples are rows without features; add --retry-failed to try them again.")
    if report.ok:
        lines.append(f"Next: xfeat cache info {report.path}")
    return "\n".join(lines)


def _time(report: "ExtractReport") -> str:
    if not report.tried_rows:
        return "nothing to do: all rows were there already"
    rate = report.tried_rows / report.seconds
    resumed = f", {report.resumed_rows:,} kept from before" if report.resumed_rows else ""
    return f"{report.tried_rows:,} in {report.seconds:.1f} s ({rate:,.0f} a second){resumed}"


def _notes(report: "ExtractReport") -> list[str]:
    notes = []
    if report.truncated:
        notes.append(f"{report.truncated:,} samples were longer than the backbone reads and were cut")
    if report.left_out:
        notes.append(f"{report.left_out:,} rows of the manifest do not have this modality")
    if report.repaired_shards:
        notes.append(f"{report.repaired_shards:,} damaged shards were written again")
    return notes


def _kind(modality: str, backbone: str, offered: tuple[str, ...]) -> str:
    # image, images, image_left, image2, stroke; not imagery, texture
    named = [kind for kind in KINDS if re.match(rf"{kind.removesuffix('s')}s?(?![a-z])", modality.lower())]
    if named or len(offered) == 1:
        return (named or offered)[0]
    raise InputError(
        f"modality {modality!r} does not say what its samples are, and {backbone} reads {' and '.join(offered)}: "
        f"add --kind {offered[0]} or --kind {offered[-1]}"
    )


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{option} {value!r}: choose {', '.join(choices)}")
