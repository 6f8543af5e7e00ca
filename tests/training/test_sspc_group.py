"""Several seeds of SSPC: what is refused before anything is written; `tests/cli/test_train_sspc.py` trains some."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.building import files
from tests.training.paired_building import TINY, View, constant, paired, strange, tiny, unpaired, views, write_views
from xfeat.errors import InputError
from xfeat.training.group import claim_group, member_path
from xfeat.training.sspc import train
from xfeat.training.sspc_group import train_group


def test_a_group_goes_on_only_as_it_was_begun(tmp_path: Path) -> None:
    caches, out = paired(tmp_path, "image", "text"), tmp_path / "group"
    claim_group(out, [4, 1], "sspc", resume=False)
    train(caches, member_path(out, 4), TINY, seed=4)
    before = files(out)
    for seeds, settings, resume, words in (
        ([4, 1], TINY, False, "holds a group already"),
        ([4, 2], TINY, True, "was started with sspc and seeds [4, 1]"),
        ([4, 1], tiny(anchors=7), True, "settings.anchors: 6 -> 7"),
    ):
        with pytest.raises(InputError) as caught:
            train_group(caches, out, settings, seeds, resume=resume)
        assert words in str(caught.value)
    assert files(out) == before


@pytest.mark.parametrize(
    ("change", "settings", "words"),
    [
        (unpaired, {}, "text has no pair keys"),
        (strange, {}, "no pair key is in two modalities"),
        (constant, {}, "the features of text are the same"),
        (None, {"batch_size": 41}, "batch_size=41 is larger"),
        (None, {"required": 7}, "required=7 anchors of 6"),
        (None, {"memory": "1K"}, "holds them in memory"),
        (None, {"weights": "ema", "ema": 0.0}, "weights=ema"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_written(
    tmp_path: Path, change: Any, settings: dict[str, Any], words: str
) -> None:
    made: dict[str, View] = views("image", "text")
    if change:
        made["text"] = change(made["text"])
    with pytest.raises(InputError) as caught:
        train_group(write_views(tmp_path, made), tmp_path / "group", tiny(**settings), [0, 1])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "group").exists()
