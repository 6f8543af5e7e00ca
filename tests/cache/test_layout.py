import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.cache.building import make_plan, write_cache
from xfeat.cache.verify import verify
from xfeat.errors import InputError

HUGE = 10**12


def replaced(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str) -> None:
    """A header that claims much and holds nothing."""
    del file[name]
    file.create_dataset(name, shape, dtype, chunks=tuple(min(side, 16) for side in shape))


def rewritten(file: h5py.File, name: str, array: np.ndarray) -> None:
    del file[name]
    file[name] = array


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: replaced(file, "tokens", (HUGE, 3), "f4"), "tokens has 12000000000000 bytes in a file of"),
        (lambda file: replaced(file, "offsets", (HUGE,), "i8"), "offsets has 8000000000000 bytes in a file of"),
        (lambda file: replaced(file, "token_checksums", (HUGE,), "u8"), "token_checksums has 8000000000000 bytes"),
        (lambda file: replaced(file, "ids", (16,), "S100000000"), "ids has .* bytes in a file of"),
        (lambda file: rewritten(file, "tokens", file["tokens"][:-1]), "number of tokens"),
        (lambda file: rewritten(file, "tokens", file["tokens"][:, :2]), r"tokens are \(.*, 2\) float32, the manifest"),
        (lambda file: rewritten(file, "tokens", file["tokens"][:].astype("f8")), "float64, the manifest says"),
        (lambda file: rewritten(file, "tokens", np.float32(1)), "truncated or damaged"),
        (lambda file: rewritten(file, "offsets", file["offsets"][:-1]), r"offsets are \(16,\) int64"),
        (lambda file: rewritten(file, "offsets", file["offsets"][:][::-1]), "offsets run from"),
        (lambda file: file.__delitem__("tokens"), "truncated or damaged"),
        (lambda file: file.__delitem__("offsets"), "truncated or damaged"),
        (lambda file: file.__delitem__("token_checksums"), "truncated or damaged"),
    ],
)
def test_a_damaged_header_is_one_line_and_takes_no_memory(
    tmp_path: Path, damage: Callable[[h5py.File], None], message: str
) -> None:
    cache = write_cache(tmp_path / "c", make_plan(token_dim=3))
    with h5py.File(cache.path / "00001.h5", "a") as file:
        damage(file)
    for read in (
        lambda: cache.load(with_tokens=True, check=False),
        lambda: cache.load(),
        lambda: cache.tokens(1, check=False),
        lambda: cache.features(1),
    ):
        with pytest.raises(InputError, match=message) as error:
            read()
        assert "00001.h5" in str(error.value)
        assert "\n" not in str(error.value)
    assert len(verify(cache.path)) == 1


def test_offsets_have_a_checksum_with_the_other_columns(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "c", make_plan(token_dim=3))
    with h5py.File(cache.path / "00000.h5", "a") as file:
        offsets = file["offsets"][:]
        row = int(np.argmax(np.diff(offsets) > 1))
        offsets[row + 1] -= 1  # still ascending, from 0 to T
        file["offsets"][:] = offsets
    with pytest.raises(InputError, match="ids, labels or another column differ"):
        cache.load(check=False)


@pytest.mark.parametrize(
    "change",
    [{"token_dim": 0, "tokens": 0}, {"token_dim": 4}, {"tokens": 10**13}, {"tokens": 51}, {"token_dim": 10**12}],
)
def test_a_manifest_that_does_not_fit_the_tokens_is_refused(tmp_path: Path, change: dict[str, int]) -> None:
    cache = write_cache(tmp_path / "c", make_plan(token_dim=3))
    path = cache.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=str(cache.path)):
        type(cache)(cache.path).load(with_tokens=True)
    assert verify(cache.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_dim": -1}, "token_dim is -1"),
        ({"tokens": 1.5}, "tokens is 1.5"),
        ({"tokens": 49}, "there are 49 tokens for 50 samples"),
        ({"token_dim": 0}, "tokens of no width"),
    ],
)
def test_a_manifest_of_impossible_tokens_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    cache = write_cache(tmp_path / "c", make_plan(token_dim=3))
    path = cache.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=message):
        type(cache)(cache.path)
