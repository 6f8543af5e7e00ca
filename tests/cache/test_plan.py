import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.cache import Columns
from xfeat.cache import plan as plans
from xfeat.cache.keys import source_keys
from xfeat.cache.plan import samples_digest


def oracle(columns: Columns, sources: np.ndarray | None) -> str:
    """Every string behind its length, one after another."""
    total = hashlib.sha256()
    for name in ("ids", "split", "classes", "pair", "camera"):
        strings = getattr(columns, name)
        if strings is not None:
            total.update(f"{name} {len(strings)}\n".encode())
            for text in strings:
                total.update(len(text.encode()).to_bytes(8, "little") + text.encode())
    if sources is not None:
        total.update(f"sources {len(sources)}\n".encode())
        for key in sources.tolist():
            total.update(key.to_bytes(8, "little"))
    if columns.labels is not None:
        total.update(f"labels {columns.labels.shape}".encode() + columns.labels.tobytes())
    return total.hexdigest()


@given(texts=st.lists(st.text(max_size=9), min_size=1, max_size=20), optional=st.booleans(), step=st.integers(1, 7))
def test_the_digest_is_that_of_the_strings_one_by_one(texts: list[str], optional: bool, step: int) -> None:
    ids = [f"{row}" for row in range(len(texts))]
    columns = Columns(ids, texts)
    sources = None
    if optional:
        columns = Columns(ids, texts, ["x", "yé"], np.arange(len(ids)) % 2, texts[::-1], texts)
        sources = source_keys(texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "STEP", step)
        assert samples_digest(columns, sources) == oracle(columns, sources)


def test_every_column_counts() -> None:
    columns = Columns(["a", "b"], ["train", "test"], ["x", "y"], np.array([0, 1]), ["p", "q"], ["c", "d"])
    changes = [
        {"ids": ["a", "c"]},
        {"split": ["train", "train"]},
        {"classes": ["y", "x"]},
        {"labels": np.array([0, 0])},
        {"labels": np.eye(2, dtype=np.uint8)},
        {"pair": ["p", "p"]},
        {"pair": None},
        {"camera": None},
    ]
    digests = {samples_digest(dataclasses.replace(columns, **change)) for change in changes}  # type: ignore[arg-type]
    digests |= {samples_digest(columns), samples_digest(columns, source_keys(["a", "b"]))}
    assert len(digests) == len(changes) + 2


def test_source_keys_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="for 1 samples"):
        samples_digest(Columns(["a"], ["train"]), source_keys(["a", "b"]))
