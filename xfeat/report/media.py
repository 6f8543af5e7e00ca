"""What the samples of a page look and sound like, from the manifests that their features were extracted from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xfeat.errors import InputError
from xfeat.samples.tables import read_table
from xfeat.training.anchors_samples import Preview, Previews, open_previews
from xfeat.training.group import is_group, load_group, member_path
from xfeat.training.run import Run

MOST_CHARS = 8_000_000  # of all previews in a page
DRAWN = ("image", "strokes")  # what a page defines once, however often it is shown


@dataclass(frozen=True)
class Shown:
    """A sample on a page: what it is, and the name of its drawing, which is defined once for all."""

    preview: Preview
    symbol: str = ""


class Media:
    """Previews of samples, as many as a page has room for.

    Attributes:
        given: whether there is a manifest.
        symbols: images and drawings by name, each once however often it is shown.
        unknown: samples that were asked for and are in no manifest, or cannot be read.
        crowded: samples that found no room.

    Args:
        previews: of each manifest; the first that has a sample shows it.
        most: characters of all previews together.
    """

    def __init__(self, previews: Sequence[Previews] = (), most: int = MOST_CHARS) -> None:
        self._previews, self._free = previews, most
        self._drawn: dict[tuple[str, str], Shown] = {}
        self.given = bool(previews)
        self.symbols: dict[str, Preview] = {}
        self.unknown: set[tuple[str, str]] = set()
        self.crowded: set[tuple[str, str]] = set()

    def show(self, modality: str, sample: str) -> Shown | None:
        """The preview of a sample in one more place; None where there is none, or no room for it."""
        key = modality, sample
        if key in self._drawn:
            return self._drawn[key]
        known = [one for one in self._previews if one.knows(modality)]
        preview = next((found for one in known if (found := one.find(modality, sample)) is not None), None)
        if preview is None or preview.kind == "none":
            if known:
                self.unknown.add(key)
            return None if preview is None else Shown(preview)
        if preview.size > self._free:
            self.crowded.add(key)
            return None
        self._free -= preview.size
        if preview.kind not in DRAWN:
            return Shown(preview)
        shown = Shown(preview, f"s{len(self.symbols)}")
        self.symbols[shown.symbol] = preview
        self._drawn[key] = shown
        return shown


def open_media(
    runs: Sequence[Path],
    manifests: Sequence[Path],
    columns: Mapping[str, str] | None = None,
    root: Path | None = None,
) -> Media:
    """Read the manifests of the samples of runs.

    Each shows the modalities that it has a column of.

    Args:
        runs: runs or groups.
        manifests: as ``read_manifest`` reads them.
        columns: by modality, the column that holds its paths or texts, where it is not called like it.
        root: folder of the paths; None takes each manifest's own.

    Raises:
        InputError: as ``read_manifest``; a manifest without a column of any modality, a column that no manifest has, or
            one of a modality that no run has.
    """
    backbones = _backbones(runs) if manifests else {}
    columns = columns or {}
    for name, column in columns.items():
        if name not in backbones:
            raise InputError(f"--column {name}={column}: no run has a modality {name!r}, only {', '.join(backbones)}")
    previews, used = [], set()
    for manifest in manifests:
        there = read_table(manifest).columns
        own = {name: column for name in backbones if (column := columns.get(name, name)) in there}
        if not own:
            raise InputError(
                f"{manifest} has no column {' or '.join(columns.get(name, name) for name in backbones)}; it has: "
                f"{', '.join(there)}: name one with --column MODALITY=COLUMN"
            )
        used |= set(own)
        previews.append(open_previews(manifest, own, backbones, root))
    for name, column in columns.items():
        if name not in used:
            raise InputError(f"--column {name}={column}: no manifest has a column {column!r}")
    return Media(previews)


def _backbones(runs: Sequence[Path]) -> dict[str, str]:
    """What made the features of each modality; '' where a cache is gone."""
    found: dict[str, str] = {}
    for path in runs:
        run = Run(member_path(path, load_group(path)[0][0]) if is_group(path) else path)
        for name, source in run.load_config().modalities.items():
            try:
                made = run.open_cache(name, source, allow_changed=True).manifest.fingerprint
            except InputError:
                made = {}
            found.setdefault(name, str(made.get("backbone", "")))
    return found
