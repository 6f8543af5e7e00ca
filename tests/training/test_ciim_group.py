"""Several seeds of CIIM: what is refused before anything is written; `tests/cli/test_train_ciim.py` trains some."""

from pathlib import Path

import pytest

from tests.training.building import blobs, files
from tests.training.ciim_building import TINY, tiny, write, write_tiny
from tests.training.test_ciim_refusals import BAD, Change
from xfeat.errors import InputError
from xfeat.training.ciim import train
from xfeat.training.ciim_group import train_group
from xfeat.training.ciim_join import add
from xfeat.training.group import claim_group, member_path


def test_a_group_goes_on_only_as_it_was_begun(tmp_path: Path) -> None:
    caches, out = write_tiny(tmp_path, "image", "text"), tmp_path / "group"
    claim_group(out, [4, 1], "ciim", resume=False)
    train(caches, member_path(out, 4), TINY, seed=4)
    before = files(out)
    for seeds, settings, resume, words in (
        ([4, 1], TINY, False, "holds a group already"),
        ([4, 2], TINY, True, "was started with ciim and seeds [4, 1]"),
        ([4, 1], tiny(hidden=7), True, "settings.hidden: 16 -> 7"),
    ):
        with pytest.raises(InputError) as caught:
            train_group(caches, out, settings, seeds, resume=resume)
        assert words in str(caught.value)
    assert files(out) == before


def test_a_newcomer_joins_a_member_and_no_group(tmp_path: Path) -> None:
    caches, out = write_tiny(tmp_path, "image", "text"), tmp_path / "group"
    claim_group(out, [2], "ciim", resume=False)
    train(caches, member_path(out, 2), TINY, seed=2)
    (audio,) = write_tiny(tmp_path, "audio")
    with pytest.raises(InputError, match=r"group is a group of seeds: name one of its runs"):
        add(audio, out)
    assert add(audio, member_path(out, 2)).branches["audio"]["seed"] == 2
    assert not train(caches, member_path(out, 2), TINY, seed=2, resume=True).fresh


@pytest.mark.parametrize(("change", "both", "settings", "words"), BAD)
def test_what_cannot_be_trained_is_said_before_anything_is_written(
    tmp_path: Path, change: Change | None, both: bool, settings: dict[str, object], words: str
) -> None:
    image, text = blobs("image"), blobs("text")
    if change:
        image, text = change(image) if both else image, change(text)
    with pytest.raises(InputError) as caught:
        train_group(write(tmp_path, image, text), tmp_path / "group", tiny(**settings), [0, 1])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "group").exists()
