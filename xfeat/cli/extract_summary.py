"""What `xfeat extract` says at the end; within 80 columns but for names and reasons that are longer themselves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xfeat.cli.output import counted

if TYPE_CHECKING:
    from xfeat.extraction.report import ExtractReport

REASONS = 5


def summary(
    report: "ExtractReport", modality: str, backbone: str, *, batch_size: int = 0, more: Sequence[str] = ()
) -> str:
    """The lines.

    Args:
        report: what was done.
        modality: name of the modality.
        backbone: name of the backbone.
        batch_size: the one asked for.
        more: lines to follow that of the cache.
    """
    lines = [f"{modality} by {backbone}: {report.ok:,} of {report.rows:,} samples ok, {report.failed:,} failed"]
    shown = report.by_reason[:REASONS]
    lines += [f"  {reason.count:,} x {reason.text} (first: {reason.first})" for reason in shown]
    rest = report.by_reason[REASONS:]
    if rest:
        lines.append(f"  {sum(reason.count for reason in rest):,} for {len(rest):,} other reasons")
    splits = ", ".join(f"{name} {count:,}" for name, count in report.splits.items())
    lines.append(f"  features  {report.rows:,} x {report.dim:,} {report.dtype} ({splits})")
    if report.token_dim:
        mean = report.tokens / max(1, report.ok)
        lines.append(f"  tokens    {report.tokens:,} x {report.token_dim:,} {report.dtype}, {mean:.1f} a sample")
    lines.append(f"  time      {_time(report)}")
    lines.append(f"  cache     {report.path}")
    lines += [f"  {line}" for line in more]
    lines += [f"  note      {note}" for note in _notes(report, batch_size)]
    if report.failed and report.ok:
        lines.append("Failed samples are rows without features; add --retry-failed to try them again.")
    return "\n".join(lines)


def _time(report: "ExtractReport") -> str:
    if not report.tried_rows:
        changed = report.changed or report.moved or report.repaired_shards
        return "nothing to encode" if changed else "nothing to do: all rows were there already"
    rate = report.tried_rows / report.seconds
    resumed = f", {report.resumed_rows:,} kept from before" if report.resumed_rows else ""
    return f"{report.tried_rows:,} in {report.seconds:.1f} s ({rate:,.0f} a second){resumed}"


def _notes(report: "ExtractReport", batch_size: int) -> list[str]:
    told = (
        (report.added, "row is new: the cache grew by it", "rows are new: the cache grew by them"),
        (report.gone, *_both("row", "is", "are", "no longer in the manifest: kept")),
        (report.changed, *_both("row", "has", "have", "another split, label, pair or camera now")),
        (report.moved, *_both("row", "has", "have", "another path or text now")),
        (report.duplicates, *_both("input", "is", "are", "equal to another: encoded once")),
        (report.truncated, *_both("sample", "was", "were", "cut to the length that the backbone reads")),
        (report.left_out, *_both("row", "of the manifest does", "of the manifest do", "not have this modality")),
        (report.repaired_shards, *_both("damaged shard", "was", "were", "written again")),
    )
    notes = [counted(count, one, many) for count, one, many in told if count]
    if 0 < report.batch_size < batch_size:
        notes.append(f"memory ran out at batch size {batch_size:,}: went on with {report.batch_size:,}")
    return notes


def _both(noun: str, one: str, many: str, rest: str) -> tuple[str, str]:
    return f"{noun} {one} {rest}", f"{noun}s {many} {rest}"
