"""What a check of caches found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

Severity: TypeAlias = Literal["leak", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("leak", "warning", "note")
EXAMPLES = 3  # named with a finding


@dataclass(frozen=True)
class CheckSettings:
    """How closely to look.

    Attributes:
        near: least cosine of near duplicates, of centred features.
        apart: 1 - cosine of a near duplicate is at most this share of what it is to the ``nearest``-th training row.
        nearest: which training row that is, counted from the nearest.
        rows: training rows of a cache that neighbours are looked for among; of its other rows, a quarter of that.
        neighbours: K, of the search for doubtful labels.
        agreeing: neighbours of one other class that make a label doubtful.
    """

    near: float = 0.99
    apart: float = 0.03
    nearest: int = 5
    rows: int = 20_000
    neighbours: int = 10
    agreeing: int = 8

    @property
    def others(self) -> int:
        """Rows of a cache outside of its training split that are compared with training rows."""
        return max(1, self.rows // 4)


@dataclass(frozen=True)
class Place:
    """A row: its cache, id and split, and its class names (None without a label)."""

    cache: str
    id: str
    split: str
    label: str | None = None


@dataclass(frozen=True)
class Example:
    """A row that a finding is about, the row it was compared with, and their cosine, where there is one."""

    row: Place
    other: Place | None = None
    score: float | None = None
    word: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: what it is, for programs, for example ``duplicates``.
        severity: ``leak`` makes test numbers wrong; ``warning`` may; ``note`` is worth knowing.
        title: the finding in one line.
        lines: what it means and what to do.
        examples: a few of the rows.
        counts: numbers by name.
    """

    kind: str
    severity: Severity
    title: str
    lines: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    counts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Overview:
    """A cache in numbers, failed rows left out.

    Attributes:
        cache: its modality, or its folder where two caches hold the same modality.
        dim: width of its features.
        splits: rows by split.
        classes: that its training rows have.
        least: training rows of the smallest of these; 0 without labels.
        most: training rows of the largest.
        unlabelled: rows without a label.
        failed: rows that failed.
    """

    cache: str
    dim: int
    splits: Mapping[str, int]
    classes: int
    least: int
    most: int
    unlabelled: int
    failed: int


@dataclass(frozen=True)
class Report:
    """A check of caches.

    Attributes:
        caches: what was looked at.
        findings: leaks first.
        sampled: where not every row was looked at, a line that says so.
        settings: how closely it was looked.
    """

    caches: tuple[Overview, ...]
    findings: tuple[Finding, ...]
    sampled: tuple[str, ...]
    settings: CheckSettings

    def count(self, severity: Severity) -> int:
        """Findings of a severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)


def by_severity(findings: list[Finding]) -> tuple[Finding, ...]:
    """Leaks first; those of a kind together, otherwise in their order."""
    kinds = list(dict.fromkeys(finding.kind for finding in findings))
    return tuple(sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), kinds.index(one.kind))))


def share(part: int, whole: int) -> float:
    """``part`` of ``whole``; 0 of nothing."""
    return part / whole if whole else 0.0


def rows_of_splits(counts: Mapping[str, tuple[int, int]]) -> str:
    """``3 of 462 test and 1 of 231 val rows``, of the found and all rows by split; other splits are quoted."""
    parts = [
        f"{found:,} of {total:,} {split if split in ('val', 'test') else repr(split)}"
        for split, (found, total) in counts.items()
        if found
    ]
    return f"{' and '.join(parts)} rows"


def inflected(words: str, number: int) -> str:
    """``{s}``, ``{have}`` and ``{are}`` as they go with a number of rows."""
    one = number == 1
    return words.format(s="s" if one else "", have="has" if one else "have", are="is" if one else "are")
