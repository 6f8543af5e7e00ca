"""CIIM runs that are there already: kept, refused, or finished to the byte as if nothing had happened."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.building import blobs, files
from tests.training.ciim_building import TINY, ciim_error, note, tiny, write_tiny
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.training.ciim import train
from xfeat.training.ciim_join import add
from xfeat.training.run import Run


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[FeatureCache]:
    return write_tiny(tmp_path_factory.mktemp("two"), "image", "text", val=True)


@pytest.fixture(scope="module")
def run(two: list[FeatureCache], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to read only."""
    path = tmp_path_factory.mktemp("runs") / "run"
    torch.set_num_threads(1)  # as in the tests: the last bits depend on it
    train(two, path, TINY)
    return path


@contextmanager
def interrupted(after: int) -> Iterator[None]:
    """A training in here is stopped when so many more epochs were logged."""
    append, left = Run.append_log, [after]

    def append_and_stop(run: Run, row: dict[str, Any]) -> None:
        append(run, row)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "append_log", append_and_stop)
        with pytest.raises(KeyboardInterrupt):
            yield


def assert_same(found: Path, expected: Path) -> None:
    """Every file, but for where the caches are."""
    assert set(files(found)) == set(files(expected))
    for name, content in files(expected).items():
        if name != "config.yaml":
            assert files(found)[name] == content, name


@pytest.mark.parametrize(
    ("changes", "moments"),
    [
        ({}, [1]),
        ({}, [4]),
        ({"select": "best", "epochs": 8, "lr": 0.05}, [3, 3, 1]),
        ({"intervention": False, "single": 0.0}, [2, 1]),  # parameters that take no gradient
        ({"skip": True, "dropout": 0.3, "input_noise": 0.3, "weight_decay": 0.1, "interventions": 1}, [2, 2]),
    ],
)
def test_an_interrupted_run_ends_as_if_it_had_not_been(
    two: list[FeatureCache], tmp_path: Path, changes: dict[str, Any], moments: list[int]
) -> None:
    settings, whole, run = tiny(**changes), tmp_path / "whole", tmp_path / "run"
    train(two, whole, settings)
    for after in moments:
        with interrupted(after):
            train(two, run, settings, resume=True, checkpoint_seconds=0)
        assert not (run / "branches").exists()
        assert not (run / "shared.safetensors").exists()
    if sum(moments) > 1:
        assert (run / "checkpoints" / "all.ciim.safetensors").is_file()
    assert train(two, run, settings, resume=True).fresh
    assert_same(run, whole)
    assert (run / "config.yaml").read_text() == (whole / "config.yaml").read_text()


def test_the_order_of_the_caches_does_not_count_when_a_run_goes_on(tmp_path: Path) -> None:
    """Branches of one shape: a checkpoint that took them by place would put each in the other's."""
    caches = write_tiny(tmp_path, "video", "touch")
    train(caches, tmp_path / "whole", TINY)
    with interrupted(2):
        train(caches, tmp_path / "run", TINY, checkpoint_seconds=0)
    train(caches[::-1], tmp_path / "run", TINY, resume=True)
    assert files(tmp_path / "run" / "branches") == files(tmp_path / "whole" / "branches")


def test_a_finished_run_is_kept_and_continued_only_as_it_was_begun(
    two: list[FeatureCache], run: Path, tmp_path: Path
) -> None:
    before = files(run)
    assert "holds a run already: continue it with --resume" in ciim_error(two, run)
    for settings, options, words in (
        (tiny(hidden=7), {}, "settings.hidden: 16 -> 7"),
        (tiny(intervention=False), {}, "settings.intervention: True -> False"),
        (tiny(classes=["ant", "bee"]), {}, "settings.classes"),
        (TINY, {"seed": 2}, "seed: 0 -> 2"),
    ):
        found = ciim_error(two, run, settings, resume=True, **options)
        assert "was started with other settings" in found
        assert words in found
    other = write_tiny(tmp_path, "image", "text", val=True, seed=5)
    assert "modalities.image" in ciim_error(other, run, resume=True)
    outcome = train(two, run, TINY, resume=True)
    assert not outcome.fresh
    assert outcome.branches == {"image": note(run, "image"), "text": note(run)}
    assert files(run) == before


@pytest.mark.parametrize("lost", ["branches/text.json", "shared.safetensors", "shared.json"])
def test_a_run_of_which_a_file_is_lost_is_trained_again(
    two: list[FeatureCache], run: Path, tmp_path: Path, lost: str
) -> None:
    again = tmp_path / "again"
    train(two, again, TINY)
    (again / lost).unlink()
    image = again / "branches" / "image.safetensors"
    image.write_bytes(image.read_bytes()[:-1])
    assert train(two, again, TINY, resume=True).fresh
    assert_same(again, run)


def test_an_addition_that_was_interrupted_ends_as_if_it_had_not_been(
    two: list[FeatureCache], run: Path, tmp_path: Path
) -> None:
    (audio,) = write_tiny(tmp_path, "audio")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for path in (whole, stopped):
        shutil.copytree(run, path)
    add(audio, whole)
    for after in (1, 2):
        with interrupted(after):
            add(audio, stopped, checkpoint_seconds=0)
        assert "audio" not in Run(stopped).load_config().modalities
        assert train(two, stopped, TINY, resume=True).fresh is False, "the run is what it was"
    assert (stopped / "checkpoints" / "audio.join.safetensors").is_file()
    add(audio, stopped, checkpoint_seconds=0)
    assert_same(stopped, whole)
    assert (stopped / "config.yaml").read_text() == (whole / "config.yaml").read_text()


def test_a_checkpoint_of_another_newcomer_is_not_continued(run: Path, tmp_path: Path) -> None:
    (audio,) = write_tiny(tmp_path, "audio")
    shutil.copytree(run, tmp_path / "run")
    with interrupted(2):
        add(audio, tmp_path / "run", checkpoint_seconds=0)
    other = blobs("audio", seed=5).write(tmp_path / "other")
    with pytest.raises(InputError, match=r"audio\.join\.safetensors does not fit .*delete it to start"):
        add(other, tmp_path / "run")
