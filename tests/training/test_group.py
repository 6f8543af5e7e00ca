import json
from pathlib import Path

import pytest

from tests.training.building import TINY, blobs
from xfeat.errors import InputError
from xfeat.training.drcl import train
from xfeat.training.group import is_group, load_group, member_path, members, write_group


@pytest.fixture
def group(tmp_path: Path) -> Path:
    path = tmp_path / "group"
    cache = blobs("image").write(tmp_path / "image")
    for seed in (0, 3):
        train([cache], member_path(path, seed), TINY, seed=seed)
    write_group(path, [0, 3], "drcl")
    return path


def test_members_by_seed(group: Path) -> None:
    assert is_group(group)
    assert not is_group(group / "seed0")
    assert not is_group(group / "no")
    assert members(group) == {0: group / "seed0", 3: group / "seed3"}
    assert load_group(group) == ([0, 3], "drcl")
    assert json.loads((group / "group.json").read_text()) == {"seeds": [0, 3], "method": "drcl"}


def test_a_member_that_is_missing(group: Path) -> None:
    write_group(group, [0, 1, 3], "drcl")
    with pytest.raises(InputError, match=r"group has no run of seed 1 \(seed1 is missing or empty\): .*--resume"):
        members(group)


def test_a_member_that_is_not_finished(group: Path) -> None:
    (group / "seed3" / "branches" / "image.json").unlink()
    with pytest.raises(InputError, match=r"seed3 is not finished \(no branch of image\): .*--resume"):
        members(group)


def test_a_member_of_another_seed(group: Path) -> None:
    (group / "seed3").rename(group / "seed4")
    write_group(group, [0, 4], "drcl")
    with pytest.raises(InputError, match="seed4 was trained with seed 3"):
        members(group)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", "{}", '{"seeds": [], "method": "drcl"}', '{"seeds": [1, 1], "method": "drcl"}',
     '{"seeds": [true], "method": "drcl"}', '{"seeds": [-1], "method": "drcl"}', '{"seeds": "12", "method": "drcl"}',
     '{"seeds": [1], "method": 3}'],
)  # fmt: skip
def test_a_damaged_group(tmp_path: Path, text: str) -> None:
    (tmp_path / "group.json").write_text(text)
    with pytest.raises(InputError, match=r"group\.json is damaged"):
        members(tmp_path)


def test_no_group_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"group\.json is damaged \(.*No such file"):
        members(tmp_path)
