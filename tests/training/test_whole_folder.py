from pathlib import Path

import pytest

from xfeat.errors import InputError
from xfeat.training.whole_folder import whole_folder


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_takes_its_place_at_the_end(tmp_path: Path, there: bool) -> None:
    out = tmp_path / "deep" / "out"
    if there:
        out.mkdir(parents=True)
    with whole_folder(out, "test") as folder:
        (folder / "file").write_text("whole")
        assert not (out / "file").exists()
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert (out / "file").read_text() == "whole"


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with whole_folder(tmp_path / "out", "test") as folder:
            (folder / "file").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path, tmp_path / "file"):
        with (
            pytest.raises(InputError, match="holds something already: choose a new or empty folder"),
            whole_folder(out, "test"),
        ):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
