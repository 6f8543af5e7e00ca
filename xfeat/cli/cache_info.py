"""What `xfeat cache info` says of a cache."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfeat.cli.output import cut, plain

if TYPE_CHECKING:
    from xfeat.cache import Manifest

WIDTH = 80
REASONS = 5


def describe(path: Path, m: "Manifest") -> list[str]:
    """Its lines; within 80 columns but for the path.

    Raises:
        InputError: a finished cache whose failed rows cannot be read.
    """
    lines = [f"{path}" + ("" if m.complete else "  (unfinished: run the command that writes it again)")]
    lines.append(f"  modality     {m.modality}")
    lines.append(f"  features     {m.rows:,} x {m.dim:,} {m.dtype}, {m.shards:,} shard{'s' * (m.shards != 1)}")
    if m.token_dim:
        mean = f", {m.tokens / max(1, m.counts['ok']):.1f} a sample" if m.complete else ""
        lines.append(f"  tokens       {f'{m.tokens:,}' if m.complete else '?'} x {m.token_dim:,} {m.dtype}{mean}")
    if m.complete:
        splits = ", ".join(f"{name} {count:,}" for name, count in m.counts["split"].items())
        lines += _wrapped(f"  rows         {m.counts['ok']:,} ok, {m.counts['failed']:,} failed ({splits})")
        lines += [_cut(f"    {line}", WIDTH) for line in _reasons(path, m)]
    classes = f"{len(m.classes):,}, {m.label_kind}-label: {_cut(', '.join(m.classes), 48)}" if m.classes else "none"
    lines.append(f"  classes      {classes}")
    more = more_about(path, m)
    if "content_keys" in more:
        keys = "yes" if more["content_keys"] else "no (changed files cannot be told)"
        lines.append(f"  content keys {keys}")
    lines.append(f"  on disk      {_size(more['bytes'])}")
    lines.append(f"  fingerprint  {m.fingerprint_sha256[:16]}")
    return lines + [_cut(f"    {key}: {_value(value)}", WIDTH) for key, value in m.fingerprint.items()]


def more_about(path: Path, m: "Manifest") -> dict[str, Any]:
    """What the manifest does not say, as JSON: size on disk, and of a finished cache whether it has content keys."""
    from xfeat.cache.failures import has_contents

    files = [*path.glob("*.h5"), path / "manifest.json"]
    about: dict[str, Any] = {"bytes": sum(file.stat().st_size for file in files)}
    return about | ({"content_keys": has_contents(path, m)} if m.complete else {})


def as_json(manifests: Mapping[Path, "Manifest"]) -> str:
    """The manifests and what they do not say, by path."""
    documents = {
        str(path): {**vars(m), "fingerprint_sha256": m.fingerprint_sha256, **more_about(path, m)}
        for path, m in manifests.items()
    }
    return json.dumps(documents, indent=1, ensure_ascii=False)


def failed_rows(manifests: Mapping[Path, "Manifest"], *, as_json: bool) -> Iterator[str]:
    """A line for each failed row: id, tab, reason; or one line of JSON, a list for each cache.

    Raises:
        InputError: a shard is missing, truncated or damaged.
    """
    from xfeat.cache.failures import failures

    if as_json:
        found = {str(path): [{"id": i, "status": why} for i, why in failures(path, m)] for path, m in manifests.items()}
        yield json.dumps(found, ensure_ascii=False)
        return
    for path, manifest in manifests.items():
        yield from ("\t".join(row) for row in failures(path, manifest))


def _reasons(path: Path, m: "Manifest") -> list[str]:
    if not m.counts["failed"]:
        return []
    from xfeat.cache.failures import failures
    from xfeat.extraction.report import count_reasons

    reasons = count_reasons(failures(path, m))
    lines = [f"{reason.count:,} x {reason.text} (first: {reason.first})" for reason in reasons[:REASONS]]
    rest = reasons[REASONS:]
    return lines + ([f"{sum(r.count for r in rest):,} for {len(rest):,} other reasons"] if rest else [])


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, WIDTH, subsequent_indent=" " * 15, drop_whitespace=True) if len(line) > WIDTH else [line]


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


def _value(value: Any) -> str:
    return _cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 60)


def _cut(text: str, room: int) -> str:
    return cut(plain(text), room)
