"""`xfeat cache verify --sample`: rows encoded again and compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfeat.cli.output import counted
from xfeat.errors import InputError

if TYPE_CHECKING:
    from xfeat.cache import FeatureCache
    from xfeat.extraction.comparing import Mismatch
    from xfeat.extraction.reencode import Reencoded


@dataclass(frozen=True)
class Again:
    """How to encode again; the options of the command.

    Raises:
        InputError: an option that asks for encoding without ``sample``, or ``sample`` without what it needs.
    """

    sample: int | None
    manifest: Path | None
    backbone: str | None
    root: Path | None
    column: str | None
    kind: str | None
    text_files: bool
    frames: int
    device: str
    precision: str | None
    seed: int
    tolerance: float | None

    def __post_init__(self) -> None:
        if self.sample is None:
            given: dict[str, object] = {"--manifest": self.manifest, "--backbone": self.backbone, "--root": self.root}
            given |= {"--column": self.column, "--kind": self.kind, "--tolerance": self.tolerance}
            named = next((option for option, value in given.items() if value is not None), None)
            if named:
                raise InputError(f"{named} is for --sample K: say how many rows to encode again")
        elif self.manifest is None or self.backbone is None:
            raise InputError("--sample needs --manifest and --backbone: those the cache was extracted from and with")

    def run(self, cache: "FeatureCache") -> "Reencoded":
        """Encode a sample of one cache's rows again.

        Raises:
            InputError: an imported cache, or anything that does not fit it.
        """
        from xfeat.backbones.base import Setup
        from xfeat.backbones.registry import backbone_kinds, open_backbone
        from xfeat.backbones.runtime import stated_precision
        from xfeat.extraction.reencode import reencode, refuse_imported
        from xfeat.progress import progress
        from xfeat.samples.manifest import read_manifest

        if self.sample is None or self.manifest is None or self.backbone is None:
            raise ValueError("nothing to encode again")
        refuse_imported(cache)
        made = cache.manifest
        what: Any = self.kind or _kind(made.fingerprint.get("kind"), self.backbone, backbone_kinds(self.backbone))
        samples = read_manifest(
            self.manifest, made.modality, column=self.column, root=self.root, kind=what, text_files=self.text_files
        )
        precision = self.precision or stated_precision(made.fingerprint)
        backbone = open_backbone(self.backbone, what, Setup(self.device, precision, frames=self.frames))
        with progress(f"encode again {cache.path.name}", min(self.sample, made.rows)) as advance:
            return reencode(
                cache,
                samples,
                backbone,
                k=self.sample,
                seed=self.seed,
                tolerance=self.tolerance,
                text_files=self.text_files,
                advance=advance,
            )


def _kind(made: Any, backbone: str, offered: tuple[str, ...]) -> str:
    if made in offered or len(offered) == 1:
        return str(made if made in offered else offered[0])
    raise InputError(f"{backbone} reads {' and '.join(offered)}: say with --kind what the samples are")


def found(again: "Reencoded", seed: int) -> list[str]:
    """What encoding again has shown, in lines for standard output."""
    tried = f"{counted(again.checked, 'row')} encoded again (seed {seed})"
    bad = len(again.mismatches)
    verdict = f"{bad:,} not as stored" if bad else "all as stored"
    lines = [f"{tried}: {verdict}"]
    if again.worst_id:
        lines.append(f"  distance  {again.worst:.2g} at most ({again.worst_id}), {again.tolerance:g} allowed")
    if again.failed:
        lines.append(f"  failed    {counted(again.failed, 'row')} failed as before")
    if again.readable:
        first = again.readable[0]
        lines.append(
            f"  note      {counted(len(again.readable), 'failed row')} can be read now (first: {first}):\n"
            "            extract with --retry-failed"
        )
    if again.missing:
        lines.append(f"  note      {counted(again.missing, 'row')} of the cache not in the manifest: not tried")
    if again.unknown:
        lines.append(f"  note      {counted(again.unknown, 'sample')} of the manifest not in the cache: extract it")
    if again.versions:
        lines.append(f"  note      other library versions: {again.versions}")
    return lines


def shown(mismatches: Sequence["Mismatch"], limit: int = 10) -> list[str]:
    """The first mismatches in words, and how many more there are."""
    lines = [f"{one.id!r} (row {one.row}): {one.why}" for one in mismatches[:limit]]
    return lines + ([f"{len(mismatches) - limit:,} more rows differ"] if len(mismatches) > limit else [])
