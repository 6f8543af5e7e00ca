"""Extractions with everything that can happen between and during them; what is on disk is compared with the files."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from xfeat.cache import OK, Columns, FeatureCache, Tokens
from xfeat.cache.keys import source_keys
from xfeat.errors import InputError, SampleError
from xfeat.extraction.decode import NOTHING
from xfeat.extraction.pipeline import ExtractionInterrupted, extract
from xfeat.samples.manifest import Samples

FILES = 9
TOO_LARGE = "300"  # its square is more than float16 holds: the shard is refused when it is written
BAD = ("x", "y", None)
CONTENTS = ["1", "2", "3", "4", "5", *BAD]


class Squares:
    """A file holds x; its feature is (x, x * x), its tokens are 1 + x % 3 times x. Stops at the n-th call."""

    kind, name, dim, token_dim = "image", "test:squares", 2, 1

    def __init__(self, stop: str = "", calls: int = 0) -> None:
        self._stop, self._calls = stop, calls

    def fingerprint(self) -> dict[str, Any]:
        return {"backbone": self.name}

    def token_fingerprint(self) -> dict[str, Any]:
        return {"unit": "number"}

    def load(self, source: Path | str) -> int:
        self._count("load")
        text = Path(source).read_text()
        if text in BAD:
            raise SampleError("not a number")
        return int(text)

    def encode(self, items: Sequence[int]) -> NDArray[np.float32]:
        self._count("encode")
        self._count("fail")
        return np.array([[x, x * x] for x in items], np.float32)

    def encode_tokens(self, items: Sequence[int]) -> tuple[NDArray[np.float32], Tokens]:
        sequences = [np.full((1 + x % 3, 1), x, np.float32) for x in items]
        return self.encode(items), Tokens(np.concatenate(sequences), np.cumsum([0, *map(len, sequences)]))

    def _count(self, where: str) -> None:
        if where == self._stop:
            self._calls -= 1
            if self._calls < 0:
                raise RuntimeError("a bug") if where == "fail" else KeyboardInterrupt


def key(content: str | None) -> bytes:
    return NOTHING if content is None else hashlib.blake2b(content.encode(), digest_size=16).digest()


TEXTS = {key(content): content for content in [*CONTENTS, TOO_LARGE]}


def on_disk(cache: Path) -> dict[str, str | None]:
    """The content of each row that can be read; every row must be what its content gives."""
    rows: dict[str, str | None] = {}
    for path in sorted(cache.glob("*.h5")):
        try:
            with h5py.File(path) as file:
                arrays = {name: file[name][...] for name in file}
        except (OSError, RuntimeError):  # cut short, or with a broken header
            continue
        for row, name in enumerate(arrays["ids"].tolist()):
            content = TEXTS[arrays["content"][row].tobytes()]
            status = arrays["status"][row].decode()
            tokens = arrays["tokens"][slice(*arrays["offsets"][row : row + 2]), 0].tolist()
            if content is None or content in BAD:
                assert status == ("file not found" if content is None else "not a number")
                assert (arrays["features"][row].tolist(), tokens) == ([0, 0], [])
            else:
                x = int(content)
                assert (status, arrays["features"][row].tolist()) == (OK, [x, x * x]), (path.name, row)
                assert tokens == [x] * (1 + x % 3)
            assert rows.setdefault(name.decode(), content) == content
    return rows


@dataclass
class World:
    """Files, a manifest that names some of them, a cache, and what the rows of the cache have to be."""

    root: Path
    contents: list[str | None] = field(default_factory=lambda: [None] * FILES)
    order: list[int] = field(default_factory=list)
    source: dict[int, int] = field(default_factory=dict)  # which file a sample is
    damaged: bool = False

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def write(self, number: int, content: str | None) -> None:
        self.contents[number] = content
        path = self.root / f"{number}.txt"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content)

    def now(self, row: int) -> str | None:
        return self.contents[self.source.get(row, row)]

    def damage(self, number: int, how: str) -> None:
        shards = sorted(self.cache.glob("*.h5"))
        if not shards:
            return
        path = shards[number % len(shards)]
        self.damaged = True
        if how == "delete":
            path.unlink()
        elif how == "cut":
            path.write_bytes(path.read_bytes()[:-40])
        else:
            with suppress(OSError), h5py.File(path, "r+") as file:  # it may be cut already
                file["features"][0, 0] += 1

    @property
    def names(self) -> list[str]:
        return [f"s{row}" for row in self.order]

    def samples(self) -> Samples:
        sources = [f"{self.source.get(row, row)}.txt" for row in self.order]
        return Samples(Columns(self.names, ["train"] * len(sources)), sources, self.root, 0, "image")

    def extract(self, backbone: Squares, retry: bool, recheck: bool, batch_size: int) -> None:
        before = {} if self.damaged else on_disk(self.cache)
        moved = set() if self.damaged else self._moved()
        try:
            report = extract(
                self.samples(), backbone, self.cache, modality="image", workers=0, tokens=True, shard_rows=3,
                batch_size=batch_size, retry_failed=retry, recheck=recheck,
            )  # fmt: skip
        except (ExtractionInterrupted, RuntimeError):
            self._check_kept(before)
        except InputError as error:
            self._check_refused(str(error), before)
        else:
            self._check(before, moved, retry, recheck)
            assert report.rows == len(on_disk(self.cache))
            self.damaged = False

    def _check_refused(self, why: str, before: dict[str, str | None]) -> None:
        if "not finite" in why:
            assert TOO_LARGE in self.contents
            self._check_kept(before)
            return
        nothing_known = "another data set" in why and not before.keys() & set(self.names)
        assert nothing_known or (self.damaged and "damaged" in why)  # rows that nobody names were lost
        for path in self.cache.iterdir():
            path.unlink()
        self.damaged = False

    def _check_kept(self, before: dict[str, str | None]) -> None:
        if self.damaged:
            return
        after = on_disk(self.cache)
        assert before.keys() <= after.keys()
        for name in before:
            assert after[name] in (before[name], self.now(int(name[1:])))

    def _moved(self) -> set[str]:
        """Rows that are stored with another source than they have now."""
        found = set()
        for path in self.cache.glob("*.h5"):
            with h5py.File(path) as file:
                ids, stored = [name.decode() for name in file["ids"][...]], file["source"][...]
            now = source_keys([f"{self.source.get(int(name[1:]), int(name[1:]))}.txt" for name in ids])
            found |= {name for name, same in zip(ids, stored == now, strict=True) if not same}
        return found

    def _check(self, before: dict[str, str | None], moved: set[str], retry: bool, recheck: bool) -> None:
        block = FeatureCache(self.cache).load(ok_only=False, with_tokens=True)
        after = on_disk(self.cache)
        assert list(after) == block.ids
        if self.damaged:
            assert set(self.names) <= after.keys()
            return
        assert list(after)[: len(before)] == list(before)
        assert after.keys() == before.keys() | set(self.names)
        for name, content in after.items():
            again = name not in before or name in moved or recheck or (retry and before[name] in BAD)
            assert content == (self.now(int(name[1:])) if again and name in self.names else before[name]), name


NUMBERS = st.integers(0, FILES - 1)
RUN = st.tuples(
    st.just("run"),
    st.sampled_from(["", "", "", "load", "encode", "encode", "fail"]),
    st.integers(0, 5),
    st.booleans(),
    st.booleans(),
    st.integers(1, 4),
)
STEPS = st.one_of(
    RUN,
    RUN,
    st.tuples(st.just("name"), st.lists(NUMBERS, min_size=1, unique=True)),
    st.tuples(st.just("move"), NUMBERS, NUMBERS),
    st.tuples(st.just("write"), NUMBERS, st.sampled_from([*CONTENTS, TOO_LARGE])),
    st.tuples(st.just("write"), NUMBERS, st.sampled_from(CONTENTS)),
    st.tuples(st.just("damage"), NUMBERS, st.sampled_from(["delete", "cut", "flip"])),
)


@pytest.fixture(autouse=True)
def _several_batches_at_a_time() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@given(
    contents=st.lists(st.sampled_from(CONTENTS), min_size=FILES, max_size=FILES),
    steps=st.lists(STEPS, min_size=2, max_size=12),
)
def test_whatever_happens_a_row_is_what_its_content_gives(
    tmp_path_factory: pytest.TempPathFactory, contents: list[str | None], steps: list[tuple[Any, ...]]
) -> None:
    world = World(tmp_path_factory.mktemp("world"))
    for number, content in enumerate(contents):
        world.write(number, content)
    world.order = list(range(FILES // 2))
    for what, *values in [*steps, ("run", "", 0, True, True, 2)]:
        if what == "run":
            stop, calls, retry, recheck, batch_size = values
            world.extract(Squares(stop, calls), retry, recheck, batch_size)
        elif what == "name":
            world.order = values[0]
        elif what == "move":
            world.source[values[0]] = values[1]
        elif what == "write":
            world.write(*values)
        else:
            world.damage(*values)


def test_ctrl_c_before_a_row_is_encoded_leaves_no_copy_of_what_it_was(tmp_path: Path) -> None:
    """Rows 1 and 2 change to the same content; row 2 would be a copy of row 1, and row 1 is not encoded in time."""
    world = World(tmp_path, order=[0, 1, 2])
    for number, content in enumerate("123"):
        world.write(number, content)
    world.extract(Squares(), retry=False, recheck=False, batch_size=2)
    for number in (1, 2):
        world.write(number, "5")
    world.extract(Squares("encode"), retry=False, recheck=True, batch_size=2)
    assert on_disk(world.cache) == {"s0": "1", "s1": "2", "s2": "3"}
    world.extract(Squares(), retry=False, recheck=True, batch_size=2)
    assert on_disk(world.cache) == {"s0": "1", "s1": "5", "s2": "5"}


def test_no_row_is_a_copy_of_one_in_a_shard_that_was_refused(tmp_path: Path) -> None:
    """Row 3 is to be a copy of row 0, whose shard is not written: row 1 does not fit into float16."""
    world = World(tmp_path, order=[0, 1, 2, 3])
    for number, content in enumerate("1234"):
        world.write(number, content)
    world.extract(Squares(), retry=False, recheck=False, batch_size=2)
    for number, content in ((0, "5"), (1, TOO_LARGE), (3, "5")):
        world.write(number, content)
    for _ in range(2):
        world.extract(Squares(), retry=False, recheck=True, batch_size=1)
        assert on_disk(world.cache) == {"s0": "1", "s1": "2", "s2": "3", "s3": "4"}
    world.write(1, "2")
    world.extract(Squares(), retry=False, recheck=True, batch_size=1)
    assert on_disk(world.cache) == {"s0": "5", "s1": "2", "s2": "3", "s3": "5"}


def test_a_row_that_fails_again_has_the_content_that_it_failed_with_now(tmp_path: Path) -> None:
    world = World(tmp_path, order=[0, 1])
    for content in BAD[:2]:
        for number in world.order:
            world.write(number, content)
        world.extract(Squares(), retry=False, recheck=True, batch_size=2)
        assert on_disk(world.cache) == {"s0": content, "s1": content}
