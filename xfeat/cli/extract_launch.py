"""``xfeat extract --on``: all parts as jobs of this machine or a SLURM cluster, then one cache."""

import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from xfeat.cli.extract_work import Work
from xfeat.errors import InputError, XfeatError

if TYPE_CHECKING:
    from xfeat.extraction.launch import Launched
    from xfeat.extraction.launch_clusters import Cluster
    from xfeat.extraction.report import ExtractReport

PLACES = ("local", "slurm")
OURS = ("on", "parts", "retries", "slurm", "shard", "out", "manifest")  # the parts' command lines do not repeat these


@dataclass(frozen=True)
class Jobs:
    """How the parts are run.

    Attributes:
        on: ``local`` or ``slurm``.
        parts: how many.
        retries: how often one that dies is submitted again.
        settings: of SLURM, as ``slurm_settings`` reads them.
        words: the command line of a part but for what each has of its own.
        device: as asked for; decides which GPUs parts on this machine see.
    """

    on: str
    parts: int
    retries: int
    settings: dict[str, Any]
    words: list[str]
    device: str


def read_jobs(
    ctx: typer.Context, on: str | None, parts: int | None, retries: int, slurm: Sequence[str], manifest: Path
) -> Jobs | None:
    """Check ``--on`` and what goes with it; None where nothing is to be launched.

    Raises:
        InputError: options that do not go together, or a setting that SLURM does not have.
    """
    from xfeat.extraction.launch_settings import slurm_settings

    if on is None:
        if parts is not None or slurm:
            raise InputError("--parts and --slurm need --on: add --on local or --on slurm")
        return None
    if on not in PLACES:
        raise InputError(f"--on {on!r}: choose {', '.join(PLACES)}")
    if parts is None:
        raise InputError(f"--on {on} needs --parts: into how many jobs to divide the samples")
    if slurm and on != "slurm":
        raise InputError("--slurm goes with --on slurm")
    if ctx.params["shard"] is not None:
        raise InputError("--shard is one part by hand, --on runs all of them: leave one out")
    words = ["extract", str(manifest.resolve()), *_words(ctx)]
    return Jobs(on, parts, retries, slurm_settings(slurm), words, ctx.params["device"])


def launch(work: Work, jobs: Jobs) -> tuple["ExtractReport", list[str]]:
    """Run all parts that are not done, join them, and check that they are what one extraction would have made.

    Returns:
        The report of the whole, and lines for its summary.

    Raises:
        InputError: the cache is there and does not fit, or a part's input is bad.
        XfeatError: a part died too often, or the cluster takes no jobs.
        LaunchInterrupted: Ctrl-C.
    """
    begun = time.perf_counter()
    shards = [work.part(part, jobs.parts) for part in range(jobs.parts)]
    again = [option for option in ("retry_failed", "recheck") if work.options[option]]
    if work.complete:
        if again:
            raise InputError(f"{work.out} is complete: --{again[0].replace('_', '-')} works on it without --on")
        if work.outdated:
            raise InputError(
                f"{work.out} holds other samples: extract without --on to grow it, or choose another --out"
            )
        report = _check(work)
        _remove(shards)
        return report, []
    todo = [part for part, shard in enumerate(shards) if again or not _done(shard)]
    if todo and work.begun:
        raise InputError(f"{work.out} is an unfinished cache: finish it without --on, or choose another --out")
    logs = work.out.resolve().with_name(f"{work.out.resolve().name}.logs")
    launched = _run(todo, jobs, work, shards, logs) if todo else None
    _merge(work, shards)
    tried = sum(len(shards[part].samples) for part in todo)
    seconds = time.perf_counter() - begun
    report = replace(_check(work), tried_rows=tried, resumed_rows=len(work.samples) - tried, seconds=seconds)
    _remove(shards)
    died = f", {launched.again} submitted again" if launched and launched.again else ""
    lines = [f"parts     {len(shards)} on {jobs.on}{died}"] + [f"logs      {logs}"] * bool(todo)
    return report, lines


def _check(work: Work) -> "ExtractReport":
    # Nothing is to be encoded: this compares fingerprint and samples, and reads every byte.
    return work.run(grow=False, retry_failed=False, recheck=False, workers=0)


def _done(shard: Work) -> bool:
    if not shard.complete:
        return False
    _check(shard)
    return True


def _run(todo: list[int], jobs: Jobs, work: Work, shards: list[Work], logs: Path) -> "Launched":
    from xfeat.extraction.launch import run_jobs
    from xfeat.progress import progress

    cluster = _cluster(jobs, logs)
    commands = [command(jobs, part, work.out) for part in todo]
    typer.echo(f"{len(todo)} of {jobs.parts} parts to do on {jobs.on}; what they print is in {logs}")
    with progress(f"extract {work.modality} on {jobs.on}", len(todo)) as advance:
        launched = run_jobs(
            commands,
            cluster,
            retries=jobs.retries,
            state=lambda number: _kept(shards[todo[number]].out),
            advance=advance,
        )
    if launched.failures:
        first = launched.failures[0]
        how = first.line.removeprefix("xfeat: ") if first.code == 2 else f"died {_how(first.code)} ({first.line})"
        others = f"; {len(launched.failures) - 1} more failed" if len(launched.failures) > 1 else ""
        raise XfeatError(
            f"part {todo[first.number]} of {jobs.parts}: {how}{others}; the others are kept and the same command goes "
            f"on from there (log: {first.log})"
        )
    return launched


def _kept(part: Path) -> list[tuple[str, int]]:
    """The files of a part and when they were written: they tell whether a job got further."""
    return sorted((path.name, path.stat().st_mtime_ns) for path in part.glob("*.h5"))


def _how(code: int | None) -> str:
    return "without an exit code" if code is None else f"with exit code {code}"


def _cluster(jobs: Jobs, logs: Path) -> "Cluster":
    from xfeat.extraction.launch_clusters import Local, Slurm

    return Local(logs) if jobs.on == "local" else Slurm(logs, jobs.settings)


def _merge(work: Work, shards: list[Work]) -> None:
    from xfeat.cache.merge import merge
    from xfeat.progress import progress

    with progress(f"merge {len(shards)} parts", len(work.samples)) as advance:
        merge([shard.out for shard in shards], work.out, advance)


def _remove(shards: list[Work]) -> None:
    for shard in shards:
        if shard.begun:
            shutil.rmtree(shard.out)


def command(jobs: Jobs, part: int, out: Path) -> list[str]:
    """The command line of one part: ``env SETTING=... python -m xfeat extract ... --shard part/parts``."""
    words = [*jobs.words, "--out", str(out.resolve()), "--shard", f"{part}/{jobs.parts}"]
    threads = jobs.settings.get("cpus_per_task")
    setting: dict[str, str] = {}
    if jobs.on == "local":
        from xfeat.extraction.feed import available_cores

        threads = max(1, available_cores() // jobs.parts)
        gpus = visible_gpus(jobs.device)
        setting["CUDA_VISIBLE_DEVICES"] = gpus[part % len(gpus)] if gpus else ""
    if threads:
        setting["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or str(threads)
        words += [] if any(word.startswith("--workers=") for word in words) else [f"--workers={threads}"]
    package = Path(__file__).parents[2]
    if package.name not in ("site-packages", "dist-packages"):  # a clone: it need not be installed
        setting["PYTHONPATH"] = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    return ["env", *(f"{name}={value}" for name, value in setting.items()), sys.executable, "-m", "xfeat", *words]


def visible_gpus(device: str) -> list[str]:
    """What parts of this machine get as CUDA_VISIBLE_DEVICES, in turn; empty where there is no GPU to use."""
    if device == "cpu":
        return []
    import torch

    count = torch.cuda.device_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = given.split(",")[:count] if given else [str(gpu) for gpu in range(count)]
    return names if not count or device in ("auto", "cuda") else [",".join(names)]  # cuda:N counts among all


def _words(ctx: typer.Context) -> list[str]:
    """The options that the user gave, for the command line of a part."""
    words: list[str] = []
    for option in ctx.command.params:
        name, value = option.name or "", ctx.params.get(option.name or "")
        source = ctx.get_parameter_source(name)
        if name in OURS or source is None or source.name == "DEFAULT":
            continue
        flag = getattr(option, "is_flag", False)
        words.append(option.opts[0] if flag else f"{option.opts[0]}={value}")
    return words
