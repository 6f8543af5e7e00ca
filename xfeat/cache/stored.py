"""One shard as it lies on disk: its datasets as arrays, checked, nothing decoded."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.checksums import columns_checksum, damaged_rows, summary
from xfeat.cache.columns import OK, Columns
from xfeat.cache.datasets import Dataset, Datasets, RefusedError, open_datasets
from xfeat.cache.keys import CONTENT_BYTES
from xfeat.cache.layout import check_layout
from xfeat.cache.manifest import Manifest, label_kind
from xfeat.cache.rows import Place
from xfeat.cache.strings import texts
from xfeat.errors import InputError

AGAIN = "delete this shard and run the command that wrote the cache again"
STRINGS = ("ids", "split", "status", "pair", "camera")
COLUMNS = (*STRINGS, "labels", "offsets", "source", "content")
CHECKSUMS = {"features": "checksums", "tokens": "token_checksums"}


@dataclass(frozen=True)
class Stored:
    """What a shard file holds.

    Attributes:
        columns: the m samples: strings as UTF-8 of fixed width, ``labels``, ``offsets``, ``source``, ``content``.
        rows: ``features`` and ``tokens``, where they were read.
        checksums: all checksums as bytes.
        order: the digest of the classes that the labels count in; empty in shards that do not say.
        sums: checksums of ``features`` and ``tokens``, read or not.
        place: where the features lie, for reading them alone; None where they cannot be read without HDF5.
    """

    columns: Mapping[str, NDArray[Any]]
    rows: Mapping[str, NDArray[Any]]
    checksums: bytes
    order: str = ""
    sums: Mapping[str, NDArray[np.uint64]] = field(default_factory=dict)
    place: Place | None = None

    def __len__(self) -> int:
        return len(self.columns["ids"])

    @property
    def ok(self) -> NDArray[np.bool_]:
        """(m,) samples that did not fail."""
        good: NDArray[np.bool_] = self.columns["status"] == OK.encode()
        return good

    @property
    def tokens(self) -> int:
        """The number of tokens, whether they were read or not."""
        return int(self.columns["offsets"][-1]) if "offsets" in self.columns else 0

    @property
    def source(self) -> NDArray[np.uint64]:
        """(m,) source keys; zeros in shards that have none."""
        return self.columns.get("source", np.zeros(len(self), np.uint64))

    @property
    def content(self) -> NDArray[np.uint8]:
        """(m, 16) content keys; zeros where they are unknown."""
        return self.columns.get("content", np.zeros((len(self), CONTENT_BYTES), np.uint8))

    def strings(self, name: str) -> list[str]:
        """A column of strings, decoded."""
        return texts(self.columns[name])


def read_stored(
    path: Path,
    manifest: Manifest,
    shard: int,
    *,
    check: bool = True,
    with_features: bool = True,
    with_tokens: bool = True,
) -> Stored:
    """Read one shard and close it. Of an unfinished cache it may be short, and have labels of an earlier manifest.

    Args:
        path: its file.
        manifest: of its cache.
        shard: its number.
        check: compare features and tokens with their checksums (the other columns are always compared).
        with_features: read the features.
        with_tokens: read the tokens, where the cache has any.

    Raises:
        InputError: truncated, damaged, not what the manifest says, of another cache, or holding links.
    """
    wanted = {"features": with_features, "tokens": with_tokens}
    with opened(path) as file:
        fingerprint = str(file.attrs["fingerprint"])
        checksum = int(file.attrs["columns_checksum"])
        order = str(file.attrs.get("classes", ""))
        check_layout(file, manifest, shard)
        columns = {name: raw(file[name]) for name in COLUMNS if name in file}
        sums = {name: raw(file[CHECKSUMS[name]]) for name in CHECKSUMS if name in file}
        rows = {name: raw(file[name]) for name in sums if wanted[name]}
        place = file.place("features")
    check_fingerprint(path, fingerprint, manifest)
    if checksum != columns_checksum(columns):
        raise InputError(f"shard {path}: ids, labels or another column differ from their checksum: {AGAIN}")
    if check:
        for name, array in rows.items():
            compare(name, array, sums[name], path)
    labels = columns.get("labels")
    fit = labels_fit(labels, manifest.classes) and label_kind(labels) == manifest.label_kind
    if manifest.complete and not fit:
        raise InputError(f"shard {path}: its labels do not fit the {len(manifest.classes)} classes of the manifest")
    return Stored(columns, rows, summary(*sums.values(), columns=checksum), order, sums, place)


def encoded(strings: Sequence[str]) -> NDArray[np.bytes_]:
    """Strings as UTF-8 at the width of the longest."""
    different = set(strings)
    if len(different) <= len(strings) // 2:  # splits, for example
        table = {text: text.encode() for text in different}
        utf8 = [table[text] for text in strings]
        width = max(map(len, table.values()))
    else:
        utf8 = [text.encode() for text in strings]
        width = max(map(len, utf8), default=0)
    return np.array(utf8, dtype=f"S{max(1, width)}")


def stored_columns(columns: Columns, source: NDArray[np.uint64] | None = None) -> dict[str, NDArray[Any]]:
    """What a shard stores of its samples: all but their features, tokens, status and content."""
    arrays: dict[str, NDArray[Any]] = {}
    for name in STRINGS:
        strings = None if name == "status" else getattr(columns, name)
        if strings is not None:
            arrays[name] = encoded(strings)
    if columns.labels is not None:
        arrays["labels"] = np.ascontiguousarray(columns.labels)
    if source is not None:
        arrays["source"] = np.ascontiguousarray(source, np.uint64)
    return arrays


@contextmanager
def opened(path: Path, names: Sequence[str] = ()) -> Iterator[Datasets]:
    """The datasets of the file, closed at the end; whatever is wrong with it inside the block is one line.

    Args:
        path: the file.
        names: of the datasets that are wanted; the others are not looked at. Empty: all.

    Raises:
        InputError: missing, truncated, damaged, or holding links.
    """
    if not path.is_file():
        raise InputError(f"shard {path} is missing: run the command that wrote the cache again")
    try:
        with open_datasets(path, names) as file:
            yield file
    except RefusedError as error:
        raise InputError(f"shard {path}: {error} is a link, a group or an external dataset: refused") from None
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"shard {path} is truncated or damaged ({_first_line(error)}): {AGAIN}") from None


def raw(dataset: Dataset) -> NDArray[Any]:
    """A dataset as an array."""
    return dataset.read()


def check_fingerprint(path: Path, stored: str, manifest: Manifest) -> None:
    """Raise InputError where a shard was made with another fingerprint than its manifest's."""
    wanted = manifest.fingerprint_sha256
    if stored != wanted:
        raise InputError(f"shard {path} has another fingerprint ({stored[:12]}) than its manifest ({wanted[:12]})")


def compare(name: str, rows: NDArray[Any], checksums: NDArray[np.uint64], path: Path) -> None:
    """Raise InputError where rows differ from their checksums."""
    damaged = damaged_rows(rows, checksums)
    if damaged is not None:
        first, last = damaged
        raise InputError(f"shard {path}: {name} of rows {first} to {last} differ from their checksum: {AGAIN}")


def labels_fit(labels: NDArray[Any] | None, classes: Sequence[str]) -> bool:
    """Whether labels, if there are any, count in these classes."""
    if labels is None:
        return True
    if labels.ndim == 1:
        return bool((labels < len(classes)).all() and (labels >= -1).all())
    return labels.shape[1:] == (len(classes),)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
