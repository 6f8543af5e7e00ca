"""``xfeat extract``: samples of a manifest through a frozen backbone into a feature cache."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from xfeat.cli.extract_launch import launch, read_jobs
from xfeat.cli.extract_summary import summary
from xfeat.cli.extract_work import Work, one_shard, read_shard, stopping_keeps
from xfeat.errors import InputError

if TYPE_CHECKING:
    from xfeat.extraction.report import ExtractReport

GENERIC = ("manifest", "samples", "dataset", "index", "data")  # names of files that say nothing of the data set
KIND = "image|text|audio|strokes|video"


def extract(
    ctx: typer.Context,
    manifest: Path = typer.Argument(..., metavar="MANIFEST", help="CSV, TSV or JSON lines file of samples."),
    modality: str = typer.Option(..., help="Name of the modality, and of its column unless --column is given."),
    backbone: str = typer.Option(..., metavar="SPEC", help="family:model[@weights]; see `xfeat backbones`."),
    out: Path | None = typer.Option(None, metavar="CACHE", help="Folder of the cache [default: under ./cache]."),
    kind: str | None = typer.Option(None, metavar=KIND, help="What the samples are."),
    column: str | None = typer.Option(None, help="Column with the paths or texts."),
    root: Path | None = typer.Option(None, help="Folder of the paths [default: the manifest's]."),
    text_files: bool = typer.Option(False, "--text-files", help="The column names text files, not texts."),
    frames: int = typer.Option(8, min=1, help="Frames taken of each video."),
    tokens: bool = typer.Option(False, "--tokens", help="Store token sequences beside the features."),
    dtype: str = typer.Option("float16", metavar="float16|float32", help="Stored type of the features."),
    device: str = typer.Option("auto", metavar="auto|cpu|cuda|cuda:N", help="Where networks run."),
    precision: str = typer.Option("fp32", metavar="fp32|fp16|bf16", help="What networks compute in."),
    compiled: bool = typer.Option(False, "--compile", help="Compile the network first (torch.compile)."),
    batch_size: int = typer.Option(64, min=1, help="Samples encoded at a time; fewer where memory runs out."),
    workers: int | None = typer.Option(
        None, min=0, help="Decoding processes; 0: threads of this one [default: one per core]."
    ),
    retry_failed: bool = typer.Option(False, "--retry-failed", help="Try samples that failed before again."),
    recheck: bool = typer.Option(False, "--recheck", help="Encode stored samples again whose files have changed."),
    on_error: str = typer.Option("row", metavar="row|fail", help="Keep failed samples as rows, or stop at the first."),
    shard: str | None = typer.Option(None, metavar="I/N", help="Only part I of N, into CACHE.part-I-of-N."),
    on: str | None = typer.Option(None, metavar="local|slurm", help="Run all parts as jobs, then join them."),
    parts: int | None = typer.Option(None, min=1, help="With --on: how many."),
    retries: int = typer.Option(
        2, min=0, help="With --on: how often in a row a part that dies and got no further is submitted again."
    ),
    slurm: list[str] = typer.Option(
        [], metavar="KEY=VALUE", help="With --on slurm: partition, time, gpus_per_node, cpus_per_task, mem_gb, ..."
    ),
) -> None:
    """Encode samples with a frozen backbone into a cache.

    Run the same command again to resume, or after the manifest has grown to add what is new. A sample that cannot be
    read is kept as a row with the reason.
    """
    from xfeat.backbones.base import KINDS, PRECISIONS, Setup
    from xfeat.backbones.registry import backbone_kinds, open_backbone
    from xfeat.extraction.launch import LaunchInterrupted
    from xfeat.extraction.pipeline import ExtractionInterrupted
    from xfeat.samples.manifest import read_manifest

    for option, value, choices in (
        ("--dtype", dtype, ("float16", "float32")),
        ("--on-error", on_error, ("row", "fail")),
        ("--precision", precision, PRECISIONS),
    ):
        _one_of(option, value, choices)
    _check_device(device)
    what = kind or _kind(modality, backbone, backbone_kinds(backbone), KINDS)
    _one_of("--kind", what, KINDS)
    part = read_shard(shard) if shard is not None else None
    jobs = read_jobs(ctx, on, parts, retries, slurm, manifest)
    samples = read_manifest(manifest, modality, column=column, root=root, kind=what, text_files=text_files)  # type: ignore[arg-type]  # checked above
    # The machine that launches jobs only asks the backbone who it is; it may have no GPU.
    setup = Setup("cpu" if jobs else device, precision, compiled, frames)
    encoder = open_backbone(backbone, what, setup)
    options = {
        "batch_size": batch_size,
        "dtype": dtype,
        "workers": workers,
        "on_error": on_error,
        "retry_failed": retry_failed,
        "recheck": recheck,
        "text_files": text_files,
        "tokens": tokens,
    }
    work = Work(samples, encoder, out or default_cache(manifest, modality, encoder.name), modality, options)
    more: list[str] = []
    try:
        with stopping_keeps():
            if jobs:
                report, more = launch(work, jobs)
            else:
                report = (one_shard(work, *part) if part else work).run()
    except (ExtractionInterrupted, LaunchInterrupted) as interrupt:
        typer.echo(f"xfeat: {interrupt}", err=True)
        raise typer.Exit(130) from None
    typer.echo(summary(report, modality, encoder.name, batch_size=batch_size, more=more))
    _end(report, work, part)


def _end(report: "ExtractReport", work: Work, part: tuple[int, int] | None) -> None:
    if part:  # a part without a readable sample is a part all the same
        typer.echo(f"Next: when all {part[1]} parts are there, xfeat cache merge {work.out}")
        return
    if not report.ok:
        reason = report.by_reason[0]
        raise InputError(
            f"none of the {report.rows} samples could be read ({reason.text}, for example {reason.first!r}): check "
            "--root and --column, then run again with --retry-failed"
        )
    typer.echo(f"Next: xfeat cache info {report.path}")


def default_cache(manifest: Path, modality: str, backbone: str) -> Path:
    """``$XFEAT_CACHE/<dataset>/<modality>.<backbone-slug>``; the data set is named by the manifest or its folder."""
    dataset = manifest.resolve().parent.name if manifest.stem.lower() in GENERIC else manifest.stem
    slug = re.sub(r"[^a-z0-9]+", "-", backbone.lower()).strip("-")
    return Path(os.environ.get("XFEAT_CACHE") or "cache") / (dataset or "dataset") / f"{modality}.{slug}"


def _kind(modality: str, backbone: str, offered: tuple[str, ...], kinds: tuple[str, ...]) -> str:
    # image, images, image_left, image2, stroke; not imagery, texture
    named = [kind for kind in kinds if re.match(rf"{kind.removesuffix('s')}s?(?![a-z])", modality.lower())]
    if named or len(offered) == 1:
        return (named or offered)[0]
    raise InputError(
        f"modality {modality!r} does not say what its samples are, and {backbone} reads {' and '.join(offered)}: "
        f"add --kind {offered[0]} or --kind {offered[-1]}"
    )


def _check_device(device: str) -> None:
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", device, re.ASCII):
        raise InputError(f"--device {device!r}: choose auto, cpu, cuda or cuda:N")


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{option} {value!r}: choose {', '.join(choices)}")
