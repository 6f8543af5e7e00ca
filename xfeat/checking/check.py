"""Checks caches together: what leaks from one split into another, and what is odd about classes and features."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

from xfeat.cache import FeatureCache
from xfeat.checking.balance import class_findings, overview
from xfeat.checking.dimensions import dimension_findings
from xfeat.checking.duplicates import conflicts, duplicates
from xfeat.checking.instances import split_instances
from xfeat.checking.near import near_duplicates
from xfeat.checking.report import CheckSettings, Finding, Report, by_severity
from xfeat.checking.rows import TRAIN, Rows, read_rows
from xfeat.checking.suspects import label_suspects
from xfeat.errors import InputError
from xfeat.progress import progress

QUICK_ROWS = 200_000  # in all caches: above, even reading the columns would be felt
QUICK_BYTES = 64 << 20  # of features in all caches
QUICK_WORK = 2_000_000_000  # multiplications: well under a second


def check_caches(caches: Sequence[FeatureCache], settings: CheckSettings | None = None) -> Report:
    """Look for leaks between splits and for what is odd, test rows included: no number of a model comes of it.

    Memory: the columns and 8 bytes a row and key, one shard, and the features of ``settings.rows`` training rows and a
    quarter as many others of each cache.

    Args:
        caches: one or more, of any modalities.
        settings: how closely to look.

    Raises:
        InputError: a cache given twice, or one that is damaged.
    """
    settings = settings or CheckSettings()
    with progress("check", sum(cache.manifest.shards for cache in caches) + 2 * len(caches)) as advance:
        rows = [
            read_rows(cache, name, settings.rows, settings.others, advance=advance)
            for cache, name in zip(caches, _names(caches), strict=True)
        ]
        findings = [*split_instances(rows), *duplicates(rows), *near_duplicates(rows, settings), *conflicts(rows)]
        advance(len(caches))
        findings += class_findings(rows)
        for one in rows:
            findings += [*dimension_findings(one), *label_suspects(one, settings)]
            advance()
    lines = tuple(chain.from_iterable(map(_sampled, rows)))
    return Report(tuple(map(overview, rows)), by_severity(findings), lines, settings)


def quick_check(caches: Sequence[FeatureCache]) -> tuple[Finding, ...]:
    """What can be told of caches in an instant: the leaks, and features that say nothing.

    Of many rows, pair keys and content keys only; of very many, nothing. Caches that cannot be trained on are passed
    over: training says what they lack.

    Args:
        caches: as they are about to be trained on.

    Raises:
        InputError: as `check_caches`.
    """
    manifests = [cache.manifest for cache in caches]
    if sum(m.rows for m in manifests) > QUICK_ROWS or not all(m.counts["split"].get(TRAIN) for m in manifests):
        return ()
    small = sum(4 * m.rows * m.dim for m in manifests) <= QUICK_BYTES
    settings = CheckSettings()
    rows = [
        read_rows(cache, name, settings.rows, settings.others, with_features=small, check=False)
        for cache, name in zip(caches, _names(caches), strict=True)
    ]
    # Where nothing varies, all rows are equal.
    rows = [one for one in rows if one.dimensions is None or (one.dimensions.low < one.dimensions.high).any()]
    findings = [*split_instances(rows), *duplicates(rows)]
    if small and sum(_work(one, other) for one in rows for other in rows) <= QUICK_WORK:
        findings += near_duplicates(rows, settings)
    for one in rows:
        findings += dimension_findings(one)
    return tuple(finding for finding in by_severity(findings) if finding.severity != "note")


def _names(caches: Sequence[FeatureCache]) -> list[str]:
    """The modality of each; its folder where two hold the same."""
    paths = [cache.path.resolve() for cache in caches]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise InputError(f"{twice} is given twice: name every cache once")
    times = Counter(cache.manifest.modality for cache in caches)
    return [cache.manifest.modality if times[cache.manifest.modality] == 1 else str(cache.path) for cache in caches]


def _work(one: Rows, other: Rows) -> int:
    """Multiplications that a search of one's rows among the other's takes, and one among the other's own."""
    if one.dim != other.dim:
        return 0
    return len(other.train.rows) * (len(one.others.rows) + len(other.train.rows) * (one is other)) * one.dim


def _sampled(rows: Rows) -> Iterator[str]:
    parts = [
        f"{len(sample.rows):,} of {sample.of:,} {name} rows"
        for sample, name in ((rows.train, "training"), (rows.others, "val and test"))
        if len(sample.rows) < sample.of
    ]
    if parts:
        yield f"{rows.name}: {' and '.join(parts)} were looked at for near duplicates and doubtful labels"
